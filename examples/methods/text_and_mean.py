"""Text and mean: a class is a mixture of its text and its training images, in shares chosen on validation images."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.base import Method, OtherClassesError, Search, Shots, first_best


class TextAndMean(Method):
    """(1 - share) * text + share * mean of the images, both normalised."""

    trains = False
    share: Tensor
    means: Tensor

    class Config(Method.Config):
        steps: int = Field(10, ge=1, description="number of steps from share 0 to share 1")

    config: Config

    def check_classes(self, texts: tuple[str, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("a class without training images has no mean")

    def build(self) -> None:
        self.register_buffer("share", torch.tensor(0.5))

    def fit(self, shots: Shots) -> None:
        image = F.normalize(shots.x, dim=-1).flatten(0, 1)  # all views, one after the other
        sums = image.new_zeros(len(self.prompts), image.shape[1])
        sums = sums.index_add(0, shots.labels.repeat(len(shots.x)), image)
        self.register_buffer("means", F.normalize(sums, dim=-1))

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        mixed = (1 - self.share) * F.normalize(text, dim=-1) + self.share * self.means
        return self.similarity_logits(self.image_features(x), mixed)

    def search(self) -> Search:
        return (yield from first_best({"share": step / self.config.steps} for step in range(self.config.steps + 1)))
