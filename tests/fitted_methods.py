"""Small methods that are fitted to the shots or choose on validation pictures, for tests of the harness."""

PROTOTYPES = '''"""Prototypes: CLIP's logits plus the similarity of an image to the mean image of each class."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.base import Method, OtherClassesError, Shots


class Prototypes(Method):
    """s cos(f, t) + strength s cos(f, mean of the class's images); nothing trains by steps."""

    trains = False

    class Config(Method.Config):
        strength: float = Field(0.5, gt=0, description="weight of the similarity to prototypes")

    config: Config

    def check_classes(self, texts: tuple[str, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("prototypes know only the training classes")

    def fit(self, shots: Shots) -> None:
        images = F.normalize(shots.x.float(), dim=-1).mean(dim=0)
        one_hot = F.one_hot(shots.labels, len(self.prompts)).to(images)
        self.register_buffer("prototypes", F.normalize(one_hot.T @ images, dim=-1))

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        image = self.image_features(x)
        prototypes = self.prototypes.to(image.dtype)
        return self.similarity_logits(image, text) + self.config.strength * self.similarity_logits(image, prototypes)
'''
"""A closed form."""

SEARCHED = (
    PROTOTYPES.replace("Method, OtherClassesError, Shots", "Method, OtherClassesError, Search, Shots, first_best")
    .replace(
        """    class Config(Method.Config):
        strength: float = Field(0.5, gt=0, description="weight of the similarity to prototypes")

    config: Config
""",
        """    class Config(Method.Config):
        steps: int = Field(5, gt=0, description="strengths to try")

    config: Config

    def build(self) -> None:
        self.register_buffer("strength", torch.ones(()))
""",
    )
    .replace("self.config.strength", "self.strength")
    + """
    def search(self) -> Search:
        strengths = (0.25 * 2.0**step for step in range(self.config.steps))
        return (yield from first_best({"strength": strength} for strength in strengths))
"""
)
"""A closed form whose strength is chosen on validation pictures."""

HEAD = '''"""Linear head: a classifier on image embeddings that begins with the mean image of each class and trains."""

import torch.nn.functional as F
from torch import Tensor, nn

from methods.base import Method, OtherClassesError, Shots


class Head(Method):
    """s cos(f, w), w trains; its parameters come from the shots."""

    def check_classes(self, texts: tuple[str, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("the head knows only the training classes")

    def fit(self, shots: Shots) -> None:
        images = F.normalize(shots.x.float(), dim=-1).mean(dim=0)
        one_hot = F.one_hot(shots.labels, len(self.prompts)).to(images)
        self.weight = nn.Parameter(F.normalize((one_hot.T @ images).float(), dim=-1))

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        image = self.image_features(x)
        return self.similarity_logits(image, self.weight.to(image.dtype))
'''
"""A training whose parameters are made from the shots."""
