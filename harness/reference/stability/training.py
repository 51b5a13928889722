"""A run that starts from trained values which are moved by one unit in the last place; nothing is written."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from harness.estimate.batches import choose_batches
from harness.experiment.protocols import find_protocol
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter
from harness.reference.stability.recording import RecordedImages
from harness.results.epochs import EpochRecord
from harness.results.metrics import METRICS, SummaryMetric
from harness.training.fitting import fit_method, shots_of
from harness.training.process import make_repeatable
from harness.training.refusals import served
from harness.training.run import Run
from harness.training.selection import Selector, is_better
from harness.training.state import load_trained_state, trained_parameters, trained_state
from harness.training.trainer import Trainer
from methods.base import Method, Shots

NOT_MOVED = 0
UP, DOWN = 1, 2


@dataclass(frozen=True)
class Ending:
    """Where a training ended.

    Attributes:
        accuracies: evaluation -> accuracy in percent.
        score: the metric that the run's protocol ranks methods by, in percent.
        before: all trained values before the training, in one vector, float64.
        after: the same after it.
    """

    accuracies: dict[str, float]
    score: float
    before: Tensor
    after: Tensor

    def weights_apart(self, other: "Ending") -> float:
        """Distance between the trained values of two trainings, as a share of how far this one moved them."""
        return float((other.after - self.after).norm() / ((self.after - self.before).norm() or 1.0))


def name_of(move: int) -> str:
    """A move in words."""
    return {NOT_MOVED: "not moved", UP: "moved up", DOWN: "moved down"}.get(move, f"moved at random ({move})")


@torch.no_grad()
def move_weights(method: Method, move: int) -> None:
    """Move every trained value by one unit in the last place of its floating point format.

    Args:
        method: as it is built.
        move: NOT_MOVED: not at all; UP, DOWN: all values in that direction; a larger number: each value in a direction
            that is drawn with this number as the seed.
    """
    if move == NOT_MOVED:
        return
    generator = torch.Generator().manual_seed(move)
    for parameter in trained_parameters(method).values():
        drawn = torch.randint(2, parameter.shape, generator=generator)
        signs = {UP: torch.ones_like(drawn), DOWN: torch.zeros_like(drawn)}.get(move, drawn)
        target = torch.where(signs > 0, torch.inf, -torch.inf).to(parameter)
        parameter.copy_(torch.nextafter(parameter, target))


def trained_values(method: Method) -> Tensor:
    """All trained values in one vector, float64, on the CPU."""
    values = [value.detach().flatten().double().cpu() for value in trained_parameters(method).values()]
    return torch.cat(values) if values else torch.zeros(0, dtype=torch.float64)


class Repeated:
    """One run that is trained several times, from starts that are moved; nothing is written.

    Args:
        spec: the run.
    """

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.run = Run(spec, Path(), choose=choose_batches)
        self._images: RecordedImages | None = None
        self._fitted_to: Shots | None = None

    def train(self, move: int = NOT_MOVED) -> Ending:
        """Fit, train, choose and evaluate as `bench` does.

        Args:
            move: as in `move_weights`.

        Raises:
            UserError: weights or images cannot be read, options do not fit, or training diverged.
        """
        spec, run = self.spec, self.run
        if spec.runtime.threads:
            torch.set_num_threads(spec.runtime.threads)
        make_repeatable(spec.seed)
        setup = run.set_up()
        method, meter = setup.method, Meter(run.device)
        if self._images is None:
            self._images = RecordedImages(run.training_images(setup, meter))
        if method.is_fitted():
            fit_method(method, self._shots(), spec.train.precision, spec.seed)
        move_weights(method, move)
        before = trained_values(method)
        selector = run.selector(setup, meter)
        if len(before):
            self._train(method, self._images, selector, meter)
        if method.selects():
            selector.search(method)
        evaluations = served(spec.evaluate, setup.refusals)
        accuracies = {item.name: run.evaluate(method, item, meter)[0].accuracy for item in evaluations}
        return Ending(accuracies, score_of(spec, accuracies), before, trained_values(method))

    def _shots(self) -> Shots:
        """What the method is fitted to, in tensors of its own."""
        assert self._images
        if self._fitted_to is None:
            self._fitted_to = shots_of(self._images, self.spec)
        return replace(self._fitted_to, x=self._fitted_to.x.clone(), labels=self._fitted_to.labels.clone())

    def _train(self, method: Method, images: RecordedImages, selector: Selector, meter: Meter) -> None:
        """Train, and keep the epoch that the recipe says."""
        rule, kept, highest = self.spec.select.epoch, dict[str, Tensor](), list[float]()

        def keep(record: EpochRecord) -> None:
            if rule == "last":
                return
            accuracy = selector.epoch_accuracy(method)
            if is_better(accuracy, max(highest, default=None), rule):
                highest.append(accuracy)
                kept.update({name: value.detach().clone() for name, value in trained_state(method).items()})

        trainer = Trainer(method, images, self.spec, meter)
        # As in a run that is continued: memory and operations are not what is measured here.
        trainer.flops = {"train": 0.0, "cache": 0.0}
        trainer.train(0, keep)
        if kept:
            load_trained_state(method, kept)


def score_of(spec: RunSpec, accuracies: dict[str, float]) -> float:
    """The metric that a run's protocol ranks methods by; the mean accuracy, if it is not defined for the run."""
    metric = METRICS[find_protocol(spec.protocol).headline]
    summed_up = metric.of_accuracies(spec.data.dataset, accuracies) if isinstance(metric, SummaryMetric) else None
    return sum(accuracies.values()) / len(accuracies) if summed_up is None else summed_up
