"""Sinks besides W&B, against stand-ins for their packages: each takes the whole record, once, and stops no run.

The stand-ins have what the sinks call, no more. Where TensorBoard, MLflow or Trackio is installed, what a run wrote is
read back too, with the package's own reader.
"""

import importlib.util
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from harness.errors import UserError
from harness.experiment.place import SinkName
from harness.experiment.spec import RunSpec
from harness.machine.environment import Environment
from harness.results.epochs import EpochRecord, StepRecord, epoch_lines
from harness.results.record import Prediction
from harness.tracking.contents import Ending, Row, rows_of, summary_of
from harness.tracking.media import Confusions, Media, Pictured
from harness.tracking.settings import check_tracking
from harness.tracking.sinks import SINKS, check_sinks, open_sink
from harness.tracking.tracker import Tracker, opening_of
from harness.training.run import Run
from tests.commands import skipbench
from tests.evaluations import FEW_OF_BASE
from tests.made_up_results import a_result, result_json, write_result

Make = Callable[..., RunSpec]
Seen = dict[str, Any]
RECORDS = [
    EpochRecord(epoch=0, loss=2.0, lr=0.1, step_records=(StepRecord(3, 2.0, 0.1, 0.1),), accuracies={"val": 50.0}),
    EpochRecord(epoch=1, loss=1.0, lr=0.05, peak_bytes={"train": 2**20}),
]


