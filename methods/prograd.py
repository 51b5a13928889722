"""ProGrad (Zhu et al., ICCV 2023, arXiv:2205.14865): CoOp that never steps against what zero-shot CLIP knows."""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from harness.clip.context import context_words
from methods.base import Official
from methods.coop import CoOp

KIND = ", a type of "
TEACHER_TEMPLATES = {"{} texture.": "a texture of {}."}
"""Templates of data sets of which the authors have another one."""
GRADIENT_SCALE = 256.0
"""Of the general gradient, of which only the direction counts: in half precision small ones would become zero."""


class ProGrad(CoOp):
    """The gradient g of cross entropy, without its part against the general direction u.

    u is the gradient of the cross entropy between the soft predictions of zero-shot CLIP and of the learned prompt, at
    temperature T, divided by its length. Where <g, u> < 0, g becomes g - lambda <g, u> u. Only g updates the context.
    """

    teacher = "zeroshot"
    official = Official(
        # The authors' code has the name of the loss as an option, and does not read it.
        trainers=("ProGrad",),
        options=CoOp.official.options | {"T": "temperature", "LAMBDA": "lambda", "NAME": ""},
        tensors={"prompt_learner.": "", "const.zs_text_features": "teacher_text"},
        of_batch={
            "zs_logits": "teacher_logits",
            "train_kl_losses": "general_loss",
            "grad_kl": "general_loss",
            "grad_ce": "domain_loss",
        },
    )

    class Config(CoOp.Config):
        n_ctx: int = Field(4, ge=1, description="number of context tokens; those before the words of ctx_init are zero")
        ctx_init: str | None = Field(
            "a photo of a", min_length=1, description="words that the context ends with at first; null: random"
        )
        temperature: float = Field(1.0, gt=0, description="temperature T of both predictions in the general direction")
        lambda_: float = Field(
            1.0, ge=0, alias="lambda", description="share of the part against the general direction that is removed"
        )

        @model_validator(mode="after")
        def _enough_tokens(self) -> "ProGrad.Config":
            words = len(context_words(self.n_ctx, self.ctx_init))
            if words > self.n_ctx:
                raise ValueError(
                    f"prograd.ctx_init='{self.ctx_init}' has {words} words, more than prograd.n_ctx={self.n_ctx}: "
                    f"set n_ctx to {words} or more"
                )
            return self

    config: Config

    @classmethod
    def unused(cls, config: Any) -> dict[str, str]:
        return {"temperature": "nothing is removed with lambda=0"} if config.lambda_ == 0 else {}

    @classmethod
    def prompt_template(cls, config: Any, template: str) -> str:
        words = context_words(config.n_ctx, config.ctx_init)
        return " ".join(["X"] * (config.n_ctx - len(words)) + [*words, "{}."])

    @classmethod
    def teacher_template(cls, config: Config, template: str) -> str:
        """The usual one, but that `, a type of pet.` stands in front."""
        before, found, kind = template.partition(KIND)
        turned = f"a type of {kind.removesuffix('.')}, {before}." if found else template
        return TEACHER_TEMPLATES.get(template, turned)

    def build(self) -> None:
        super().build()
        before, self.n_ctx = self.config.n_ctx - self.n_ctx, self.config.n_ctx
        self.ctx = nn.Parameter(F.pad(self.ctx.detach(), (0, 0, before, 0)))
        self.general_gradient: Tensor | None = None

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        student = self.logits(x, self.text_features())
        if student.requires_grad:
            general = GRADIENT_SCALE * self.soft_cross_entropy(student, self.teacher_logits(x))
            with torch.autocast(x.device.type, enabled=False):
                (self.general_gradient,) = torch.autograd.grad(general, [self.ctx], retain_graph=True)
        return F.cross_entropy(student, labels)

    @torch.no_grad()
    def teacher_logits(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, C) of zero-shot CLIP for images at END."""
        assert self.teacher_text is not None
        return self.similarity_logits(x, self.teacher_text)

    def domain_loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy with the labels."""
        return F.cross_entropy(self.logits(x, self.text_features()), labels)

    def general_loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy with the predictions of zero-shot CLIP, times T^2."""
        return self.soft_cross_entropy(self.logits(x, self.text_features()), self.teacher_logits(x))

    def soft_cross_entropy(self, student: Tensor, teacher: Tensor) -> Tensor:
        """T^2 times the mean cross entropy of softmax(student / T) with softmax(teacher / T), both logits (B, C)."""
        t = self.config.temperature
        return t**2 * F.cross_entropy(student / t, (teacher / t).softmax(dim=-1))

    def change_gradients(self) -> None:
        if self.ctx.grad is None or self.general_gradient is None:
            return
        gradient, general = self.ctx.grad, self.general_gradient.to(self.ctx.grad.dtype)
        self.general_gradient = None
        direction = general / torch.linalg.vector_norm(general).clamp_min(torch.finfo(general.dtype).tiny)
        against = (gradient * direction).sum().clamp(max=0)
        self.ctx.grad = gradient - self.config.lambda_ * against * direction
