"""Whatever lies in a run's folder: the run is listed as damaged with its reason, and everything else is shown."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.spec import RunSpec
from harness.report.export import tidy_table
from harness.results.folder import DAMAGED, DONE, INTERRUPTED, STATES, RunFolder
from harness.results.index import StoredRun, stored_runs
from tests.commands import error_line, skipbench
from tests.made_up_results import result_json, write_result

Json = dict[str, Any]
DEEP = "[" * 200_000
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "list": b"[1, 2]",
    "null": b"null",
    "text": b'"text"',
    "number": b"1e400",
    "binary": b"\x00\xff\xfe\x01\x80",
    "deep": DEEP.encode(),
    "deep keys": b'{"id":' * 50_000,
    "foreign": b'{"name": "of another program", "version": 3}',
    "cut": b'{"id": "abc", "spec": {"method": "sk',
    "digits": b'{"schema_version": ' + b"9" * 10_000 + b"}",
}
LOG = "2026-01-01T00:00:00Z INFO epoch 0\n"


def plan(method: str, *seeds: int) -> list[RunSpec]:
    changes = {"methods": [method], "seeds": list(seeds), "recipe": "official"}
    return expand(load_experiment(EXPERIMENTS / "bench.yaml", changes))


def content_of(spec: RunSpec) -> Json:
    phases = {"train": {"seconds": 1.0, "images": 10, "peak_tensor_bytes": 2**20}}
    accuracies = {item.name: 50.0 for item in spec.evaluate}
    return json.loads(json.dumps(result_json(spec, accuracies, phases)))  # type: ignore[no-any-return]


def make(name: str) -> Callable[[Path], object]:
    """Puts something that is no regular file at a path."""
    return {
        "folder": Path.mkdir,
        "pipe": os.mkfifo,
        "dangling link": lambda path: path.symlink_to("nowhere"),
        "looping link": lambda path: path.symlink_to(path.name),
        "endless": lambda path: path.symlink_to("/dev/zero"),
    }[name]


THINGS = ("folder", "pipe", "looping link", "endless")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RunSpec], dict[str, str]]:
    """A results folder with two good runs and one run per kind of damage; run -> file that is damaged."""
    root = tmp_path_factory.mktemp("hostile")
    good = plan("zeroshot", 1)
    for spec in good:
        write_result(root, content_of(spec))
    damaged: dict[str, str] = {}
    count = 0

    def bad(file: str) -> RunFolder:
        nonlocal count
        count += 1
        run = RunFolder(root, f"{count:012x}")
        run.create()
        damaged[run.path.name] = file
        return run

    for content in CONTENTS.values():
        (bad("result.json").path / "result.json").write_bytes(content)
        (bad("spec.yaml").path / "spec.yaml").write_bytes(content if content != b"" else b"\t")
        failed = bad("failure.json")
        failed.write_spec(good[0])
        failed.failure_file.write_bytes(content)
        interrupted = bad("metrics.jsonl")
        interrupted.write_spec(good[0])
        interrupted.log_file.write_text(LOG)
        interrupted.metrics_file.write_bytes(content + b"\n" + b'{"epoch": 0, "loss": 1, "lr": 1}\n')
    for thing in THINGS:
        for file in ("result.json", "spec.yaml", "failure.json", "metrics.jsonl"):
            run = bad(file)
            if file != "spec.yaml":
                run.write_spec(good[0])
            if file != "failure.json":
                run.log_file.write_text(LOG)
            make(thing)(run.path / file)
    huge = bad("result.json")
    with huge.result_file.open("wb") as sparse:
        sparse.truncate(2**40)
    for text in ("a: &a [1]\nb: *a\n", "method: !!python/object:os.system x\n", "method: 2001-99-99\n", "? [a]\n: b\n"):
        (bad("spec.yaml").path / "spec.yaml").write_text(text)
    for lines in (["0", "0"], ["0", "2"], ["1"]):
        skipping = bad("metrics.jsonl")
        skipping.write_spec(good[0])
        skipping.log_file.write_text(LOG)
        text = "".join(f'{{"epoch": {epoch}, "loss": 1.0, "lr": 0.1}}\n' for epoch in lines)
        skipping.metrics_file.write_text(text)
    # Things that are only in the way.
    (root / "runs" / "notes.txt").write_text("mine")
    (root / "runs" / "loop").symlink_to("loop")
    return root, good, damaged


def test_every_hostile_file_is_one_damaged_run_and_the_rest_is_shown(
    hostile: tuple[Path, list[RunSpec], dict[str, str]],
) -> None:
    root, good, damaged = hostile
    states = {run.id: run.state for run in stored_runs(root)}
    assert {run_id for run_id, state in states.items() if state == DAMAGED} == damaged.keys()
    assert [run_id for run_id, state in states.items() if state == DONE] == [spec.id for spec in good]
    for command in ("runs", "table", "report", "figures", "export"):
        done = skipbench(command, "--results", str(root))
        assert done.returncode == 1, command
        lines = done.stderr.splitlines()
        assert len(lines) == len(damaged), command
        for (run_id, file), line in zip(damaged.items(), lines, strict=True):
            assert line.startswith(f"damaged: '{root}/runs/{run_id}/{file}'"), line
            assert len(line) < 1000
        if command in ("table", "export"):
            assert "zeroshot" in done.stdout
    for run_id in list(damaged)[:3]:
        assert "is damaged" in error_line("show", run_id, "--results", str(root))
        assert run_id in error_line("compare", good[0].id, run_id, "--results", str(root))
    synced = skipbench("wandb-sync", "--results", str(root), WANDB_MODE="disabled", HOME=str(root))
    assert synced.returncode != 0
    again = skipbench("rerun", "--failed", "--results", str(root))
    assert again.returncode == 1
    assert len(again.stderr.splitlines()) == len(damaged)


@pytest.mark.parametrize("thing", [*CONTENTS, *THINGS])
def test_a_planned_run_whose_result_is_damaged_is_named(thing: str, tmp_path: Path) -> None:
    (spec,) = plan("zeroshot", 1)
    run = RunFolder(tmp_path, spec.id)
    run.create()
    if thing in CONTENTS:
        run.result_file.write_bytes(CONTENTS[thing])
    else:
        make(thing)(run.result_file)
    assert run.is_complete, "it is not computed again before somebody has looked"
    experiment = tmp_path / "plan.yaml"
    experiment.write_text("methods: [zeroshot]\nseeds: [1, 2]\nrecipe: official\n")
    done = skipbench("plan", str(experiment), "--results", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith(f"damaged     {spec.id}")
    assert done.stdout.splitlines()[-1] == "0 done, 0 interrupted, 0 missing, 1 damaged"
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"damaged: '{run.result_file}'")


@pytest.mark.parametrize("thing", ["null", "deep", "pipe"])
def test_files_that_only_the_page_needs_are_left_out_of_it(thing: str, tmp_path: Path) -> None:
    (spec,) = plan("zeroshot", 1)
    for name in ("predictions.json", "wandb.json"):
        root = tmp_path / name
        folder = write_result(root, content_of(spec))
        if thing in CONTENTS:
            (folder / name).write_bytes(CONTENTS[thing])
        else:
            make(thing)(folder / name)
        done = skipbench("report", "--results", str(root))
        assert done.returncode == 1, name
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"damaged: '{folder / name}'")
        assert spec.id in (root / "reports" / "results.html").read_text()
        assert skipbench("table", "--results", str(root)).returncode == 0


@pytest.mark.parametrize("thing", [*CONTENTS, *THINGS])
def test_a_log_may_be_anything(thing: str, tmp_path: Path) -> None:
    (spec,) = plan("skip", 1)
    run = RunFolder(tmp_path, spec.id)
    run.create()
    run.write_spec(spec)
    (run.path / "progress.safetensors").write_bytes(b"")
    if thing in CONTENTS:
        run.log_file.write_bytes(CONTENTS[thing])
    else:
        make(thing)(run.log_file)
    (found,) = stored_runs(tmp_path)
    assert found.state == INTERRUPTED
    assert skipbench("show", spec.id, "--results", str(tmp_path)).returncode == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('"accuracy": 50.0', '"accuracy": NaN'),
        ('"accuracy": 50.0', '"accuracy": 1e300'),
        ('"accuracy": 50.0', '"accuracy": -3'),
        ('"accuracy": 50.0', '"accuracy": 50.0, "accuracy": 99.0'),
        ('"seconds": 1.0', '"seconds": -1'),
        ('"seconds": 1.0', '"seconds": Infinity'),
        ('"images": 10', f'"images": {10**30}'),
        ('"trainable_parameters": 0', f'"trainable_parameters": {2**63}'),
        ('"seed": 1', '"seed": 1, "seed": 2'),
    ],
)
def test_numbers_that_cannot_be_are_damage(change: str, reason: str, tmp_path: Path) -> None:
    (spec,) = plan("zeroshot", 1)
    folder = write_result(tmp_path, content_of(spec))
    text = (folder / "result.json").read_text()
    assert change in text
    (folder / "result.json").write_text(text.replace(change, reason, 1))
    (run,) = stored_runs(tmp_path)
    assert run.state == DAMAGED
    assert "is not the result of a run (" in run.reason
    assert "\n" not in run.reason


def look_at_all(run: StoredRun) -> None:
    """Everything that commands ask of a run."""
    assert run.state in STATES
    assert "\n" not in run.reason
    assert isinstance(run.outcome, str)
    assert (run.state == DAMAGED) == bool(run.reason) or run.state == "failed"
    yaml.safe_dump(run.settings)
    assert isinstance(run.epochs, list)
    assert run.failure is None or run.failure.reason
    assert run.holder is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
FILES = ("result.json", "spec.yaml", "metrics.jsonl", "failure.json", "log.txt", "predictions.json", "wandb.json")
quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], tuple[Path, RunFolder, Json]]:
    """Makes a results folder with one run that has all files, and returns it with the content of its result."""
    (spec,) = plan("skip", 1)
    content = content_of(spec)

    def make_one() -> tuple[Path, RunFolder, Json]:
        root = tmp_path / "r"
        shutil.rmtree(root, ignore_errors=True)
        run = RunFolder(root, spec.id)
        write_result(root, content)
        run.write_spec(spec)
        run.log_file.write_text(LOG)
        run.metrics_file.write_text('{"epoch": 0, "loss": 1.0, "lr": 0.1}\n')
        return root, run, json.loads(json.dumps(content))

    return make_one


@quick
@given(data=st.data())
def test_any_bytes_in_any_file(data: st.DataObject, fresh: Callable[[], tuple[Path, RunFolder, Json]]) -> None:
    root, run, _ = fresh()
    if data.draw(st.booleans()):
        run.result_file.unlink()
    for name in data.draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=2, unique=True)):
        value = data.draw(st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
        (run.path / name).write_bytes(value)
    for stored in stored_runs(root):
        look_at_all(stored)
    tidy_table(root)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in places(inner, (*path, key)))]


@quick
@given(data=st.data())
def test_any_value_at_any_place_of_a_result(
    data: st.DataObject, fresh: Callable[[], tuple[Path, RunFolder, Json]]
) -> None:
    root, run, content = fresh()
    *above, last = data.draw(st.sampled_from([path for path in places(content) if path]))
    inner: Any = content
    for key in above:
        inner = inner[key]
    inner[last] = data.draw(JSON_VALUES)
    run.result_file.write_text(json.dumps(content))
    for stored in stored_runs(root):
        look_at_all(stored)
    tidy_table(root)
    for command in ("runs", "table", "export"):
        done = skipbench(command, "--results", str(root))
        assert done.returncode in (0, 1, 2)
        assert "Traceback" not in done.stderr


@quick
@given(data=st.data())
def test_any_value_at_any_place_of_a_spec(
    data: st.DataObject, fresh: Callable[[], tuple[Path, RunFolder, Json]]
) -> None:
    root, run, content = fresh()
    run.result_file.unlink()
    spec = content["spec"]
    *above, last = data.draw(st.sampled_from([path for path in places(spec) if path]))
    inner: Any = spec
    for key in above:
        inner = inner[key]
    inner[last] = data.draw(JSON_VALUES)
    (run.path / "spec.yaml").write_text(json.dumps(spec))
    for stored in stored_runs(root):
        look_at_all(stored)
    for command in ("runs", "table"):
        done = skipbench(command, "--results", str(root))
        assert done.returncode in (0, 1, 2)
        assert "Traceback" not in done.stderr
