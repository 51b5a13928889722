"""Class means: a class is the mean of its training images. It is fitted, and nothing trains."""

import torch.nn.functional as F
from torch import Tensor

from methods.base import Method, OtherClassesError, Shots


class ClassMean(Method):
    """The class whose mean embedding is most similar to that of the image."""

    trains = False
    means: Tensor

    def check_classes(self, texts: tuple[str, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("a class without training images has no mean")

    def fit(self, shots: Shots) -> None:
        image = F.normalize(shots.x, dim=-1).flatten(0, 1)  # all views, one after the other
        sums = image.new_zeros(len(self.prompts), image.shape[1])
        self.register_buffer("means", sums.index_add(0, shots.labels.repeat(len(shots.x)), image))

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        return self.similarity_logits(self.image_features(x), self.means)
