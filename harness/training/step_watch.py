"""Loss and learning rates of a few steps of an epoch: kept on the device, and read once when the epoch is over."""

import torch
from torch import Tensor

from harness.experiment.training_spec import TrainSpec
from harness.results.epochs import StepRecord


class StepWatch:
    """Watches an epoch.

    Args:
        recipe: says the learning rates.
        count: of steps to keep, at most.
        epoch: 0, 1, ...
        steps: that the epoch has.
        whole: steps of a whole epoch.
        epochs: exact length of the training in epochs, where that is no whole number.
    """

    def __init__(
        self, recipe: TrainSpec, count: int, epoch: int, steps: int, whole: int, epochs: float | None = None
    ) -> None:
        self.recipe = recipe
        self.epoch = epoch
        self.whole = whole
        self.epochs = epochs
        self._wanted = spaced(count, steps)
        self._losses: dict[int, Tensor] = {}

    def take(self, step: int, loss: Tensor) -> None:
        """Keep the loss of a step, a scalar on the device, if it is one of those to keep."""
        if step in self._wanted:
            self._losses[step] = loss

    def records(self) -> tuple[StepRecord, ...]:
        """What was kept; waits for the device."""
        if not self._losses:
            return ()
        losses = torch.stack([loss.reshape(()).float() for loss in self._losses.values()]).tolist()
        return tuple(self._record(step, loss) for step, loss in zip(self._losses, losses, strict=True))

    def _record(self, step: int, loss: float) -> StepRecord:
        recipe = self.recipe
        lr, lr_image = (
            recipe.lr_at(self.epoch, rate, step, self.whole, self.epochs) for rate in (recipe.lr, recipe.full_lr_image)
        )
        return StepRecord(self.epoch * self.whole + step, loss, lr, lr_image)


def spaced(count: int, steps: int) -> frozenset[int]:
    """Evenly spaced steps among 0, ..., steps - 1, at most `count` of them; the last step is one of them."""
    return frozenset((number + 1) * steps // count - 1 for number in range(count)) - {-1} if count else frozenset()
