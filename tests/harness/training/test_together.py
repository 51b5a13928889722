"""Runs that train as one: the same results as alone, each with records of its own, whatever becomes of the others."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from harness.data.loader import PictureSet
from harness.errors import DivergedError
from harness.experiment.registry import method_names
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter
from harness.results.files import load_tensors
from harness.results.record import Result
from harness.schedule.companions import is_on_features
from harness.training.build import build_clip, build_method
from harness.training.events import Event, Notice, TrainingProgress
from harness.training.feature_cache import TrainingImages
from harness.training.fitting import fit_to_images
from harness.training.run import Run
from harness.training.stacked import JointOptimizer, Stack
from harness.training.state import trained_state
from harness.training.together import distance_from_single, execute_together, misfit, take_steps
from harness.training.trainer import Trainer
from tests.evaluations import FEW_OF_BOTH
from tests.plain_training import Sample, Seen, view_of
from tests.stored_trainings import read

Make = Callable[..., RunSpec]
CPU = torch.device("cpu")
QUICK = ("train.epochs=3", "train.views=1", "train.warmup_epochs=0", "train.batch_size=16", FEW_OF_BOTH)
ON_FEATURES = [name for name in method_names() if is_on_features(name)]


def ready(spec: RunSpec) -> Trainer:
    """The trainer of a run in float64, whose first step can be taken."""
    sample = Sample.of(spec)
    clip = build_clip(spec.backbone, "fp32", CPU).double()
    method = build_method(clip, spec.method, spec.options, sample.texts, "fp32", spec.seed).double()
    pictures, meter = PictureSet(sample.data.read(spec.data.dataset).folder, sample.pictures), Meter(CPU)
    images = TrainingImages(clip, pictures, Seen(view_of), method.image_start, spec.train, spec.seed, meter)
    if method.is_fitted():
        fit_to_images(method, images, spec, meter)
    trainer = Trainer(method, images, spec, meter)
    trainer.flops = {"train": 0.0, "cache": 0.0}
    return trainer


def train_as_one(trainers: Sequence[Trainer]) -> None:
    """Take all steps, as a group of runs does."""
    stack, optimizer = Stack([one.method for one in trainers]), JointOptimizer([one.optimizer for one in trainers])
    for epoch in range(trainers[0].epochs):
        begun = [one.begin_epoch(epoch) for one in trainers]
        take_steps(trainers, begun, stack, optimizer)
        for trainer, one in zip(trainers, begun, strict=True):
            with trainer.measured(one):
                pass
    stack.release()


@pytest.mark.parametrize("name", ON_FEATURES)
def test_weights_are_those_of_single_trainings(name: str) -> None:
    spec = read(name).spec
    specs = [
        spec.model_copy(update={"seed": seed, "train": spec.train.model_copy(update={"lr": lr, "momentum": momentum})})
        for seed, lr, momentum in ((1, 0.02, 0.9), (2, 0.02, 0.9), (3, 0.05, 0.5))
    ]
    alone, together = ([ready(one) for one in specs] for _ in range(2))
    before = [{key: value.clone() for key, value in trained_state(one.method).items()} for one in alone]
    for trainer in alone:
        trainer.train(0, lambda record: None)
    together[0].begin_epoch(0), together[1].begin_epoch(0), together[2].begin_epoch(0)
    assert distance_from_single(together, 0) < 1e-9
    train_as_one(together)
    for was, one, other in zip(before, alone, together, strict=True):
        own, joint = trained_state(one.method), trained_state(other.method)
        assert any(not torch.equal(was[key], own[key]) for key in own)
        for key, value in own.items():
            torch.testing.assert_close(joint[key], value, rtol=1e-10, atol=1e-12)
            assert joint[key].untyped_storage().nbytes() == joint[key].nbytes


def specs_of(make_spec: Make, method: str = "clip_adapter", *more: str) -> list[RunSpec]:
    """Two small runs that differ in seed and learning rate."""
    return [
        make_spec(method, *QUICK, f"train.lr={lr}", *more, seed=seed, shots=2) for seed, lr in ((1, 0.02), (2, 0.05))
    ]


def execute(specs: Sequence[RunSpec], results: Path, told: list[tuple[int, Event]] | None = None) -> dict[int, str]:
    """Execute runs together; returns seed -> failure."""
    failures: dict[int, str] = {}
    log = [] if told is None else told

    def report(seed: int, event: Event) -> None:
        log.append((seed, event))

    runs = [Run(spec, results, partial(report, spec.seed)) for spec in specs]
    execute_together(runs, lambda run, error: failures.update({run.spec.seed: f"{type(error).__name__}: {error}"}))
    return failures


def results_of(specs: Sequence[RunSpec], results: Path) -> list[Result]:
    return [Run(spec, results).folder.read_result() for spec in specs]


def assert_same(specs: Sequence[RunSpec], alone: Path, together: Path) -> None:
    """Weights within rounding, and every other number that a run leaves but its costs."""
    for spec, one, other in zip(specs, results_of(specs, alone), results_of(specs, together), strict=True):
        assert other.accuracies == one.accuracies
        own, joint = (load_tensors(Run(spec, root).folder.checkpoint_file)[0] for root in (alone, together))
        for key, value in own.items():
            torch.testing.assert_close(joint[key], value, rtol=1e-5, atol=1e-7)
        predicted, same = (Run(spec, root).folder.read_predictions() for root in (alone, together))
        for name, items in predicted.items():
            assert [item.predicted for item in same[name]] == [item.predicted for item in items]
        assert predicted
        single, several = (Run(spec, root).folder.read_metrics() for root in (alone, together))
        assert [record.lr for record in several] == [record.lr for record in single]
        assert [record.loss for record in several] == pytest.approx([record.loss for record in single], rel=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of the two runs, computed one by one."""
    return tmp_path_factory.mktemp("alone")


