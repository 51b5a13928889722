"""W&B: the real client, read back from its own files."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from harness.experiment.spec import RunSpec
from harness.machine.environment import Environment
from harness.results.epochs import EpochRecord
from harness.results.record import Costs, Result
from harness.tracking.contents import summary_of
from harness.tracking.delivery import Delivery, read_delivery
from harness.tracking.offline_file import read_records, values
from harness.tracking.settings import tracking_mode
from harness.tracking.tracker import Tracker, warm_up
from harness.tracking.wandb_run import remove_undelivered
from harness.training.events import Event, Notice, TrainingProgress
from harness.training.run import Run
from tests.evaluations import FEW_OF_BASE
from tests.made_up_results import a_result

Make = Callable[..., RunSpec]
QUICK = ("train.epochs=3", "train.validate_every=1", "data.classes=base.base", "wandb.mode=offline", FEW_OF_BASE)


def read_offline_run(folder: Path) -> dict[str, Any]:
    """Configuration, history and summary of the one offline run in a run's folder."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    config: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    metrics, run, goals, files, artifacts, pictures = [], None, {}, [], [], {}
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config.update(values(record.run.config.update))
        elif kind == "history":
            history.append(
                {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            )
        elif kind == "summary":
            summary.update(
                {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.summary.update}
            )
        elif kind == "metric":
            name, asked = record.metric.name or record.metric.glob_name, record.metric.summary
            metrics.append((name, record.metric.step_metric))
            goals[name] = "max" if asked.max else "min" if asked.min else ""
        elif kind == "files":
            files += [item.path for item in record.files.files]
        elif kind == "artifact":
            artifacts += [(record.artifact.name, record.artifact.type)]
            pictures |= {item.path: Path(item.local_path) for item in record.artifact.manifest.contents}
    found = {"run": run, "config": config, "history": history, "summary": summary, "metrics": metrics}
    return {
        **found,
        "goals": goals,
        "files": files,
        "artifacts": artifacts,
        "pictures": pictures,
        "folder": path.parent,
    }


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, Path]:
    """A run that was tracked offline."""
    from harness.experiment.grid import expand, load_experiment
    from harness.experiment.recipes import EXPERIMENTS
    from harness.experiment.settings import parse_overrides

    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"seeds": [1], "shots": [4]})
    spec = expand(experiment, parse_overrides(["tracking.artifacts=true", "tracking.system=true", *QUICK]))[0]
    results = tmp_path_factory.mktemp("results")
    Run(spec, results).execute()
    return spec, results / "runs" / spec.id


