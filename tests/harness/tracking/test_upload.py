"""W&B online, against a server on loopback: runs that are tracked there, and finished runs that are uploaded."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wandb
import yaml

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.tracking.delivery import read_delivery
from harness.tracking.upload import finished_runs, upload_all
from harness.training.events import Event, Notice, TrainingProgress
from harness.training.run import Run
from tests.commands import ROOT, skipbench
from tests.wandb_record import assert_is_the_record, epochs_of, media_row
from tests.wandb_stub import ENTITY, WandbStub

Make = Callable[..., RunSpec]
START_AND_WAIT = """
import sys, time
from pathlib import Path
from harness.experiment.settings import read_yaml
from harness.experiment.spec import parse_run_spec
from harness.training.events import TrainingProgress
from harness.training.run import Run

def wait_after_two_epochs(event):
    if isinstance(event, TrainingProgress) and event.epoch == 2:
        print("two epochs", flush=True)
        time.sleep(60)

folder = Path(sys.argv[1])
Run(parse_run_spec(read_yaml(folder / "spec.yaml")), folder, wait_after_two_epochs).execute()
"""
EPOCHS = "train.epochs=3"
# A handful of pictures: this is about tracking.
QUICK = ("runtime.threads=1", "evaluate=[{name: base, dataset: emoji, classes: base.base, splits: [val]}]")


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    """A server that this process and its children take for W&B."""
    wandb.teardown()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr("harness.tracking.wandb_run.CONFIRM_PAUSES", (0.0, 0.1))
    with WandbStub() as server:
        for key, value in server.environment.items():
            monkeypatch.setenv(key, value)
        yield server
    wandb.teardown()


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, Path]:
    """A results folder with one run that was tracked offline."""
    from harness.experiment.grid import expand, load_experiment
    from harness.experiment.recipes import EXPERIMENTS
    from harness.experiment.settings import parse_overrides

    changes = {"name": "night", "seeds": [1], "shots": [2], "recipe": "official"}
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes)
    spec = expand(
        experiment, parse_overrides(["skip.depth=3", "wandb.mode=offline", "tracking.artifacts=true", EPOCHS, *QUICK])
    )[0]
    results = tmp_path_factory.mktemp("results")
    Run(spec, results).execute()
    wandb.teardown()
    return spec, results


@pytest.fixture
def results(offline: tuple[RunSpec, Path], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(offline[1], tmp_path / "results"))


def sync(*words: str) -> tuple[int, list[str]]:
    """Exit code and lines of the command."""
    done = skipbench("wandb-sync", *words)
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def test_an_online_run_arrives_with_its_group_and_is_up(stub: WandbStub, make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("skip", EPOCHS, *QUICK, "wandb.mode=online", "wandb.project=ours", shots=2)
    notices: list[str] = []
    Run(spec, tmp_path, lambda event: notices.extend([event.text] if isinstance(event, Notice) else [])).execute()
    assert notices == []
    assert list(stub.runs) == [spec.id]
    folder = tmp_path / "runs" / spec.id
    assert_is_the_record(stub.runs[spec.id], folder, "bench")
    delivery = read_delivery(folder)
    assert delivery is not None
    assert (delivery.mode, delivery.entity, delivery.project, delivery.epochs) == ("online", ENTITY, "ours", 3)
    assert delivery.complete
    assert delivery.url == f"{stub.url}/{ENTITY}/ours/runs/{spec.id}"
    assert not stub.unknown


def test_an_interrupted_run_delivers_the_missing_epochs_when_it_resumes(
    stub: WandbStub, make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Save each epoch, however short it is.
    monkeypatch.setattr("harness.training.training.MOST_LOST", 0.0)
    spec = make_spec("skip", "train.epochs=4", *QUICK, "wandb.mode=online", shots=2)

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path, interrupt).execute()
    wandb.finish(exit_code=1)  # as the end of the process would
    run = stub.runs[spec.id]
    assert [row["epoch"] for row in epochs_of(run)] == [0, 1]
    assert not read_delivery(tmp_path / "runs" / spec.id).complete  # type: ignore[union-attr]
    Run(spec, tmp_path).execute()
    assert_is_the_record(run, tmp_path / "runs" / spec.id, "bench")
    assert len(epochs_of(run)) == 4
    assert run.resent == 0


@pytest.mark.long  # the client sends every 15 s
def test_a_killed_run_delivers_the_missing_epochs_when_it_resumes(
    stub: WandbStub, make_spec: Make, tmp_path: Path
) -> None:
    spec = make_spec("skip", "train.epochs=5", *QUICK, "wandb.mode=online", shots=2)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec.settings()))
    command = [sys.executable, "-c", START_AND_WAIT, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "two epochs\n"
        run = stub.runs[spec.id]
        until = time.monotonic() + 20
        while not run.history and time.monotonic() < until:
            time.sleep(0.02)
        stub.refusing = True  # nothing arrives from a machine that went dark
        process.kill()
    assert 0 < len(epochs_of(run)) < 5
    stub.refusing = False
    Run(spec, tmp_path).execute()
    assert_is_the_record(run, tmp_path / "runs" / spec.id, "bench")
    assert len(epochs_of(run)) == 5
    assert run.resent == 0


def test_an_offline_run_is_uploaded_once(stub: WandbStub, offline: tuple[RunSpec, Path], results: Path) -> None:
    spec, folder = offline[0], results / "runs" / offline[0].id
    assert list(folder.glob("wandb/offline-run-*"))
    assert not read_delivery(folder).complete  # type: ignore[union-attr]
    code, lines = sync("--results", str(results))
    assert (code, lines[-1]) == (0, "1 uploaded, 0 already up, 0 failed")
    page = f"{stub.url}/{ENTITY}/skipbench/runs/{spec.id}"
    assert lines[:-1] == [f"uploaded  {spec.id} {spec.name} {page}"]
    run = stub.runs[spec.id]
    assert_is_the_record(run, folder, "night")
    assert media_row(run)
    assert {"log.txt", "spec.yaml"} <= set(run.uploads)
    assert any(name.startswith("media/table/predictions") for name in run.uploads)
    sent = stub.artifacts
    assert sent.files.keys() == set(sent.committed)
    assert "checkpoint.safetensors" in sent.files[f"{spec.id}-checkpoint"]
    assert "sample.json" in sent.files[f"{spec.id}-sample"]
    (tables,) = (files for name, files in sent.files.items() if "predictions" in name)
    assert sum(file.startswith("media/images/") for file in tables) == 12
    assert not (folder / "wandb").exists()
    stub.requests.clear()
    code, lines = sync("--results", str(results))
    assert (code, lines[-1]) == (0, "0 uploaded, 1 already up, 0 failed")
    assert lines[0] == f"up        {spec.id} {spec.name} {page}"
    assert not stub.requests

    code, lines = sync(spec.id, "--results", str(results), "--again")
    assert (code, lines[-1]) == (0, "1 uploaded, 0 already up, 0 failed")
    assert_is_the_record(run, folder, "night")
    assert run.resent == 0


@pytest.mark.parametrize("mark", [None, '{"mode": "online", "complete": false}'])
def test_without_a_mark_that_it_is_up_a_run_is_left(
    mark: str | None, offline: tuple[RunSpec, Path], results: Path
) -> None:
    path = results / "runs" / offline[0].id / "wandb.json"
    path.unlink() if mark is None else path.write_text(mark)
    (run,) = finished_runs(results)
    assert run.state == "left"


@pytest.mark.parametrize("mark", ["", "{", '{"complete": true}'])
def test_a_damaged_mark_is_told(mark: str, offline: tuple[RunSpec, Path], results: Path) -> None:
    (results / "runs" / offline[0].id / "wandb.json").write_text(mark)
    (run,) = finished_runs(results)
    assert run.state == "failed"
    assert "wandb.json' is damaged" in run.about


def test_without_a_server_it_is_one_line_and_nothing_is_lost(
    stub: WandbStub, offline: tuple[RunSpec, Path], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.tracking.upload.ANSWER_TIMEOUT", 1)
    folder = results / "runs" / offline[0].id
    for number in range(3):  # however many there are
        copy = Path(shutil.copytree(folder, results / "runs" / f"{number:012d}"))
        result = copy / "result.json"
        result.write_text(result.read_text().replace(f'"id": "{folder.name}"', f'"id": "{copy.name}"'))
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    stub.stop()
    start = time.monotonic()
    code, lines = sync("--results", str(results))
    assert time.monotonic() - start < 4
    assert code == 2
    assert lines[:-1] == ["0 uploaded, 0 already up, 0 failed, 4 left"]
    assert lines[-1].startswith("error: W&B does not answer")
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    stub.start()
    code, lines = sync(offline[0].id, "--results", str(results))
    assert (code, lines[-1]) == (0, "1 uploaded, 0 already up, 0 failed")
    assert_is_the_record(stub.runs[offline[0].id], folder, "night")


def test_without_a_key_it_is_one_line(stub: WandbStub, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    code, lines = sync("--results", str(results))
    assert code == 2
    assert "No API key" in lines[-1]
    assert not stub.requests


def test_data_that_the_server_refuses_is_a_failure_and_comes_later(
    stub: WandbStub, offline: tuple[RunSpec, Path], results: Path
) -> None:
    folder = results / "runs" / offline[0].id
    stub.refusing = True
    code, lines = sync("--results", str(results))
    assert (code, lines[-1]) == (1, "0 uploaded, 0 already up, 1 failed")
    assert lines[0].startswith(f"failed    {offline[0].id}")
    assert re.search(r"the server has 0 of \d+ rows", lines[0])
    assert list(folder.glob("wandb/offline-run-*"))
    stub.refusing = False
    code, lines = sync("--results", str(results))
    assert (code, lines[-1]) == (0, "1 uploaded, 0 already up, 0 failed")
    assert_is_the_record(stub.runs[offline[0].id], folder, "night")


def test_a_server_that_goes_away_ends_the_upload_and_the_run_goes_on(
    stub: WandbStub, make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.tracking.wandb_run.FINISH_TIMEOUT", 1.0)
    monkeypatch.setattr("harness.tracking.upload.ANSWER_TIMEOUT", 1)
    spec = make_spec("skip", EPOCHS, *QUICK, "wandb.mode=online", shots=2)
    notices: list[str] = []

    def stop(event: Event) -> None:
        notices.extend([event.text] if isinstance(event, Notice) else [])
        if isinstance(event, TrainingProgress) and event.epoch == 1:
            stub.stop()

    Run(spec, tmp_path, stop).execute()
    (notice,) = notices
    assert notice.startswith("W&B failed (Timed out finishing run.)")
    assert "skipbench wandb-sync" in notice
    folder = tmp_path / "runs" / spec.id
    assert not read_delivery(folder).complete  # type: ignore[union-attr]
    stub.start()
    monkeypatch.setattr("harness.tracking.wandb_run.FINISH_TIMEOUT", 60.0)
    monkeypatch.setattr("harness.tracking.upload.ANSWER_TIMEOUT", 60)
    code, lines = sync("--results", str(tmp_path))
    assert (code, lines[-1]) == (0, "1 uploaded, 0 already up, 0 failed")
    assert_is_the_record(stub.runs[spec.id], folder, "bench")


def test_one_bad_run_fails_alone(stub: WandbStub, offline: tuple[RunSpec, Path], results: Path) -> None:
    good = results / "runs" / offline[0].id
    for name in ("0_no_json", "1_no_result", "2_of_another_run"):
        shutil.copytree(good, results / "runs" / name)
    (results / "runs/0_no_json/result.json").write_text("{")
    (results / "runs/1_no_result/result.json").write_text("{}")
    code, lines = sync("--results", str(results))
    assert (code, lines[-1]) == (1, "1 uploaded, 0 already up, 3 failed")
    assert [line.split()[:2] for line in lines[:3]] == [
        ["failed", f] for f in ("0_no_json", "1_no_result", "2_of_another_run")
    ]
    assert f"holds the result of run {offline[0].id}" in lines[2]
    assert list(stub.runs) == [offline[0].id]


def test_a_run_that_was_not_to_be_tracked_is_uploaded_only_by_name(
    offline: tuple[RunSpec, Path], results: Path
) -> None:
    path = results / "runs" / offline[0].id / "result.json"
    path.write_text(path.read_text().replace('"mode": "offline"', '"mode": "disabled"'))
    assert [run.state for run in finished_runs(results)] == ["untracked"]
    assert [run.state for run in finished_runs(results, [offline[0].id])] == ["left"]
    assert not list(upload_all(finished_runs(results)))


def test_runs_that_cannot_be_uploaded_are_named(offline: tuple[RunSpec, Path], results: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no run 'nosuch'.*{offline[0].id}"):
        finished_runs(results, ["nosuch"])
    (results / "runs" / "begun").mkdir()
    with pytest.raises(UserError, match="run 'begun' is not complete"):
        finished_runs(results, ["begun"])
    with pytest.raises(UserError, match="does not exist"):
        finished_runs(tmp_path / "elsewhere")


def test_the_command_is_registered_and_needs_no_torch(results: Path) -> None:
    code = f"""
import sys
from harness.cli import cli
cli.main(["wandb-sync", "--help"], standalone_mode=False)
assert "wandb" not in sys.modules
import harness.tracking.upload
assert len(harness.tracking.upload.finished_runs(harness.tracking.upload.Path({str(results)!r}))) == 1
assert "torch" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--again" in done.stdout
