"""PromptSRC, Self-regulating Prompts (Khattak et al., ICCV 2023, arXiv:2307.06948): prompts held near frozen CLIP."""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.base import Official
from methods.ivlp import IVLP


class PromptSRC(IVLP):
    """Independent prompts in both towers, regularised by the untouched CLIP, and their weighted mean over the epochs.

    loss = CE + text_weight * mean|t - t0| + image_weight * mean|v - v0| + mean over images and classes of the KL terms
    of zero-shot and prompted probabilities. v, v0: normalised image embeddings with and without prompts, of the same
    view; t: those of the texts; t0: the normalised mean of CLIP's for the templates of `teacher`. After the last epoch
    the prompts become the mean of those after each epoch e = 1, 2, ..., with weights of the normal density
    N(e; gpa_mean, gpa_std), divided by their sum. By default the 80 ImageNet templates are averaged, as the authors of
    Skip Tuning do; in the original repository they are 60 (`data.teacher_templates` names others).
    """

    teacher = "imagenet_80"
    averages_normalised = False
    frozen_view = "same"

    official = Official(
        trainers=("PromptSRC",),
        options=IVLP.official.options
        | {"TEXT_LOSS_WEIGHT": "text_weight", "IMAGE_LOSS_WEIGHT": "image_weight"}
        | {"GPA_MEAN": "gpa_mean", "GPA_STD": "gpa_std"},
        tensors={
            "prompt_learner_ctx.param": "ctx",
            "const.fixed_embeddings": "teacher_text",
            **{
                name.replace(".", "_") + ".param": ours
                for name, ours in IVLP.official.tensors.items()
                if name != "prompt_learner.ctx"
            },
        },
        of_epochs={"gpa_weights": "epoch_weights"},
    )

    class Config(IVLP.Config):
        n_ctx_text: int = Field(4, ge=1, description="number of context tokens of texts")
        n_ctx_image: int = Field(4, ge=0, description="number of prompts behind the patches of images")
        depth_text: int | None = Field(
            9, ge=1, description="number of first text blocks before which prompts enter; null: all"
        )
        depth_image: int | None = Field(
            9, ge=0, description="number of first image blocks before which prompts enter; null: all, 0: no prompts"
        )
        text_weight: float = Field(25.0, ge=0, description="weight of the distance to the untouched CLIP's texts")
        image_weight: float = Field(10.0, ge=0, description="weight of the distance to the untouched CLIP's images")
        gpa_mean: float = Field(
            15.0, description="epoch (1, 2, ...) whose prompts weigh most in the mean of all epochs"
        )
        gpa_std: float = Field(1.0, gt=0, description="standard deviation of these weights over epochs")

    config: Config

    @classmethod
    def unused(cls, config: Any) -> dict[str, str]:
        without = {} if config.prompts_images else {"image_weight": "images get no prompts"}
        return super().unused(config) | without

    def build(self) -> None:
        super().build()
        for name, parameter in self._prompts().items():
            self.register_buffer(self._mean_of(name), torch.zeros_like(parameter))

    def _prompts(self) -> dict[str, Tensor]:
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def _mean_of(self, name: str) -> str:
        return "mean_" + name.replace(".", "_")

    def loss_beside_frozen(self, x: Tensor, labels: Tensor, frozen: Tensor) -> Tensor:
        assert self.teacher_text is not None
        image, text = self.image_features(x), self.text_features()
        logits, of_clip = self.similarity_logits(image, text), self.similarity_logits(frozen, self.teacher_text)
        return (
            F.cross_entropy(logits, labels)
            + self.config.text_weight * mean_difference(text, self.teacher_text)
            + self.config.image_weight * mean_difference(image, frozen)
            + mean_divergence(logits, of_clip)
        )

    def epoch_weights(self, epochs: int) -> Tensor:
        """Weight (epochs,) of the prompts after each epoch, in float64."""
        numbers = torch.arange(1, epochs + 1, dtype=torch.float64)
        # As a softmax, because the densities of all epochs may be too small for a number.
        return torch.softmax(-0.5 * ((numbers - self.config.gpa_mean) / self.config.gpa_std) ** 2, dim=0)

    def after_epoch(self, epoch: int, epochs: int) -> None:
        weight = float(self.epoch_weights(epochs)[epoch])
        for name, prompts in self._prompts().items():
            mean = self.get_buffer(self._mean_of(name))
            mean += weight * prompts
            if epoch == epochs - 1:
                prompts.copy_(mean)


def mean_difference(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of all elements of normalised embeddings (N, E), in float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return (F.normalize(x.to(dtype), dim=-1) - F.normalize(y.to(dtype), dim=-1)).abs().mean()


def mean_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of the Kullback-Leibler divergences from the targets' probabilities (B, C), divided by B * C."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    ours, theirs = logits.to(dtype).log_softmax(dim=1), target.to(dtype).log_softmax(dim=1)
    return (theirs.exp() * (theirs - ours)).mean()
