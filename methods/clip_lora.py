"""CLIP-LoRA (Zanella and Ben Ayed, CVPR Workshops 2024, arXiv:2405.18541): low-rank changes of attention's matrices."""

from functools import partial
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from harness.clip.blocks import Beside
from harness.clip.low_rank import POSITIONS, PROJECTIONS, draw_kept, low_rank_changes
from harness.clip.packing import Tokens
from harness.clip.tower_parts import TowerPart
from harness.clip.towers import END, Stage, Tower
from methods.base import Method, Official


class CLIPLoRA(Method):
    """W x + b becomes W x + b + alpha / sqrt(r) B A dropout(x), for the matrices `params` of attention in some blocks.

    Dropout acts in training alone, with a mask of its own for every matrix. The authors' code reads "a photo of a {}."
    for every data set. With a rate of 0 it loses a part of the gradient, which is not repeated here.
    """

    official = Official(
        trainers=("CLIPLoRA",),
        options={name.upper(): name for name in ("encoder", "params", "position", "layers", "r", "alpha", "dropout")},
        tensors={f"{tower}_encoder.transformer.resblocks.": f"{tower}_blocks." for tower in ("image", "text")},
        masks="draw_mask",
    )

    stays_fp32 = ("image_blocks.", "text_blocks.")

    class Config(Method.Config):
        encoder: Literal["both", "text", "vision"] = Field("both", description="the towers that change")
        params: tuple[Literal["q", "k", "v", "o"], ...] = Field(("q", "k", "v"), min_length=1, description="matrices")
        position: Literal["all", "bottom", "mid", "up", "half-bottom", "half-up", "top3"] = Field(
            "all", description="blocks that change: all, a third (bottom, mid, up), a half, or the last three"
        )
        layers: tuple[int, ...] | None = Field(None, min_length=1, description="blocks that change; null: by position")
        r: int = Field(2, ge=1, description="rank of the change")
        alpha: float = Field(1, gt=0, description="the change is scaled by alpha / sqrt(r)")
        dropout: float = Field(0.25, ge=0, lt=1, description="rate at which inputs of the change are dropped")
        template: str | None = Field("a photo of a {}.", description="prompt template; null: the data set's own")

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        if not cls.blocks(config, num_blocks):
            raise ValueError(f"position={config.position} holds none of {num_blocks} blocks: choose another position")
        if wrong := [layer for layer in config.layers or () if not 0 <= layer < num_blocks]:
            raise ValueError(f"layers holds {wrong[0]}, and a backbone has blocks 0 to {num_blocks - 1} in each tower")

    @classmethod
    def unused(cls, config: Config) -> dict[str, str]:
        return {"position": f"layers={list(config.layers)} says which blocks change"} if config.layers else {}

    @classmethod
    def prompt_template(cls, config: Config, template: str) -> str:
        return config.template or template

    @classmethod
    def blocks(cls, config: Config, num_blocks: int) -> list[int]:
        """The numbers of the blocks that change, in a tower of so many."""
        named = POSITIONS[config.position](num_blocks)
        return [block for block in range(num_blocks) if block in (named if config.layers is None else config.layers)]

    @classmethod
    def needs(cls, config: Config) -> tuple[TowerPart, ...]:
        return () if config.encoder == "text" else ("transformer for images",)

    def start_stages(self) -> tuple[Stage, Stage]:
        towers, encoder = (self.clip.image, self.clip.text), self.config.encoder
        image, text = (min(self.blocks(self.config, tower.num_blocks), default=END) for tower in towers)
        return END if encoder == "text" else image, END if encoder == "vision" else text

    def build(self) -> None:
        self.drops = False
        self.image_blocks = self._changes(self.clip.image, self.image_start)
        self.text_blocks = self._changes(self.clip.text, self.text_start)

    def _changes(self, tower: Tower, start: Stage) -> nn.ModuleDict:
        blocks = [] if start == END else self.blocks(self.config, tower.num_blocks)
        return low_rank_changes(tower.width, self.config.r, blocks, self.config.params)

    def _beside(self, tower: Tower, name: str) -> dict[int, Beside]:
        """What is computed beside each block that changes; `name` is the attribute with the changes of the tower."""
        blocks, names = getattr(self, name), {part: PROJECTIONS[part] for part in self.config.params}
        paths = {block: {part: f"{name}.{block}.attn.{names[part]}" for part in names} for block in blocks}
        return {int(b): Beside({p: partial(self._change, tower, q) for p, q in paths[b].items()}) for b in blocks}

    def _change(self, tower: Tower, path: str, x: Tensor, tokens: Tokens) -> Tensor:
        change, scale, kept = self.get_submodule(path), self.config.alpha * self.config.r**-0.5, None
        if self.drops:
            # Drawn for whole rows of the longest texts, so that what is left out changes nothing that is drawn.
            mask = self.draw_mask(path, (tokens.packing.rows, *tower.positional_embedding.shape))
            kept, scale = tokens.of(mask[:, : tokens.packing.length]), scale / (1 - self.config.dropout)
        added: Tensor = change(x, scale, kept, self.clip.speedups.changes_as_factors)
        return added

    def draw_mask(self, path: str, shape: tuple[int, ...]) -> Tensor:
        """Which inputs (B, T, width) of the change at `path` are kept in this step: truth values."""
        return draw_kept(shape, self.config.dropout, self.clip.device)

    def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self.drops = self.config.dropout > 0
        try:
            return super().training_logits(x, labels)
        finally:
            self.drops = False

    def image_features(self, x: Tensor) -> Tensor:
        return self.clip.image.run(x, self.image_start, END, beside=self._beside(self.clip.image, "image_blocks"))

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        tokens, eot = self.text_tokens(classes)
        # What texts have in common differs where each has a mask of its own.
        shared = 0 if self.drops else self.prompts.shared
        beside = self._beside(self.clip.text, "text_blocks")
        return self.clip.text.run(tokens, self.text_start, END, eot, shared=shared, beside=beside)