@pytest.fixture
def specs(make_spec: Make, alone: Path) -> list[RunSpec]:
    found = specs_of(make_spec)
    for spec in found:
        Run(spec, alone).execute()
    return found


def test_results_are_those_of_single_runs_and_costs_are_marked(
    specs: list[RunSpec], alone: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, Event]] = []
    assert execute(specs, tmp_path, told) == {}
    assert_same(specs, alone, tmp_path)
    for one, other in zip(results_of(specs, alone), results_of(specs, tmp_path), strict=True):
        assert (one.costs.together, other.costs.together) == (None, 2)
        assert other.costs.alone is False
        # Measured before the steps, for the run itself.
        assert other.costs.phases["train"].peak_tensor_bytes == one.costs.phases["train"].peak_tensor_bytes
        assert other.costs.phases["train"].images == one.costs.phases["train"].images
        assert other.costs.train_flops_per_image == one.costs.train_flops_per_image
    epochs = [(seed, event.epoch) for seed, event in told if isinstance(event, TrainingProgress) and event.record]
    assert epochs == [(seed, epoch) for epoch in (1, 2, 3) for seed in (1, 2)]
    for spec in specs:
        log = Run(spec, tmp_path).folder.log_file.read_text()
        assert log.count("complete: ") == log.count("pictures at once") == 1


def test_an_interrupted_run_joins_another_where_it_was(specs: list[RunSpec], alone: Path, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(specs[0], tmp_path, stop).execute()
    told: list[tuple[int, Event]] = []
    assert execute(specs, tmp_path, told) == {}
    epochs = [(seed, event.epoch) for seed, event in told if isinstance(event, TrainingProgress) and event.record]
    assert epochs == [(2, 1), (1, 2), (2, 2), (1, 3), (2, 3)]
    assert_same(specs, alone, tmp_path)


def test_runs_that_were_interrupted_together_go_on_alone(specs: list[RunSpec], alone: Path, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute_together([Run(specs[0], tmp_path), Run(specs[1], tmp_path, stop)], lambda run, error: None)
    for spec in specs:
        folder = Run(spec, tmp_path).folder
        assert not list(folder.path.glob("claim-*"))
        assert "stopped" in folder.log_file.read_text()
        progress = folder.load_progress()
        assert progress is not None
        assert progress[1].epoch == 1
        Run(spec, tmp_path).execute()
    assert_same(specs, alone, tmp_path)
    assert [result.costs.together for result in results_of(specs, tmp_path)] == [2, 2]


def test_one_that_diverges_does_not_disturb_the_other(specs: list[RunSpec], alone: Path, tmp_path: Path) -> None:
    train = specs[0].train.model_copy(update={"lr": 1e38})
    wild = specs[0].model_copy(update={"train": train})
    failures = execute([wild, specs[1]], tmp_path)
    assert failures.keys() == {1}
    assert failures[1].startswith(DivergedError.__name__)
    assert "lower train.lr" in Run(wild, tmp_path).folder.log_file.read_text()
    assert_same(specs[1:], alone, tmp_path)


UNTRACEABLE = '''
import torch
from torch import Tensor, nn
from methods.base import Method

class Odd(Method):
    """A loss that reads a number."""

    def build(self) -> None:
        self.shift = nn.Parameter(torch.zeros(self.clip.embed_dim))
        self.factor = torch.rand(())

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        return super().text_features(classes) + self.shift

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        loss = super().loss(x, labels)
        return CHANGE
'''


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("loss * (1 if loss.item() > 0 else 2)", "torch cannot compute its loss"),
        ("loss * self.factor", "losses or gra"),
    ],
)
def test_methods_that_cannot_train_as_one_train_alone_and_say_so(
    change: str, reason: str, make_spec: Make, add_method: Callable[[str, str], None], tmp_path: Path
) -> None:
    add_method("odd", UNTRACEABLE.replace("CHANGE", change))
    trainers = []
    for seed in (1, 2):
        spec = make_spec("clip_adapter", *QUICK, seed=seed, shots=1)
        run = Run(spec.model_copy(update={"method": "odd", "options": {}}), tmp_path)
        trainers.append(run.make_trainer(run.set_up(), Meter(CPU)))
        trainers[-1].begin_epoch(0)
    found = misfit(trainers, 0)
    assert found is not None
    assert reason in found


def test_a_misfit_trains_one_by_one(
    specs: list[RunSpec], alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.together.misfit", lambda trainers, epoch: "for some reason")
    told: list[tuple[int, Event]] = []
    assert execute(specs, tmp_path, told) == {}
    assert_same(specs, alone, tmp_path)
    lines = [(seed, event.text) for seed, event in told if isinstance(event, Notice)]
    assert [seed for seed, text in lines if text.endswith("by itself, since for some reason")] == [1, 2]
    assert [result.costs.together for result in results_of(specs, tmp_path)] == [None, None]


def test_a_step_that_fails_is_the_failure_of_all(
    specs: list[RunSpec], alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("harness.training.together.take_steps", lambda *_: 1 / 0)
        failures = execute(specs, tmp_path)
    assert failures.keys() == {1, 2}
    assert set(failures.values()) == {"ZeroDivisionError: division by zero"}
    assert not any(Run(spec, tmp_path).folder.is_complete for spec in specs)
    assert execute(specs, tmp_path) == {}
    assert_same(specs, alone, tmp_path)
