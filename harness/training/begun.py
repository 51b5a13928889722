"""An epoch that has begun: its batches are drawn and its images prepared, and no step is taken yet."""

from dataclasses import dataclass

from harness.training.step_watch import StepWatch


@dataclass(frozen=True)
class Begun:
    """An epoch whose steps can be taken.

    Attributes:
        epoch: 0, 1, ...
        batches: positions of the images of every batch.
        watch: is shown every step.
        cache_seconds, train_seconds: spent before it in these phases.
    """

    epoch: int
    batches: list[list[int]]
    watch: StepWatch
    cache_seconds: float
    train_seconds: float

    @property
    def images(self) -> int:
        """Number of images of all batches."""
        return sum(map(len, self.batches))
