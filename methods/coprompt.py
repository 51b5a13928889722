"""CoPrompt (Roy and Etemad, ICLR 2024, arXiv:2306.01195): prompts and adapters, consistent with frozen CLIP."""

from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from harness.clip.ensembles import encode_classes
from harness.clip.prompts import Prompts
from harness.clip.texts import prompts_of
from methods.base import Official
from methods.maple import MaPLe


class Adapter(nn.Module):
    """ratio * relu(W2 relu(W1 x)) + (1 - ratio) * x; the bottleneck is `reduction` times smaller than x."""

    def __init__(self, size: int, reduction: int, ratio: float) -> None:
        super().__init__()
        self.down = nn.Linear(size, size // reduction, bias=False)
        self.up = nn.Linear(size // reduction, size, bias=False)
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        """Adapt embeddings (..., E)."""
        return self.ratio * F.relu(self.up(F.relu(self.down(x)))) + (1 - self.ratio) * x


class CoPrompt(MaPLe):
    """MaPLe's prompts, and an adapter on the embeddings of each tower.

    loss = CE + weight * [distance of the texts to the untouched CLIP's + distance of the images to the untouched CLIP's
    of another random view]. The untouched CLIP reads one of the sentences of each class, drawn anew at every step. The
    authors use sentences of a language model, as many for each class (`data.teacher_templates=FILE` of class
    descriptions); without them it reads the data set's template.
    """

    teacher = "zeroshot"
    frozen_view = "other"

    official = Official(
        trainers=("CoPrompt",),
        options=MaPLe.official.options | {"W": "weight", "DISTILL": "distance"},
        tensors={
            "prompt_learner.": "",
            "const.ori_embedding": "table_of_sentences",
            **{
                f"adapter_{tower}.fc.{place}.": f"adapter_{tower}.{name}."
                for tower in ("image", "text")
                for place, name in ((0, "down"), (2, "up"))
            },
        },
        drawn_sentences="draw_sentences",
    )

    class Config(MaPLe.Config):
        weight: float = Field(8.0, ge=0, description="weight of the distances to the untouched CLIP (lambda)")
        distance: Literal["cosine", "mse"] = Field(
            "cosine", description="1 - mean cosine similarity, or mean squared difference of normalised embeddings"
        )
        reduction: int = Field(4, ge=1, le=64, description="size of the embedding divided by size of the bottlenecks")
        image_ratio: float = Field(0.1, ge=0, le=1, description="share of the adapter in image embeddings")
        text_ratio: float = Field(0.2, ge=0, le=1, description="share of the adapter in text embeddings")

    config: Config

    @classmethod
    def unused(cls, config: Any) -> dict[str, str]:
        without = {"distance": "distances take no part with weight=0"} if config.weight == 0 else {}
        return super().unused(config) | without

    def build(self) -> None:
        super().build()
        size, reduction = self.clip.embed_dim, self.config.reduction
        self.adapter_image = Adapter(size, reduction, self.config.image_ratio)
        self.adapter_text = Adapter(size, reduction, self.config.text_ratio)

    def encode_teacher(self, prompts: Prompts) -> Tensor:
        """The normalised embeddings (P, E) of all sentences, those of a class one after the other."""
        self.num_sentences = torch.tensor(prompts.counts or [1] * len(prompts), device=self.clip.device)
        self.first_sentences = torch.tensor(prompts.first_of_each(), device=self.clip.device)
        sentences = tuple(sentence for text in prompts.texts for sentence in prompts_of(text))
        return encode_classes(self.clip.text, replace(prompts, texts=sentences, counts=None), normalised=True)

    @property
    def table_of_sentences(self) -> Tensor:
        """The same as (S, C, E), where each of C classes has S sentences."""
        assert self.teacher_text is not None
        return self.teacher_text.unflatten(0, (len(self.prompts), -1)).transpose(0, 1)

    def draw_sentences(self) -> Tensor:
        """Which of its sentences (C,) is read of each class: where all have as many, the same of each."""
        drawn = torch.rand((), dtype=torch.float64, device=self.num_sentences.device)
        return (drawn * self.num_sentences).long()

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        return self.adapter_text(super().text_features(classes))

    def image_features(self, x: Tensor) -> Tensor:
        return self.adapter_image(super().image_features(x))

    def loss_beside_frozen(self, x: Tensor, labels: Tensor, frozen: Tensor) -> Tensor:
        assert self.teacher_text is not None
        image, text = self.image_features(x), self.text_features()
        rows = self.first_sentences + self.draw_sentences()
        distance = self.difference(text, self.teacher_text[rows]) + self.difference(image, frozen)
        return F.cross_entropy(self.similarity_logits(image, text), labels) + self.config.weight * distance

    def difference(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """The distance of embeddings (N, E), in float32 at least."""
        dtype = torch.promote_types(ours.dtype, torch.float32)
        ours, theirs = F.normalize(ours.to(dtype), dim=-1), F.normalize(theirs.to(dtype), dim=-1)
        if self.config.distance == "mse":
            return (ours - theirs).square().mean()
        return 1 - F.cosine_similarity(ours, theirs, dim=-1).mean()