@pytest.fixture(autouse=True)
def _no_sink_of_another_test() -> Iterator[None]:
    """A sink that was imported beside a stand-in keeps it, so it is imported anew by every test."""
    yield
    for module_name, _ in SINKS.values():
        sys.modules.pop(module_name.partition(":")[0], None)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put stand-ins in the place of packages: install(package=content, ...)."""

    def put(**packages: dict[str, Any]) -> None:
        for name, content in packages.items():
            module = ModuleType(name.replace("__", "."))
            module.__spec__ = ModuleSpec(module.__name__, None)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        for module_name, _ in SINKS.values():
            monkeypatch.delitem(sys.modules, module_name.partition(":")[0], raising=False)

    return put


class Recorder:
    """Takes every call of whatever name."""

    def __init__(self, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]], **answers: Any) -> None:
        self.calls = calls
        self.answers = answers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments, options))
            return self.answers.get(name)

        return call


def tensorboard(install: Callable[..., None]) -> Callable[[], Seen]:
    calls: list[Any] = []
    install(tensorboard={}, torch__utils__tensorboard={"SummaryWriter": lambda place: Recorder(calls)})

    def seen() -> Seen:
        scalars = {(one[1][0], one[1][2]): one[1][1] for one in calls if one[0] == "add_scalar"}
        return {
            "rows": {key: value for key, value in scalars.items() if not key[0].startswith("summary/")},
            "summary": {
                key.removeprefix("summary/"): value for (key, _), value in scalars.items() if "summary/" in key
            },
            "pictures": sum(one[0] == "add_image" for one in calls),
            "text": " ".join(str(one[1]) for one in calls if one[0] == "add_text"),
            "closed": calls[-1][0] == "close",
        }

    return seen


def mlflow(install: Callable[..., None]) -> Callable[[], Seen]:
    calls: list[Any] = []
    old, new = (SimpleNamespace(info=SimpleNamespace(run_id=name)) for name in ("old", "new"))
    answers = {"create_run": new, "create_experiment": "1", "search_runs": [old]}
    metric, pair = (namedtuple("Values", names) for names in ("key value timestamp step", "key value"))
    install(
        mlflow={},
        mlflow__entities={"Metric": metric, "Param": pair, "RunTag": pair},
        mlflow__tracking={"MlflowClient": lambda uri: Recorder(calls, **answers)},
    )

    def seen() -> Seen:
        assert ("delete_run", ("old",), {}) in calls
        metrics = [one for _, _, options in calls for one in options.get("metrics", ())]
        own = [one for one in metrics if one.key.split("/")[0] in ("train", "step", "validation", "memory", "seconds")]
        return {
            "rows": {(one.key, one.step): one.value for one in own},
            "summary": {one.key: one.value for one in metrics if one not in own},
            "pictures": 1,  # predictions are sent as a table of their paths
            "text": str([one for one in calls if one[0] in ("create_run", "log_text", "log_artifact", "log_batch")]),
            "closed": calls[-1] == ("set_terminated", ("new",), {}),
        }

    return seen


def trackio(install: Callable[..., None]) -> Callable[[], Seen]:
    calls: list[Any] = []
    started: list[Any] = []

    def init(**options: Any) -> Recorder:
        started.append(options)
        return Recorder(calls)

    made = {"Image": lambda picture, caption: ("picture", caption), "Table": lambda columns, data: (columns, data)}
    install(trackio={"init": init, **made})

    def seen() -> Seen:
        logged = [(options["step"], arguments[0]) for name, arguments, options in calls if name == "log"]
        assert [step for step, _ in logged] == list(range(len(logged)))
        *rows, (_, last) = logged
        axes = [(values.pop("epoch" if "epoch" in values else "step/number"), values) for _, values in rows]
        return {
            "rows": {(key, number): value for number, values in axes for key, value in values.items()},
            "summary": {
                key: value for key, value in last.items() if not key.startswith(("predictions/", "confusions/"))
            },
            "pictures": sum(key.startswith("predictions/") for key in last),
            "text": f"{started} {last}",
            "closed": calls[-1][0] == "finish",
        }

    return seen


STAND_INS: dict[SinkName, Callable[[Callable[..., None]], Callable[[], Seen]]] = {
    "tensorboard": tensorboard,
    "mlflow": mlflow,
    "trackio": trackio,
}


def ending_for(spec: RunSpec, folder: Path) -> Ending:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text("the log\n")
    result = a_result(spec, {"base": 60.0, "new": 40.0}, {"train": {"seconds": 2.0, "images": 10}})
    one = Prediction(path="a.png", label="cat", predicted="dog", confidence=0.5)
    media = Media(
        {"base": [Pictured(one, Image.new("RGB", (4, 4)))]},
        {"base": Confusions(("cat", "dog"), [0, 1], [1, 1])},
        {"base": [("cat", 0.0)]},
    )
    return Ending(result, summary_of(result), media, (folder / "log.txt", folder / "spec.yaml"), ())


def expected_rows() -> dict[tuple[str, int], float]:
    return {(key, row.number): value for row in rows_of(RECORDS) for key, value in row.values.items()}


def test_every_sink_has_a_stand_in() -> None:
    assert STAND_INS.keys() == SINKS.keys()


@pytest.mark.parametrize("name", SINKS)
def test_a_sink_takes_the_whole_record_once(
    name: SinkName, install: Callable[..., None], make_spec: Make, tmp_path: Path
) -> None:
    seen = STAND_INS[name](install)
    spec = make_spec("skip", "skip.depth=4")
    folder = tmp_path / "runs" / spec.id
    sink = open_sink(name, opening_of(spec, spec.id, folder, Environment(device="cpu")))
    for count in (1, 2):
        sink.log(rows_of(RECORDS[:count]))
    ending = ending_for(spec, folder)
    sink.finish(ending)
    found = seen()
    assert found["rows"] == expected_rows()
    numbers = {key: value for key, value in ending.summary.items() if isinstance(value, int | float)}
    assert {key: found["summary"][key] for key in numbers} == numbers
    assert found["pictures"] == 1
    assert found["closed"]
    for words in ("Repeat it with: skipbench bench skip", "skip-emoji-16shot-seed1"):
        assert words in found["text"]


def test_a_package_that_is_missing_is_one_line_before_anything_runs(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    spec = make_spec("skip", "tracking.sinks=[mlflow]")
    with pytest.raises(UserError, match=r"tracking\.sinks=mlflow needs the package 'mlflow'.*skipbench\[mlflow\]"):
        check_tracking([spec], {"WANDB_MODE": "disabled"})
    check_sinks([])
    assert spec.id == make_spec("skip").id


def test_a_sink_that_fails_stops_no_run(
    install: Callable[..., None], make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(place: str) -> None:
        raise RuntimeError("no space\nleft")

    install(tensorboard={}, torch__utils__tensorboard={"SummaryWriter": broken})
    notices: list[str] = []
    spec = make_spec("zeroshot", "tracking.sinks=[tensorboard]", "wandb.mode=disabled")
    tracker = Tracker(spec, tmp_path / "runs" / spec.id, Environment(device="cpu"), notices.append)
    tracker.log_epochs(RECORDS)
    tracker.finish(a_result(spec, {"base": 60.0}, {}))
    (notice,) = notices
    assert notice.startswith("tensorboard failed (no space")
    assert "--to tensorboard" in notice
    assert "\n" not in notice


def test_finished_runs_are_sent_later_even_those_that_wandb_is_not_to_have(
    install: Callable[..., None], make_spec: Make, tmp_path: Path
) -> None:
    seen = tensorboard(install)
    spec = make_spec("skip", "wandb.mode=disabled")
    folder = write_result(tmp_path, result_json(spec, {"base": 60.0, "new": 40.0}, {}))
    (folder / "metrics.jsonl").write_bytes(epoch_lines(RECORDS))
    done = skipbench("wandb-sync", "--to", "tensorboard", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 uploaded, 0 already up, 0 failed"
    assert seen()["rows"] == expected_rows()
    assert seen()["summary"]["accuracy/base"] == 60.0


def tracked_run(make_spec: Make, results: Path, sink: SinkName) -> Run:
    """A short run that was tracked at a sink."""
    words = ("train.epochs=2", "train.validate_every=1", "data.classes=base.base", f"tracking.sinks=[{sink}]")
    run = Run(make_spec("clip_adapter", *words, "wandb.mode=disabled", FEW_OF_BASE, shots=4), results)
    run.execute()
    return run


def numbers_of(run: Run) -> dict[tuple[str, int], float]:
    """(key, epoch or step) -> value, as the run's own record has it."""
    rows: list[Row] = rows_of(run.folder.read_metrics())
    return {(key, row.number): value for row in rows for key, value in row.values.items()}


