"""Validation while a run trains: in every protocol, of every stage, on images that no test has, at small cost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from harness.data.datasets import read_dataset
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter
from harness.results.files import load_tensors
from harness.results.folder import RunFolder
from harness.results.record import Result
from harness.training.events import Event, Notice
from harness.training.run import Run
from harness.training.validation import VALIDATION, Validation

Make = Callable[..., RunSpec]
QUICK = ("train.epochs=2", "train.batch_size=4", "train.validate_every=1", "runtime.threads=1", "data.flip=false")
FEW_TESTS = "evaluate=[{name: base, dataset: emoji, classes: base.base.base, splits: [test]}]"
FEW_CLASSES = "data.classes=base.base"


def finished(spec: RunSpec, results: Path, report: Callable[[Event], None] = lambda event: None) -> Result:
    run = Run(spec, results, report)
    run.execute()
    return run.folder.read_result()


def accuracies(spec: RunSpec, results: Path) -> list[dict[str, float]]:
    return [record.accuracies for record in RunFolder(results, spec.id).read_metrics()]


@pytest.mark.parametrize("method", ["clip_adapter", "skip", "finetune"])
def test_the_last_epoch_has_the_accuracy_of_the_same_evaluation_at_the_end(
    method: str, make_spec: Make, tmp_path: Path
) -> None:
    """Of features, of a stage in the middle of the tower, and of pixels."""
    evaluations = [
        {"name": "held", "dataset": "emoji", "classes": "base.new", "splits": ["train", "val"]},
        {"name": "known", "dataset": "emoji", "classes": "base.base", "splits": ["val"]},
    ]
    spec = make_spec(method, *QUICK, FEW_CLASSES, f"evaluate={json.dumps(evaluations)}", shots=2)
    result = finished(spec, tmp_path)
    curve = accuracies(spec, tmp_path)
    assert len(curve) == 2
    assert curve[-1] == result.accuracies
    assert set(curve[0]) == {"held", "known"}


def test_a_protocol_that_tests_is_validated_on_validation_images(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("clip_adapter", *QUICK, FEW_CLASSES, FEW_TESTS, shots=2)
    plain = make_spec("clip_adapter", *QUICK[:2], *QUICK[3:], FEW_CLASSES, FEW_TESTS, shots=2)
    result, other = finished(spec, tmp_path), finished(plain, tmp_path)
    first, last = accuracies(spec, tmp_path)
    assert set(first) == set(last) == {VALIDATION}
    assert accuracies(plain, tmp_path) == [{}, {}]
    # It watches, and changes nothing: neither what is learned nor what adapting costs.
    one, two = (load_tensors(RunFolder(tmp_path, each.id).checkpoint_file)[0] for each in (spec, plain))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert result.accuracies == other.accuracies
    assert result.costs.phases["validate"].seconds > 0
    assert "validate" not in other.costs.phases
    assert result.costs.phases["evaluate"].images == other.costs.phases["evaluate"].images
    assert result.costs.phases["select"].seconds == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_protocol_shows_a_test_image(
    protocol: str, plan_runs: Callable[..., list[RunSpec]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folds = ["data.held_out=1/2"] if PROTOCOLS[protocol].needs_folds else []
    words = ["train.epochs=1", "train.validate_every=1", "train.batch_size=4", "clip_adapter.reduction=4", *folds]
    (spec,) = plan_runs(protocol, *words, methods=["clip_adapter"], seeds=[1], shots=[2])
    seen: list[tuple[str, str]] = []
    build = Validation._part

    def part(self: Validation, *arguments: Any) -> Any:
        found = build(self, *arguments)
        seen.extend((found.name, picture.path) for picture in found.classifier.pictures.pictures)
        return found

    monkeypatch.setattr(Validation, "_part", part)
    run = Run(spec, tmp_path)
    setup = run.set_up()
    validation = Validation(spec, setup.data, run.data.test_transform(setup.clip), Meter(run.device))
    assert validation(setup.method).keys() == {name for name, _ in seen}
    tests = {picture.path for picture in read_dataset("emoji", None).test}
    assert seen
    assert tests.isdisjoint(path for _, path in seen)
    trained = {picture.path for picture in run.data.training_pictures(setup.data)}
    assert trained.isdisjoint(path for name, path in seen if name != "new")
    own = {item.name for item in spec.evaluate}
    assert {name for name, _ in seen} == (own if PROTOCOLS[protocol].validates else {VALIDATION})


def test_a_data_set_without_such_images_is_told_once(make_spec: Make, tmp_path: Path) -> None:
    for number in range(4):
        for split in ("train", "test"):
            folder = tmp_path / "own" / split / f"class {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = torch.randint(0, 255, (40, 40, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / f"{number}.png")
    spec = make_spec("clip_adapter", *QUICK, FEW_TESTS.replace("base.base.base", "all"), shots=2)
    data = spec.data.model_copy(update={"dataset": f"folder:{tmp_path / 'own'}", "classes": "all"})
    notices: list[str] = []
    finished(
        spec.model_copy(update={"data": data, "evaluate": spec.evaluate}),
        tmp_path,
        lambda event: notices.append(event.text) if isinstance(event, Notice) else None,
    )
    assert sum("nothing is validated" in line for line in notices) == 1
