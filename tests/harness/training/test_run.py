"""A run from spec to result, undisturbed and disturbed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from harness.clip.load import load_backbone
from harness.clip.prompts import fill_template
from harness.data.catalog import DATASETS
from harness.data.datasets import read_dataset
from harness.data.fewshot import class_subset, keep_classes
from harness.data.loader import PictureSet
from harness.data.transforms import TestTransform
from harness.errors import UserError
from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.machine.costs import PHASES
from harness.machine.device import choose_device
from harness.machine.meter import Meter
from harness.results.files import load_tensors
from harness.training.evaluate import evaluate
from harness.training.events import Event, PhaseStarted, TrainingProgress
from harness.training.run import Run
from harness.training.state import load_trained_state
from tests.commands import ROOT
from tests.evaluations import FEW_OF_BOTH

Make = Callable[..., RunSpec]
QUICK = ("train.epochs=3", "train.lr=0.01", "train.warmup_epochs=0")
TIMED = {"seconds", "images_per_second", "peak_rss_bytes", "train_seconds", "cache_seconds"}


def execute(spec: RunSpec, results: Path) -> dict[str, Any]:
    run = Run(spec, results)
    run.execute()
    return json.loads(run.folder.result_file.read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, Path, dict[str, Any]]:
    """One finished run: its spec, its folder and its result."""
    from harness.experiment.grid import expand, load_experiment
    from harness.experiment.recipes import EXPERIMENTS
    from harness.experiment.settings import parse_overrides

    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"seeds": [1], "shots": [4], "recipe": "official"})
    spec = expand(experiment, parse_overrides(["skip.depth=3", *QUICK, FEW_OF_BOTH]))[0]
    results = tmp_path_factory.mktemp("results")
    return spec, results / "runs" / spec.id, execute(spec, results)


def test_the_result_tells_everything(finished: tuple[RunSpec, Path, dict[str, Any]]) -> None:
    spec, folder, result = finished
    assert result["id"] == spec.id == folder.name
    assert parse_run_spec(result["spec"]).id == spec.id
    assert [item["name"] for item in result["evaluations"]] == ["base", "new"]
    splits = read_dataset("emoji", None)
    few = [len(keep_classes(splits.test, class_subset(45, subset))) for subset in ("base.base.base", "new.base.base")]
    assert [item["images"] for item in result["evaluations"]] == few
    for item in result["evaluations"]:
        assert 0 < item["accuracy"] < 100
        assert 0 <= item["ece"] < 100
        assert len(item["per_class"]) == 6
        assert item["template"] == "a drawing of {article} {}."
    costs = result["costs"]
    assert set(costs["phases"]) == set(PHASES)
    assert not any(costs["phases"][name]["seconds"] for name in ("fit", "select"))
    for phase in (costs["phases"][name] for name in ("setup", "cache", "train", "evaluate")):
        assert phase["seconds"] > 0
        assert phase["peak_tensor_bytes"] > 4 * costs["total_parameters"]
        assert phase["peak_rss_bytes"] > phase["peak_tensor_bytes"]
    assert costs["phases"]["train"]["images"] == costs["phases"]["cache"]["images"] == 3 * 23 * 4
    assert costs["phases"]["evaluate"]["images"] == sum(few)
    assert costs["trainable_parameters"] < costs["total_parameters"]
    assert costs["train_flops_per_image"] > costs["cache_flops_per_image"] > 0
    assert costs["checkpoint_bytes"] == (folder / "checkpoint.safetensors").stat().st_size
    assert result["sample"]["train_images"] == 4 * 45
    assert len(result["transform_hash"]) == len(result["sample"]["hash"]) == 16
    assert result["environment"]["torch"].startswith(torch.__version__.split("+")[0])
    assert result["environment"]["threads"] == torch.get_num_threads()
    assert result["step_threads"] == min(2, torch.get_num_threads())
    assert "git_commit" in result["environment"]
    assert len(result["weights_sha256"]) == 64
    assert result["interruptions"] == 0


def test_the_folder_holds_what_the_documentation_says(finished: tuple[RunSpec, Path, dict[str, Any]]) -> None:
    spec, folder, result = finished
    files = {path.name for path in folder.iterdir()}
    assert files == {
        "spec.yaml",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "predictions.json",
        "sample.json",
        "logits-base.safetensors",
        "logits-new.safetensors",
        "result.json",
        "log.txt",
    }
    assert parse_run_spec(yaml.safe_load((folder / "spec.yaml").read_text())).id == spec.id
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in metrics] == [0, 1, 2]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    sample = json.loads((folder / "sample.json").read_text())
    assert sample["hash"] == result["sample"]["hash"]
    assert len(sample["train"]) == len(sample["val"]) == 4 * 45
    assert sample["train"][0][2] == read_dataset("emoji", None).class_names[0]


def test_the_checkpoint_holds_trained_tensors_only_and_gives_the_same_accuracy(
    finished: tuple[RunSpec, Path, dict[str, Any]],
) -> None:
    spec, folder, result = finished
    state = load_file(folder / "checkpoint.safetensors")
    assert not [name for name in state if "resblocks.2." in name or "conv1" in name or "logit_scale" in name]
    assert {"rank_mask", "prototypes", "clip.image.transformer.resblocks.3.attn.in_proj_weight"} <= state.keys()

    clip, splits = load_backbone(spec.backbone), read_dataset("emoji", None)
    cls, item = method_class(spec.method), result["evaluations"][1]
    template = DATASETS["emoji"].template

    def texts(subset: str) -> list[str]:
        labels = class_subset(45, subset)
        return [fill_template(template, splits.class_names[label]) for label in labels]

    method = cls(clip, cls.Config(**spec.options), clip.tokenize(texts("base")))
    load_trained_state(method, state)
    new = class_subset(45, "new.base.base")
    pictures = PictureSet(splits.folder, keep_classes(splits.test, new))
    names = [splits.class_names[label] for label in new]
    meter = Meter(torch.device("cpu"))
    again, _, _ = evaluate(method, pictures, names, texts("new.base.base"), TestTransform(48), meter, "fp32")
    assert (again.accuracy, again.per_class) == (item["accuracy"], item["per_class"])


def test_a_complete_run_is_left_alone(finished: tuple[RunSpec, Path, dict[str, Any]]) -> None:
    spec, folder, _ = finished
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "spec.yaml"}
    Run(spec, folder.parents[1]).execute()
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "spec.yaml"}
    assert before == after


def without_times(value: Any) -> Any:
    """A result without what differs from one time to the next."""
    if isinstance(value, dict):
        return {
            key: without_times(item) for key, item in value.items() if key not in {*TIMED, "interruptions", "alone"}
        }
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("when", [2, PhaseStarted("evaluate", "new")])
def test_an_interrupted_run_goes_on_to_the_same_result(
    when: int | Event,
    finished: tuple[RunSpec, Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, folder, undisturbed = finished
    # Every epoch, however fast it is.
    monkeypatch.setattr("harness.training.training.SaveClock.is_due", lambda clock, now: True)

    def interrupt(event: Event) -> None:
        if event == when or (isinstance(event, TrainingProgress) and event.record and event.epoch == when):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path, interrupt).execute()
    mine = tmp_path / "runs" / spec.id
    assert not (mine / "result.json").exists()
    # What a killed process may leave: a half-written line and a temporary file.
    with (mine / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lo')
    (mine / "result.json.tmp").write_text("{")
    events: list[Event] = []
    Run(spec, tmp_path, events.append).execute()
    epochs = [event.epoch for event in events if isinstance(event, TrainingProgress) and event.record]
    assert epochs == ([3] if when == 2 else [])
    result = json.loads((mine / "result.json").read_text())
    assert result["interruptions"] == 1
    assert without_times(result) == without_times(undisturbed)
    assert (mine / "checkpoint.safetensors").read_bytes() == (folder / "checkpoint.safetensors").read_bytes()
    assert len((mine / "metrics.jsonl").read_text().splitlines()) == 3
    assert {path.name for path in mine.iterdir()} == {path.name for path in folder.iterdir()}


def test_zero_shot_trains_nothing_and_writes_no_checkpoint(make_spec: Make, tmp_path: Path) -> None:
    result = execute(make_spec("zeroshot"), tmp_path)
    accuracy = {item["name"]: round(item["accuracy"], 1) for item in result["evaluations"]}
    readme = (ROOT / "harness" / "embedded" / "README.md").read_text()
    for value in accuracy.values():
        assert f"{value:.1f}" in readme, "the accuracies beside the weights must be those of the weights"
    assert result["costs"]["trainable_parameters"] == result["costs"]["checkpoint_bytes"] == 0
    assert result["costs"]["phases"]["train"]["seconds"] == 0


def test_evaluations_of_other_data_sets_and_splits(make_spec: Make, tmp_path: Path) -> None:
    evaluations = [
        {"name": "outline", "dataset": "emoji-outline", "classes": "all"},
        {"name": "held out", "dataset": "emoji", "classes": "base.new", "splits": ["train", "val"]},
    ]
    result = execute(make_spec("zeroshot", f"evaluate={json.dumps(evaluations)}", shots=2), tmp_path)
    assert [item["images"] for item in result["evaluations"]] == [829, 11 * (2 + 2)]


def test_evaluation_without_pictures_is_one_clear_line(make_spec: Make, tmp_path: Path) -> None:
    evaluations = [{"name": "x", "dataset": "emoji-outline", "splits": ["val"]}]
    with pytest.raises(UserError, match="evaluation 'x' has nothing to look at"):
        execute(make_spec("zeroshot", f"evaluate={json.dumps(evaluations)}"), tmp_path)


@pytest.mark.parametrize(("name", "message"), [("gpu", "unknown device"), ("meta", "not supported"), ("cuda:99", "99")])
def test_devices_that_are_not_there(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_on_a_gpu_measures_the_allocator(make_spec: Make, tmp_path: Path) -> None:
    result = execute(make_spec("skip", *QUICK, "runtime.device=cuda", shots=4), tmp_path)
    train = result["costs"]["phases"]["train"]
    assert train["peak_reserved_bytes"] >= train["peak_allocated_bytes"] > 4 * result["costs"]["total_parameters"]
    assert train["peak_tensor_bytes"] is None


def test_validation_after_every_epoch_changes_no_weight(make_spec: Make, tmp_path: Path) -> None:
    evaluations = [{"name": "held", "dataset": "emoji", "classes": "base.new", "splits": ["train"]}]
    words = [f"evaluate={json.dumps(evaluations)}", "train.epochs=2", "train.batch_size=4", "data.classes=base.base"]
    plain = make_spec("skip", *words, shots=4)
    validated = make_spec("skip", *words, "train.validate_every=1", shots=4)
    assert plain.id != validated.id
    results = [execute(spec, tmp_path) for spec in (plain, validated)]
    tensors = [load_tensors(tmp_path / "runs" / spec.id / "checkpoint.safetensors")[0] for spec in (plain, validated)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    lines = [(tmp_path / "runs" / spec.id / "metrics.jsonl").read_text().splitlines() for spec in (plain, validated)]
    assert [json.loads(line)["loss"] for line in lines[0]] == [json.loads(line)["loss"] for line in lines[1]]
    assert json.loads(lines[1][-1])["accuracy.held"] == results[1]["evaluations"][0]["accuracy"]
    assert "accuracy.held" not in json.loads(lines[0][-1])


def test_held_out_shots_are_judged_on_and_not_trained_on(make_spec: Make, tmp_path: Path) -> None:
    evaluations = [{"name": "held", "dataset": "emoji", "classes": "base", "splits": ["held_out"]}]
    words = [f"evaluate={json.dumps(evaluations)}", "train.epochs=1", "train.batch_size=4", "data.held_out=2/4"]
    result = execute(make_spec("clip_adapter", *words, shots=4), tmp_path)
    assert result["evaluations"][0]["images"] == 23
    assert result["costs"]["phases"]["train"]["images"] == 4 * (23 * 3 // 4)
    assert result["sample"]["train_images"] == 45 * 3


def test_data_that_is_not_tested_is_read_without_its_test_pictures(make_spec: Make, tmp_path: Path) -> None:
    evaluations = [{"name": "held", "dataset": "emoji", "classes": "base", "splits": ["val"]}]
    run = Run(make_spec("zeroshot", f"evaluate={json.dumps(evaluations)}"), tmp_path)
    assert run.data.read("emoji").test == ()
    assert Run(make_spec("zeroshot"), tmp_path).data.read("emoji").test