def test_tensorboard_files_can_be_read_back(make_spec: Make, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tracked_run(make_spec, tmp_path, "tensorboard")
    found = EventAccumulator(str(run.folder.path / "tensorboard"))
    found.Reload()
    told = {(tag, event.step): event.value for tag in found.Tags()["scalars"] for event in found.Scalars(tag)}
    for place, value in numbers_of(run).items():
        assert told[place] == pytest.approx(value, rel=1e-6)
    assert told["summary/accuracy/base", 0] == pytest.approx(run.folder.read_result().accuracies["base"])
    assert len(found.Tags()["images"]) == 12
    assert not any("together" in tag for tag in found.Tags()["tensors"])


def test_what_mlflow_has_can_be_read_back(make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    called_in = tmp_path / "elsewhere"
    called_in.mkdir()
    monkeypatch.chdir(called_in)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = tracked_run(make_spec, tmp_path / "results", "mlflow")
    client = MlflowClient(f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("skipbench").experiment_id])
    key = found.info.run_id
    told = {(name, one.step): one.value for name in found.data.metrics for one in client.get_metric_history(key, name)}
    for place, value in numbers_of(run).items():
        assert told[place] == pytest.approx(value)
    assert told["accuracy/base", 0] == pytest.approx(run.folder.read_result().accuracies["base"])
    assert found.info.status == "FINISHED"
    assert "None" not in found.data.tags.values()
    assert {"log.txt", "spec.yaml", "predictions.json"} <= {one.path for one in client.list_artifacts(key)}
    assert not any(called_in.iterdir())


def test_what_trackio_has_can_be_read_back(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    run = tracked_run(make_spec, tmp_path / "results", "trackio")
    assert "trackio" not in capfd.readouterr().out.lower()
    (name,) = SQLiteStorage.get_runs("skipbench")
    assert name.endswith(run.folder.path.name)
    *logged, last = SQLiteStorage.get_logs("skipbench", name)
    told = {
        (key, values["epoch" if "epoch" in values else "step/number"]): value
        for values in logged
        for key, value in values.items()
    }
    for place, value in numbers_of(run).items():
        assert told[place] == pytest.approx(value)
    assert last["accuracy/base"] == pytest.approx(run.folder.read_result().accuracies["base"])
    assert sum(key.startswith("predictions/") for key in last) == 12
