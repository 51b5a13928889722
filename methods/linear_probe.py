"""Linear probe, tuned on validation images as in LP++ (Huang et al., CVPR 2024, arXiv:2404.02285)."""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from harness.clip.minimise import minimise
from harness.clip.texts import Text
from methods.base import Candidate, Method, Official, OtherClassesError, Search, Shots, first_best


class LinearProbe(Method):
    """Multinomial logistic regression on normalised image features, min |w|^2 / 2 + C sum_i CE_i; texts are not used.

    C is the first best of a list, then the interval of one power of ten to both sides is halved in log C.
    """

    trains = False
    official = Official(
        trainers=("LinearProbe",),
        options={"NUM_STEP": "num_step", "C_LIST": "c_list"},
        tensors={"final.coef": "weight", "final.intercept": "bias"},
    )

    class Config(Method.Config):
        c_list: tuple[Annotated[float, Field(gt=0)], ...] = Field(
            (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6), min_length=1, description="inverse penalties C to try first"
        )
        num_step: int = Field(8, ge=0, description="how often the interval around the best of them is halved")
        max_iter: int = Field(1000, ge=1, description="iterations of L-BFGS at most")
        tolerance: float = Field(1e-4, gt=0, description="largest entry of the gradient at which L-BFGS stops")

    config: Config
    features: Tensor
    labels: Tensor
    weight: Tensor
    bias: Tensor

    def build(self) -> None:
        classes, device = len(self.prompts), self.clip.device
        self.register_buffer("weight", torch.zeros(classes, self.clip.embed_dim, dtype=torch.float64, device=device))
        self.register_buffer("bias", torch.zeros(classes, dtype=torch.float64, device=device))

    def check_classes(self, texts: tuple[Text, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("a linear probe knows its training classes only, by one row of weights each")

    def fit(self, shots: Shots) -> None:
        self.register_buffer("features", F.normalize(shots.x.flatten(0, 1).double(), dim=-1))
        self.register_buffer("labels", shots.labels.repeat(len(shots.x)))

    def search(self) -> Search:
        best = yield from first_best({"C": c} for c in self.config.c_list)
        left, right = best["C"] / 10, best["C"] * 10
        for _ in range(self.config.num_step):
            of_left = yield {"C": left}
            of_right = yield {"C": right}
            middle = 10 ** ((math.log10(left) + math.log10(right)) / 2)
            best = {"C": right if of_right > of_left else left}
            left, right = (middle, right) if of_right > of_left else (left, middle)
        return best

    def use(self, candidate: Candidate) -> None:
        # scikit-learn divides the objective by C N, and its tolerance is of this gradient.
        penalty = 1 / (candidate["C"] * len(self.labels))

        def objective(w: Tensor) -> Tensor:
            logits = self.features @ w[:, :-1].T + w[:, -1]
            return F.cross_entropy(logits, self.labels) + penalty / 2 * w[:, :-1].square().sum()

        start = torch.cat([torch.zeros_like(self.weight), torch.zeros_like(self.bias)[:, None]], dim=1)
        found = minimise(objective, start, self.config.max_iter, self.config.tolerance)
        self.weight.copy_(found[:, :-1])
        self.bias.copy_(found[:, -1])

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        image = F.normalize(self.image_features(x).double(), dim=-1)
        return image @ self.weight.T + self.bias
