"""GDA for CLIP (Wang et al., ICLR 2024, arXiv:2402.04087): Gaussian discriminant analysis of the shots beside CLIP."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from harness.clip.digits import at_least_float32
from harness.clip.prompts import Prompts
from methods.base import Method, Official, Search, Shots, TooFewShotsError, first_best

ALPHAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
# Of a new class: the features of training images that are nearest to its text, and what its text counts among them.
NEIGHBOURS, TEXT_COPIES = 64, 16
# Bound the memory for many shots and many new classes.
CHUNK_SHOTS, CHUNK_CLASSES = 16384, 16


class GDA(Method):
    """CLIP's logits + alpha * (W^T image + b), W = P means, b = log 1/C - means^T P means / 2, P the precision matrix.

    A new class borrows the training images that are most similar to its text: their mean with the text, and the mean
    over the new classes of the shrunk precision matrices of these images around the text.
    """

    trains = False
    official = Official(
        trainers=("GDA", "GDABaseToNew"),
        options={"ALPHAS": "alphas"},
        tensors={"cache.features": "bank", "const.class_means": "means", "const.precision": "precision"}
        | {"const.W": "weight", "const.b": "bias", "const.new_W": "weight", "const.new_b": "bias"},
        trainer_options={"GDABaseToNew": {"covariance": "class_mean"}},
    )

    class Config(Method.Config):
        covariance: Literal["pooled", "class_mean"] = Field(
            "pooled",
            description="pooled (of all shots about their class means, shrunk; the authors' few-shot code), or "
            "class_mean (mean of the classes' own, not shrunk; their base-to-new code)",
        )
        alphas: tuple[float, ...] = Field(ALPHAS, min_length=1, description="weights of the analysis to choose from")

    config: Config
    alpha: Tensor
    bank: Tensor
    means: Tensor
    precision: Tensor
    weight: Tensor
    bias: Tensor

    def build(self) -> None:
        self.register_buffer("alpha", torch.tensor(self.config.alphas[0]))

    def fit(self, shots: Shots) -> None:
        views, _, size = shots.x.shape
        pooled = self.config.covariance == "pooled"
        if not pooled and views == shots.per_class == 1:
            raise TooFewShotsError("one image of a class has no covariance: raise data.shots or train.fit_views")
        with torch.autocast(shots.x.device.type, enabled=False):
            bank, labels = F.normalize(at_least_float32(shots.x), dim=-1).flatten(0, 1), shots.labels.repeat(views)
            counts = bank.new_zeros(len(self.prompts)).index_add(0, labels, torch.ones_like(bank[:, 0]))
            means = bank.new_zeros(len(counts), size).index_add(0, labels, bank) / counts.clamp_min(1)[:, None]
            # The mean over the classes of their covariances; that of a class with one image, 0 / 0, is taken as 0.
            share = torch.ones_like(counts) if pooled else 1 / ((counts - 1).clamp_min(1) * len(counts))
            scatter = bank.new_zeros(size, size)
            for x, y in zip(bank.split(CHUNK_SHOTS), labels.split(CHUNK_SHOTS), strict=True):
                centred = x - means[y]
                scatter += (share[y, None] * centred).T @ centred
            if pooled:
                # Kubokawa and Srivastava's estimator. Without any spread it is 0, which leaves CLIP's own logits.
                scatter.diagonal().add_(scatter.trace() / max(len(labels) - 1, 1))
            precision = torch.linalg.pinv(scatter, hermitian=True) * (size if pooled else 1)
        for name, value in {"bank": bank, "means": means, "precision": precision}.items():
            self.register_buffer(name, value)
        self._set_classifier()

    def set_classes(self, prompts: Prompts) -> None:
        super().set_classes(prompts)
        if getattr(self, "bank", None) is not None:
            self._set_classifier()

    @torch.no_grad()
    def _set_classifier(self) -> None:
        """The linear classifier (E, C), (C,) of the classes that are set."""
        with torch.autocast(self.precision.device.type, enabled=False):
            known = self.has_training_classes
            means, precision = (self.means, self.precision) if known else self.new_classes(self.text_features())
            weight = precision @ means.T
            bias = -(means.T * weight).sum(dim=0) / 2 - math.log(len(means))
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def new_classes(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Means (C, E) and precision matrix (E, E) of classes without images, from their texts (C, E)."""
        near, size = min(NEIGHBOURS, len(self.bank)), text.shape[1]
        means, precision = [], self.bank.new_zeros(size, size)
        for u in F.normalize(at_least_float32(text), dim=-1).split(CHUNK_CLASSES):
            x = self.bank[(u @ self.bank.T).topk(near).indices]
            means.append((x.sum(dim=1) + TEXT_COPIES * u) / (near + TEXT_COPIES))
            x = x - u[:, None]
            scatter = x.mT @ x
            spread = x.square().sum(dim=(1, 2)) / max(near - 1, 1)
            scatter.diagonal(dim1=1, dim2=2).add_(spread[:, None])
            # Positive definite and well conditioned: the pseudo-inverse is the inverse.
            precision += size * torch.linalg.inv(scatter).sum(dim=0)
        return torch.cat(means), precision / len(text)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        image = self.image_features(x)
        with torch.autocast(image.device.type, enabled=False):
            discriminant = F.normalize(at_least_float32(image), dim=-1) @ self.weight + self.bias
        return self.similarity_logits(image, text) + self.alpha * discriminant

    def search(self) -> Search:
        return (yield from first_best({"alpha": alpha} for alpha in self.config.alphas))
