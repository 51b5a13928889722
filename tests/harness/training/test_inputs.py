"""What changes under a run, finished or not, never passes unnoticed: real runs on small data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.experiment.grid import Experiment, expand
from harness.experiment.spec import RunSpec
from harness.results.index import stored_runs
from harness.results.record import InputFile, Result, read_result
from harness.schedule import unfinished
from harness.training.events import Event, Notice, TrainingProgress
from harness.training.inputs import changes_since, input_files, plug_in_file
from harness.training.run import Run
from tests.commands import error_line, forget_files, skipbench

SPLIT_FILE = "split_zhou_DescribableTextures.json"
ZEROSHOT = ("bench", "zeroshot", "--dataset", "dtd", "--protocol", "few_shot", "--shots", "2", "--seeds", "1")


@pytest.fixture
def textures(tmp_path: Path) -> Path:
    """A data root with two classes of textures in the CoOp layout."""
    folder = tmp_path / "data" / "dtd"
    split: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    for label, (name, colour) in enumerate({"dotted": "red", "woven": "blue"}.items()):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (20, 20), colour).save(folder / "images" / name / f"{number}.png")
            part = "train" if number < 2 else "val" if number < 4 else "test"
            split[part].append([f"{name}/{number}.png", label, name])
    (folder / SPLIT_FILE).write_text(json.dumps(split))
    return folder.parent


def rename_a_class(data: Path) -> None:
    file = data / "dtd" / SPLIT_FILE
    file.write_text(file.read_text().replace('"woven"', '"knitted"'))


def result_in(results: Path) -> Result:
    (file,) = results.glob("runs/*/result.json")
    return read_result(file)


def test_another_split_file_under_a_finished_run_is_refused(textures: Path, tiny: Path, tmp_path: Path) -> None:
    results = str(tmp_path / "r")
    words = (*ZEROSHOT, "--backbone", str(tiny), "--results", results)
    assert skipbench(*words, DATA=str(textures)).returncode == 0
    (known,) = result_in(Path(results)).inputs
    assert (known.kind, known.name, known.file) == ("data set", "dtd", SPLIT_FILE)
    assert "1 of 1 run is complete already" in skipbench(*words, DATA=str(textures)).stdout
    rename_a_class(textures)
    line = error_line(*words, DATA=str(textures))
    assert f"has changed since: {SPLIT_FILE} of data set 'dtd'" in line
    run_id = result_in(Path(results)).id
    assert f"`skipbench rerun {run_id}`" in line
    again = skipbench("rerun", run_id, "--results", results, DATA=str(textures))
    assert again.returncode == 0, again.stderr
    assert "knitted" in result_in(Path(results)).evaluations[0].per_class
    assert "1 of 1 run is complete already" in skipbench(*words, DATA=str(textures)).stdout


def test_a_changed_folder_of_pictures_is_another_run(textures: Path, tiny: Path, tmp_path: Path) -> None:
    folder, results = textures / "dtd" / "images", tmp_path / "r"
    words = ("bench", "zeroshot", "--dataset", f"folder:{folder}", "--protocol", "few_shot", "--shots", "1")
    words = (*words, "--seeds", "1", "--backbone", str(tiny), "--results", str(results))
    assert skipbench(*words).returncode == 0
    assert "1 of 1 run is complete already" in skipbench(*words).stdout
    (folder / "dotted").rename(folder / "striped")
    again = skipbench(*words)
    assert "complete already" not in again.stdout
    assert [set(read_result(file).evaluations[0].per_class) for file in results.glob("runs/*/result.json")].count(
        {"striped", "woven"}
    ) == 1


def test_an_interrupted_run_starts_anew_with_another_split_file(
    textures: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", str(textures))
    experiment = Experiment(protocol="few_shot", datasets=("dtd",), shots=(2,), seeds=(1,), backbone=(str(tiny),))
    settings = {"skip": {"depth": 1}, "train": {"epochs": 3, "warmup_epochs": 0}}
    (spec,) = expand(experiment, settings)

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 2:
            raise KeyboardInterrupt

    def epochs_and_notices() -> tuple[list[int], list[str]]:
        forget_files()
        events: list[Event] = []
        Run(spec, tmp_path / "r", events.append).execute()
        epochs = [event.epoch for event in events if isinstance(event, TrainingProgress) and event.record]
        return epochs, [event.text for event in events if isinstance(event, Notice) and "anew" in event.text]

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path / "r", interrupt).execute()
    rename_a_class(textures)
    epochs, notices = epochs_and_notices()
    assert epochs == [1, 2, 3]
    (notice,) = notices
    assert notice.startswith(f"{SPLIT_FILE} of data set 'dtd' has changed since the run was interrupted")
    assert len((tmp_path / "r" / "runs" / spec.id / "metrics.jsonl").read_text().splitlines()) == 3


def test_files_that_change_while_a_run_is_computed_end_it(textures: Path, tiny: Path, tmp_path: Path) -> None:
    folder = textures / "dtd" / "images"
    experiment = Experiment(
        protocol="few_shot",
        methods=("zeroshot",),
        datasets=(f"folder:{folder}",),
        shots=(1,),
        seeds=(1,),
        backbone=(str(tiny),),
    )
    (spec,) = expand(experiment)

    def change(event: Event) -> None:
        Image.new("RGB", (20, 20), "green").save(folder / "dotted" / "one_more.png")

    run = Run(spec, tmp_path / "r", change)
    with pytest.raises(Exception, match="were changed meanwhile: start the same command again"):
        run.execute()
    assert not run.folder.is_complete


@pytest.fixture
def plug_in(add_method: Callable[[str, str], None]) -> str:
    add_method("mine_", "from methods.base import Method\n\n\nclass Mine(Method):\n    trains = False\n")
    return "mine_"


def test_a_method_of_the_users_own_is_known_by_its_file(plug_in: str, tiny: Path) -> None:
    (spec,) = expand(Experiment(methods=(plug_in,), seeds=(1,), backbone=(str(tiny),)))
    file = plug_in_file(plug_in)
    assert file
    (known,) = input_files(spec, {})
    assert (known.kind, known.name, known.file) == ("method", "mine_", "mine_.py")
    result = Result.model_construct(spec=spec, inputs=(known,), evaluations=())
    assert changes_since(result) == []
    file.write_text(file.read_text() + "\n# changed\n")
    assert changes_since(result) == ["mine_.py of method 'mine_'"]
    file.unlink()
    assert changes_since(result) == []


def test_methods_of_the_project_are_known_by_its_version(make_spec: Callable[..., RunSpec]) -> None:
    assert plug_in_file("skip") is None
    assert input_files(make_spec("skip"), {}) == ()


def test_another_prompt_template_is_a_change() -> None:
    committed = Path(__file__).parents[3] / "results/embedded"
    result = read_result(committed / "runs" / "074d6c353adb" / "result.json")
    assert changes_since(result) == []
    other = tuple(item.model_copy(update={"template": "a sketch of a {}."}) for item in result.evaluations)
    changes = changes_since(result.model_copy(update={"evaluations": other}))
    assert changes
    assert all(change.startswith("the prompt template of data set 'emoji', now '") for change in changes)


def test_what_is_not_on_this_machine_has_not_changed(make_spec: Callable[..., RunSpec]) -> None:
    gone = InputFile(kind="data set", name="dtd", file=SPLIT_FILE, sha256="0")
    assert changes_since(Result.model_construct(spec=make_spec("skip"), inputs=(gone,), evaluations=())) == []


def test_committed_results_are_complete_whatever_else_changed(make_spec: Callable[..., RunSpec]) -> None:
    committed = Path(__file__).parents[3] / "results/embedded"
    methods = tuple(sorted({run.result.spec.method for run in stored_runs(committed) if run.result}))
    assert {"zeroshot", "skip", "coop"} <= set(methods)
    specs = expand(Experiment(methods=methods))
    assert unfinished(specs, committed) == []
