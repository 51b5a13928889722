"""DePT (Zhang et al., CVPR 2024, arXiv:2309.07439) on KgCoOp: what only the base classes share has a head."""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from methods.base import Official
from methods.kgcoop import KgCoOp

DECOUPLED = (
    "cls_head.weight", "cls_head.bias", "film_img.scale", "film_img.bias", "film_text.scale", "film_text.bias",
)  # fmt: skip


class FiLM(nn.Module):
    """Scale and bias of every channel; the identity at first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """Modulate (..., size)."""
        return self.scale * x + self.bias


def freeze(module: nn.Module) -> None:
    """Turn the parameters of a module into buffers: what is drawn is kept with the weights that are learned."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        delattr(module, name)
        module.register_buffer(name, parameter.detach())


class DePT(KgCoOp):
    """sim_weight * CE(similarity logits) + cls_weight * CE(head logits) + weight * the distance of KgCoOp.

    The head is linear and sees modulated embeddings of the images and of the texts of their classes, not normalised. On
    classes of the training, logits are sim_weight * similarity + cls_weight * head logits of the image, on others the
    similarity alone. As the authors of Skip Tuning run it, and by default here, the head and the modulation stay as
    they are drawn, so that the context adapts to a random head; with `head_lr` they train, as the paper says.
    """

    official = Official(
        trainers=("KgDePT",),
        options=KgCoOp.official.options | {"SIM_WEIGHT": "sim_weight", "CLS_WEIGHT": "cls_weight"},
        tensors=KgCoOp.official.tensors
        | {f"const.{name}": name for name in ("cls_head.weight", "cls_head.bias")}
        | {
            f"const.{film}.{name}": f"{film}.{name}" for film in ("film_img", "film_text") for name in ("scale", "bias")
        },
        of_batch={"train_logits_cls_head": "head_logits"},
    )

    class Config(KgCoOp.Config):
        sim_weight: float = Field(0.3, ge=0, description="weight of the similarity logits and of their loss")
        cls_weight: float = Field(0.7, ge=0, description="weight of the head's logits and of their loss (lambda)")
        head_lr: float | None = Field(
            None, ge=0, description="learning rate of head and modulation, as in the paper; null: they stay as drawn"
        )

    config: Config

    @classmethod
    def unused(cls, config: Any) -> dict[str, str]:
        without = {"head_lr": "the head takes no part with cls_weight=0"} if config.cls_weight == 0 else {}
        return super().unused(config) | without

    def build(self) -> None:
        super().build()
        size = self.clip.embed_dim
        self.film_img, self.film_text = FiLM(size), FiLM(size)
        self.cls_head = nn.Linear(size, len(self.prompts))
        if self.config.head_lr is None:
            for module in (self.film_img, self.film_text, self.cls_head):
                freeze(module)

    def parameter_groups(self) -> list[dict[str, Any]]:
        if self.config.head_lr is None:
            return []
        return [{"params": [self.get_parameter(name) for name in DECOUPLED], "lr": self.config.head_lr}]

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        image, text = self.image_features(x), self.text_features()
        similarity = F.cross_entropy(self.similarity_logits(image, text), labels)
        head = F.cross_entropy(self._head_logits(image, text[labels]), labels.repeat(2))
        config = self.config
        return config.sim_weight * similarity + config.cls_weight * head + config.weight * self.distance(text)

    def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return super().logits(x, self.text_features()), labels

    def head_logits(self, x: Tensor, labels: Tensor) -> Tensor:
        """Logits (2B, C) of the head for the texts of the labels and, after them, for the images."""
        return self._head_logits(self.image_features(x), self.text_features()[labels])

    def _head_logits(self, image: Tensor, text: Tensor) -> Tensor:
        return self.classify(torch.cat([self.film_text(text), self.film_img(image)]))

    def classify(self, modulated: Tensor) -> Tensor:
        """Logits (N, C) of the head for modulated embeddings (N, E)."""
        weight, bias = self.cls_head.weight, self.cls_head.bias
        return F.linear(modulated.to(weight.dtype), weight, bias)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        similarity = super().logits(x, text)
        known = {prompt: row for row, prompt in enumerate(self.training_texts)}
        if any(prompt not in known for prompt in self.prompts.texts):
            return similarity
        head = self.classify(self.film_img(self.image_features(x)))
        if not self.has_training_classes:
            head = head[:, [known[prompt] for prompt in self.prompts.texts]]
        return self.config.sim_weight * similarity + self.config.cls_weight * head
