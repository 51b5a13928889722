"""Training images that are computed once for several trainings of one run: moved weights do not change them."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from harness.training.feature_cache import TrainingImages

MOST_BYTES = 2**30
Batch = tuple[Tensor, Tensor]


class RecordedImages(TrainingImages):
    """Stands in for the training images of a run: the first training computes the batches, later ones get copies.

    Args:
        images: of the first training.
    """

    def __init__(self, images: TrainingImages) -> None:
        vars(self).update(vars(images))
        self._recorded: dict[int, list[Batch]] = {}
        self._bytes = 0
        if self.frozen:
            self.frozen = RecordedImages(self.frozen)

    def prepare(self, epoch: int, batches: int | None = None) -> None:
        """Fill the cache for an epoch, unless its batches are recorded."""
        if epoch not in self._recorded:
            super().prepare(epoch, batches)
        elif self.frozen:
            self.frozen.prepare(epoch, batches)

    def batches(self, epoch: int, indices: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """Batches of an epoch, as `TrainingImages.batches`."""
        if epoch in self._recorded:
            yield from ((x.clone(), labels) for x, labels in self._recorded[epoch])
            return
        found: list[Batch] = []
        for x, labels in super().batches(epoch, indices):
            if self._bytes < MOST_BYTES:
                found.append((x.clone(), labels))
                self._bytes += x.nbytes
            yield x, labels
        if len(found) == len(indices):
            self._recorded[epoch] = found
