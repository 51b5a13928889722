"""Tip-Adapter (Zhang et al., ECCV 2022, arXiv:2207.09519): the shots as a cache of keys and labels; nothing trains."""

from collections.abc import Callable
from itertools import product
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from harness.clip.digits import at_least_float32
from harness.clip.texts import Text
from methods.base import Candidate, Method, Official, OtherClassesError, Search, Shots, first_best

SMALLEST = 0.1
"""The first value of both grids."""
Scale = Annotated[float, Field(gt=0)]
Steps = Annotated[int, Field(ge=1)]


class TipAdapter(Method):
    """CLIP's logits + alpha * sum over the shots i of class c of exp(-beta (1 - cos(image, key i)))."""

    trains = False
    official = Official(
        trainers=("TipAdapter",),
        options={
            "SEARCH_SCALE": "search_scale",
            "SEARCH_STEP": "search_step",
            "INIT_BETA": "init_beta",
            "INIT_ALPHA": "init_alpha",
        },
        tensors={"cache.keys": "keys", "cache.values": "key_labels"},
    )

    class Config(Method.Config):
        search_scale: tuple[Scale, Scale] = Field((12.0, 10.0), description="ends of the grids of beta and of alpha")
        search_step: tuple[Steps, Steps] = Field((200, 20), description="number of values of beta and of alpha")
        init_beta: float = Field(1.0, gt=0, description="sharpness of the cache before the search")
        init_alpha: float = Field(2.0, ge=0, description="weight of the cache before the search")

    config: Config
    alpha: Tensor
    beta: Tensor
    keys: Tensor
    key_labels: Tensor

    @classmethod
    def unused(cls, config: Config) -> dict[str, str]:
        return dict.fromkeys(("init_beta", "init_alpha"), "nothing trains, and the search chooses beta and alpha")

    def check_classes(self, texts: tuple[Text, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("the cache holds shots of the training classes alone: it has none of new classes")

    def build(self) -> None:
        self.register_buffer("beta", torch.tensor(self.config.init_beta))
        self.register_buffer("alpha", torch.tensor(self.config.init_alpha))

    def fit(self, shots: Shots) -> None:
        self.register_buffer("keys", cache_keys(shots))
        self.register_buffer("key_labels", shots.labels)

    def affinity(self, image: Tensor) -> Tensor:
        """Cosine similarities (B, N) of image embeddings (B, E) and keys."""
        with torch.autocast(image.device.type, enabled=False):
            return F.normalize(at_least_float32(image), dim=-1) @ at_least_float32(self.keys).T

    def cache_logits(self, affinity: Tensor) -> Tensor:
        """What the cache says (B, C), without alpha."""
        weight = torch.exp(-self.beta * (1 - affinity))
        # The same as weight @ one-hot labels, but these would be a matrix of 16000 x 1000 for ImageNet.
        return weight.new_zeros(len(weight), len(self.prompts)).index_add(1, self.key_labels, weight)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        image = self.image_features(x)
        return self.similarity_logits(image, text) + self.alpha * self.cache_logits(self.affinity(image))

    def candidate_logits(self, x: Tensor) -> Callable[[Candidate], Tensor]:
        image = self.image_features(x)
        clip_logits, affinity = self.similarity_logits(image, self.text_features()), self.affinity(image)
        # The grid's inner loop is alpha, which leaves what the cache says as it is.
        of_last_beta: dict[float, Tensor] = {}

        def logits(candidate: Candidate) -> Tensor:
            beta = candidate["beta"]
            if beta not in of_last_beta:
                of_last_beta.clear()
                of_last_beta[beta] = self.cache_logits(affinity)
            return clip_logits + self.alpha * of_last_beta[beta]

        return logits

    def search(self) -> Search:
        betas, alphas = map(grid, self.config.search_scale, self.config.search_step)
        return (yield from first_best({"beta": beta, "alpha": alpha} for beta, alpha in product(betas, alphas)))


def cache_keys(shots: Shots) -> Tensor:
    """The mean of the views of every shot, as they are, then normalised (N, E)."""
    return F.normalize(at_least_float32(shots.x).mean(dim=0), dim=-1)


def grid(scale: float, steps: int) -> list[float]:
    """Equally spaced values from 0.1 on; `scale` itself is not among them."""
    return [SMALLEST + step * (scale - SMALLEST) / steps for step in range(steps)]