def test_configuration_curve_and_summary_are_in_the_offline_run(tracked: tuple[RunSpec, Path]) -> None:
    spec, folder = tracked
    found = read_offline_run(folder)
    result = json.loads((folder / "result.json").read_text())
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert found["config"]["skip"] == spec.options
    assert found["config"]["train"]["epochs"] == 3
    assert found["config"]["environment"]["torch"] == result["environment"]["torch"]
    epochs = [line for line in found["history"] if "epoch" in line]
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    assert [line["train/loss"] for line in epochs] == [line["loss"] for line in metrics]
    assert [line["train/lr"] for line in epochs] == [line["lr"] for line in metrics]
    for line, record in zip(epochs, metrics, strict=True):
        spent = record["train_seconds"] + record["cache_seconds"]
        assert line["train/images_per_second"] == pytest.approx(record["images"] / spent)
        assert line["seconds/train"] == record["train_seconds"]
        assert line["memory/train_mib"] == record["peak_bytes.train"] / 2**20
        assert line["validation/base"] == record["accuracy.base"]
    assert epochs[0]["seconds/setup"] > 0
    assert "seconds/setup" not in epochs[1]
    steps = [line for line in found["history"] if "step" in line]
    assert [[line["step"], line["step/loss"], line["step/lr"], line["step/lr_image"]] for line in steps] == [
        step for record in metrics for step in record["step_records"]
    ]
    assert len(steps) == 3 * min(-(-200 // 3), metrics[0]["steps"])
    assert {("train/*", "epoch"), ("validation/*", "epoch"), ("step/*", "step")} <= set(found["metrics"])
    assert found["goals"]["validation/*"] == "max"
    for item in result["evaluations"]:
        assert found["summary"][f"accuracy/{item['name']}"] == item["accuracy"]
    train = result["costs"]["phases"]["train"]
    assert found["summary"]["costs/train/peak_tensor_bytes"] == train["peak_tensor_bytes"]
    assert found["summary"]["costs/train/seconds"] == train["seconds"]
    run = found["run"]
    assert (run.run_id, run.run_group) == (spec.id, "bench")
    assert run.display_name == "skip-emoji-4shot-seed1 train.epochs=3 train.validate_every=1"
    assert run.notes == "Repeat it with: skipbench run spec.yaml"  # the evaluations are no protocol's
    summary = found["summary"]
    assert summary["costs/train/peak_mib"] == train["peak_tensor_bytes"] / 2**20
    assert summary["costs/train/images_per_second"] == train["images_per_second"]
    assert {f"method/{key}" for key in result["method_facts"]} <= summary.keys()
    assert run.job_type == "train"
    delivery = read_delivery(folder)
    assert delivery == Delivery(mode="offline", project="skipbench")  # nothing is at W&B yet
    assert {"skip", "emoji", "base_to_new"} <= set(run.tags)


def table(found: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The rows of a table that the last record refers to."""
    content = json.loads((found["folder"] / "files" / found["history"][-1][f"{key}.path"]).read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def test_tables_pictures_files_and_artifacts_are_in_the_offline_run(tracked: tuple[RunSpec, Path]) -> None:
    spec, folder = tracked
    found, result = read_offline_run(folder), json.loads((folder / "result.json").read_text())
    (evaluation,) = result["evaluations"]
    recorded = json.loads((folder / "predictions.json").read_text())["base"]
    shown = table(found, "predictions/base")
    assert [row["path"] for row in shown] == [one["path"] for one in recorded]
    assert [row["right"] for row in shown] == [one["label"] == one["predicted"] for one in recorded]
    # Pictures are in the copy of the table that travels as an artifact.
    content = json.loads(found["pictures"]["predictions/base.table.json"].read_text())
    cells = [row[content["columns"].index("picture")] for row in content["data"]]
    assert len(cells) == len(recorded)
    for cell in cells:
        staged = found["pictures"][cell["path"]]
        with Image.open(staged) as picture:
            assert 16 <= max(picture.size) <= 128
        assert staged.is_relative_to(folder), "nobody would remove it from the user's home"
    mistakes = table(found, "confusions/base")
    wrong = round(evaluation["images"] * (1 - evaluation["accuracy"] / 100))
    assert sum(row["images"] for row in mistakes) == wrong > 0
    assert all(row["class"] != row["predicted"] for row in mistakes)
    matrix = table(found, "confusion_matrix/base_table")
    assert len(matrix) == len(evaluation["per_class"]) ** 2
    assert sum(row["nPredictions"] for row in matrix) == evaluation["images"]
    bars = table(found, "classes/base_table")
    assert {row["class"]: row["accuracy in percent"] for row in bars} == evaluation["per_class"]
    assert {"log.txt", "spec.yaml"} <= set(found["files"])
    assert (found["folder"] / "files" / "log.txt").read_text().rstrip().splitlines()[-1].endswith("}")
    own = [(name, kind) for name, kind in found["artifacts"] if kind != "run_table"]
    assert own == [(f"{spec.id}-checkpoint", "model"), (f"{spec.id}-sample", "dataset")]
    epochs = [line for line in found["history"] if "epoch" in line]
    assert all(line["system/cores"] >= 0 for line in epochs)


def test_an_interrupted_run_leaves_one_whole_offline_run(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("skip", *QUICK, shots=4)

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path, interrupt).execute()
    import wandb

    wandb.teardown()  # as the end of the process would
    Run(spec, tmp_path).execute()
    found = read_offline_run(tmp_path / "runs" / spec.id)
    assert [line["epoch"] for line in found["history"] if "epoch" in line] == [0, 1, 2]
    assert found["summary"]["accuracy/base"] > 0


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        (
            {},
            "no W&B key: run `wandb login` or set WANDB_API_KEY; the run continues offline; upload it later with `skip",
        ),
        ({"WANDB_API_KEY": "x" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}, "W&B is not reachable ("),
    ],
)
def test_online_without_key_or_server_is_one_line_and_goes_on_offline(
    environment: dict[str, str], reason: str, make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    wandb.teardown()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("harness.tracking.wandb_run.INIT_TIMEOUT", 2.0)
    for key in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    notices: list[str] = []
    spec = make_spec("zeroshot", "wandb.mode=online", FEW_OF_BASE, shots=4)
    run = Run(spec, tmp_path, lambda event: notices.append(event.text) if isinstance(event, Notice) else None)
    run.execute()
    wandb.teardown()
    assert len(notices) == 1
    assert reason in notices[0]
    assert "offline" in notices[0]
    assert "\n" not in notices[0]
    assert read_offline_run(run.folder.path)["summary"]["accuracy/base"] > 0
    assert not list(run.folder.path.glob("wandb/run-*"))


def test_the_mode_is_the_specs_then_the_environments_then_offline(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert tracking_mode(make_spec("zeroshot", "wandb.mode=disabled")) == "disabled"
    assert tracking_mode(make_spec("zeroshot")) == "online"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert tracking_mode(make_spec("zeroshot")) == "offline"
    monkeypatch.delenv("WANDB_MODE")
    assert tracking_mode(make_spec("zeroshot")) == "offline"


def test_a_failing_client_never_stops_a_run(make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("service\ndied")

    monkeypatch.setattr("harness.tracking.wandb_run.wandb.init", broken)
    notices: list[str] = []
    spec = make_spec("zeroshot", "wandb.mode=offline")
    environment = Environment(device="cpu")
    tracker = Tracker(spec, tmp_path, environment, notices.append)
    tracker.log_epochs([EpochRecord(epoch=0, loss=1.0, lr=0.1)])
    tracker.finish(Result(id=spec.id, spec=spec, evaluations=(), costs=Costs(phases={}), environment=environment))
    assert len(notices) == 1
    assert "service" in notices[0]
    assert "metrics.jsonl" in notices[0]


def test_uploaded_offline_runs_are_kept(tmp_path: Path) -> None:
    old, sent = (tmp_path / "wandb" / f"offline-run-{day}-abc" for day in ("1", "2"))
    for folder in (old, sent):
        folder.mkdir(parents=True)
    (sent / "run-abc.wandb.synced").touch()
    remove_undelivered(tmp_path, "abc")
    assert (old.exists(), sent.exists()) == (False, True)


def test_tests_themselves_track_nothing() -> None:
    assert os.environ["WANDB_MODE"] == "disabled"


def test_the_result_does_not_wait_for_wandb(make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.training.run.Tracker.finish", interrupted)
    run = Run(make_spec("zeroshot", "wandb.mode=disabled", FEW_OF_BASE, shots=1), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.execute()
    assert run.folder.is_complete


def test_the_command_line_is_kept_from_wandb(tmp_path: Path, make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of an offline run holds it: it may hold the password of a database."""
    words = ["skipbench", "sweep", "--storage", "postgresql://me:hunter@host/x"]
    monkeypatch.setattr("sys.argv", words)
    spec = make_spec("zeroshot", "wandb.mode=offline")
    # As in a run's process, where the service has started before.
    wandb.teardown()
    warm_up(spec)
    tracker = Tracker(spec, tmp_path, Environment(device="cpu"), notify=pytest.fail)
    assert tracker.run
    tracker.run._run.finish()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert spec.id.encode() in written
    assert b"hunter" not in written
    assert b"--storage" not in written
    assert sys.argv == words


def test_the_summary_holds_what_was_chosen_and_refused(make_spec: Make) -> None:
    selection = {"chosen": {"alpha": 1.5}, "accuracy": 70.0, "candidates": 9, "images": 180, "shots": 4}
    refusals = [{"evaluation": "new", "reason": "one weight vector a training class"}]
    phases = {"fit": {"seconds": 1.0}, "select": {"seconds": 2.0, "shared_seconds": 0.5}}
    result = a_result(make_spec("zeroshot"), {"base": 60.0}, phases, selection=selection, refusals=refusals)
    summary = summary_of(result)
    assert (summary["selection.chosen.alpha"], summary["selection.candidates"]) == (1.5, 9)
    assert (summary["selection.pictures"], summary["selection.images"], summary["selection.shots"]) == ("val", 180, 4)
    assert "selection.epoch" not in summary
    assert summary["refused/new"] == "one weight vector a training class"
    assert summary["metrics/train_seconds"] == 3.5
    assert (summary["costs/select/seconds"], summary["costs/select/shared_seconds"]) == (2.0, 0.5)
    assert not {"accuracy/new", "accuracy/H"} & summary.keys()
    clean = summary_of(a_result(make_spec("zeroshot"), {"base": 60.0, "new": 50.0}, {}))
    assert not [key for key in clean if key.startswith(("selection", "refused"))]
