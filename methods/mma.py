"""MMA, Multi-Modal Adapter (Yang et al., CVPR 2024): adapters beside blocks, with a layer that both towers share."""

from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.clip.blocks import Beside
from harness.clip.context import context_template
from harness.clip.packing import Tokens
from harness.clip.towers import END, Stage
from methods.base import Method, Official


class _Scaled(torch.autograd.Function):
    """`factor * x`, whose gradient is multiplied by another factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, of_gradient: float) -> Tensor:
        ctx.of_gradient = of_gradient
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.of_gradient, None, None


class _Adapter(nn.Module):
    """What a tower has of its own: Down with relu, and Up."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Linear(width, dim), nn.ReLU())
        self.up = nn.Linear(dim, width)

    def forward(self, x: Tensor, shared: nn.Module, scale: float) -> Tensor:
        """y (N, width) of x (N, width), with the gradients that `MMA` tells of."""
        y: Tensor = _Scaled.apply(self.up(shared(self.down(_Scaled.apply(x, 1.0, scale)))), scale, 1.0)
        return y


class MMA(Method):
    """Block k gives x' + mlp(ln_2(x')) + y with y = s Up(relu(S relu(Down(ln_1(x))))), S the same in both towers.

    Gradients of Down, S and Up are the true ones divided by `scale`, because s is left out on the way back to them;
    those of x are the true ones. Where `dim` is the width of a tower, the authors leave out Up; here it stays.
    """

    tower_parts = ("transformer for images",)
    official = Official(
        trainers=("MultiModalAdapter",),
        options={
            "TEXT_CTX_INIT": "ctx_init", "ADAPTER_START": "start", "ADAPTER_END": "end", "ADAPTER_DIM": "dim",
            "ADAPTER_SCALE": "scale",
        },
        tensors={"adapter_learner.": ""},
    )  # fmt: skip

    class Config(Method.Config):
        ctx_init: str = Field("a photo of a", min_length=1, description="words before the class name in all prompts")
        start: int = Field(5, ge=1, description="first block with an adapter, counted from 1")
        end: int | None = Field(None, ge=1, description="last block with an adapter, counted from 1; null: the last")
        dim: int = Field(32, ge=1, description="width of the adapters' bottleneck")
        scale: float = Field(0.001, gt=0, description="s, by which the adapters' outputs are multiplied")

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        end = num_blocks if config.end is None else config.end
        if end > num_blocks:
            raise ValueError(f"end={end} is beyond a backbone of {num_blocks} blocks in each tower")
        if config.start > end:
            raise ValueError(f"start={config.start} is beyond the last block with an adapter, {end}: lower it")

    @classmethod
    def prompt_template(cls, config: Config, template: str) -> str:
        return context_template(0, config.ctx_init)

    def start_stages(self) -> tuple[Stage, Stage]:
        return self.config.start - 1, self.config.start - 1

    def build(self) -> None:
        dim, end = self.config.dim, self.config.end or self.clip.num_blocks
        numbers = [str(k) for k in range(self.config.start, end + 1)]
        image, text = (tower.width for tower in (self.clip.image, self.clip.text))
        self.text_adapter = nn.ModuleDict({k: _Adapter(text, dim) for k in numbers})
        self.visual_adapter = nn.ModuleDict({k: _Adapter(image, dim) for k in numbers})
        self.shared_adapter = nn.ModuleDict({k: nn.Sequential(nn.Linear(dim, dim), nn.ReLU()) for k in numbers})
        added = [self.text_adapter, self.visual_adapter, self.shared_adapter]
        for layer in [layer for part in added for layer in part.modules() if isinstance(layer, nn.Linear)]:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def _beside(self, adapters: nn.ModuleDict) -> dict[int, Beside]:
        def adapt(k: str, x: Tensor, tokens: Tokens) -> Tensor:
            y: Tensor = adapters[k](x, self.shared_adapter[k], self.config.scale)
            return y

        return {int(k) - 1: Beside(block=partial(adapt, k)) for k in adapters}

    def image_features(self, x: Tensor) -> Tensor:
        return self.clip.image.run(x, self.image_start, END, beside=self._beside(self.visual_adapter))

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        tokens, eot = self.text_tokens(classes)
        beside = self._beside(self.text_adapter)
        return self.clip.text.run(tokens, self.text_start, END, eot, shared=self.prompts.shared, beside=beside)
