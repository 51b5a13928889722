"""CLIP as two towers of stages.

    raw input ──embed──▶ 0 ──block──▶ 1 ──block──▶ 2 … ──block──▶ N ──project──▶ END

Stage i holds the tokens that enter block i, stage N those that leave the last block, END one embedding per input.
Caches, methods and evaluation are all written with `tower.run(x, start, stop)`.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.clip.prompts import Prompts, Tokenizer, end_of_text, tokenize
from harness.errors import UserError

if TYPE_CHECKING:
    import open_clip

Stage = int
BlockHook = Callable[[int, Tensor], Tensor]
RAW: Stage = -1
END: Stage = sys.maxsize

# The fused inference kernel of nn.MultiheadAttention rounds differently from the attention used in training and hides
# its buffers from memory measurement. Without it frozen stages give the same numbers with and without gradients.
torch.backends.mha.set_fastpath_enabled(False)


class Tower(nn.Module):
    """One tower: embedding, `transformer.resblocks`, projection. Parameter names are those of OpenAI's CLIP."""

    transformer: nn.Module

    @property
    def blocks(self) -> nn.ModuleList:
        """The N residual attention blocks (resblocks)."""
        blocks = self.transformer.resblocks
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    @property
    def num_blocks(self) -> int:
        """N, the number of blocks."""
        return len(self.blocks)

    def head_parameters(self) -> list[nn.Parameter]:
        """What stands behind the last block: final LayerNorm and projection."""
        raise NotImplementedError

    def parameters_from(self, start: Stage) -> list[nn.Parameter]:
        """Parameters of the blocks from `start` on, of the final LayerNorm and of the projection."""
        return [p for block in list(self.blocks)[start:] for p in block.parameters()] + self.head_parameters()

    def embed(self, x: Tensor) -> Tensor:
        """Raw input -> tokens at stage 0, (B, T, width)."""
        raise NotImplementedError

    def project(self, x: Tensor, eot: Tensor | None) -> Tensor:
        """Tokens at stage N -> embeddings (B, E)."""
        raise NotImplementedError

    def read_positions(self, x: Tensor) -> Tensor | None:
        """Where the tokens of raw input (B, ...) are read at the end, if that depends on the input: (B,)."""
        return None

    def attention_mask(self, length: int) -> Tensor | None:
        """Additive mask (T, T) of the tower's attention, or None."""
        return None

    def run(
        self,
        x: Tensor,
        start: Stage = RAW,
        stop: Stage = END,
        eot: Tensor | None = None,
        before_block: BlockHook | None = None,
    ) -> Tensor:
        """Take x from stage `start` to stage `stop`.

        Args:
            x: pixels (B, 3, H, W) or token ids (B, T) at RAW, tokens (B, T, width) at 0..N, embeddings (B, E) at END.
            start: the stage that x is at.
            stop: the stage to take it to, not before `start`.
            eot: for texts that start behind RAW, the end-of-text positions (B,).
            before_block: block number, tokens -> tokens that enter the block.

        Returns:
            x at stage `stop`.

        Raises:
            ValueError: `stop` is before `start`, or a stage is beyond the tower.
        """
        n = self.num_blocks
        for stage in (start, stop):
            if stage != END and not RAW <= stage <= n:
                raise ValueError(f"there is no stage {stage} in a tower of {n} blocks")
        if stop < start:
            raise ValueError(f"cannot run backwards, from stage {start} to {stop}")
        if start == stop:
            return x
        if start == RAW:
            eot = self.read_positions(x) if eot is None else eot
            x = self.embed(x)
        blocks = range(max(start, 0), min(stop, n))
        mask = self.attention_mask(x.shape[1]) if blocks else None
        for block in blocks:
            if before_block:
                x = before_block(block, x)
            x = self.blocks[block](x, attn_mask=mask)
        return self.project(x, eot) if stop == END else x


class ImageTower(Tower):
    """The vision transformer of an open_clip CLIP; its class token is read."""

    def __init__(self, visual: "open_clip.transformer.VisionTransformer") -> None:
        super().__init__()
        self.conv1 = visual.conv1
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.ln_pre = visual.ln_pre
        self.transformer = visual.transformer
        self.ln_post = visual.ln_post
        self.proj = visual.proj

    def head_parameters(self) -> list[nn.Parameter]:
        return [*self.ln_post.parameters(), self.proj]

    def embed(self, x: Tensor) -> Tensor:
        patches = self.conv1(x).flatten(2).permute(0, 2, 1)
        class_token = self.class_embedding.to(patches.dtype).expand(len(x), 1, -1)
        tokens = torch.cat([class_token, patches], dim=1) + self.positional_embedding.to(patches.dtype)
        return self.ln_pre(tokens)

    def project(self, x: Tensor, eot: Tensor | None = None) -> Tensor:
        return self.ln_post(x[:, 0]) @ self.proj


class TextTower(Tower):
    """The causal text transformer of an open_clip CLIP; its end-of-text token is read."""

    attn_mask: Tensor

    def __init__(self, model: "open_clip.model.CLIP") -> None:
        super().__init__()
        self.token_embedding = model.token_embedding
        self.positional_embedding = model.positional_embedding
        self.transformer = model.transformer
        self.ln_final = model.ln_final
        self.text_projection = model.text_projection
        self.register_buffer("attn_mask", model.attn_mask, persistent=False)

    def head_parameters(self) -> list[nn.Parameter]:
        return [*self.ln_final.parameters(), self.text_projection]

    def attention_mask(self, length: int) -> Tensor:
        return self.attn_mask[:length, :length]

    def add_positions(self, words: Tensor) -> Tensor:
        """Word embeddings (B, T, width) -> tokens at stage 0."""
        return words + self.positional_embedding[: words.shape[1]]

    def embed(self, x: Tensor) -> Tensor:
        return self.add_positions(self.token_embedding(x))

    def project(self, x: Tensor, eot: Tensor | None = None) -> Tensor:
        if eot is None:
            raise ValueError("a text that starts behind RAW needs its end-of-text positions")
        return self.ln_final(x[torch.arange(len(x), device=x.device), eot]) @ self.text_projection

    def read_positions(self, x: Tensor) -> Tensor:
        return end_of_text(x)


class CLIP(nn.Module):
    """Two towers, the logit scale, the tokenizer and what the images need before they go in.

    Args:
        model: an open_clip `CLIP` with ViT image tower and causal text tower.
        tokenizer: texts -> ids (C, context length).
        name: how results call it.
        mean: per channel, for images scaled to 0..1.
        std: per channel.

    Raises:
        UserError: an architecture whose stages would not give open_clip's own outputs.
    """

    def __init__(
        self,
        model: "open_clip.model.CLIP",
        tokenizer: Tokenizer,
        name: str,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        refuse_unsupported(model, name)
        self.image = ImageTower(model.visual)
        self.text = TextTower(model)
        self.logit_scale = model.logit_scale
        self.name = name
        self.image_size: int = model.visual.image_size[0]
        self.mean = mean
        self.std = std
        self.tokenizer = tokenizer
        self.cut_prompts = True

    @property
    def num_blocks(self) -> int:
        """Number of blocks that both towers have: the deepest stage that both can start from."""
        return min(self.image.num_blocks, self.text.num_blocks)

    @property
    def embed_dim(self) -> int:
        """E, the size of the embeddings."""
        return int(self.text.text_projection.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.logit_scale.device

    def tokenize(self, texts: list[str] | tuple[str, ...]) -> Prompts:
        """Prompts on the device of the weights, cut at the longest end-of-text position unless `cut_prompts` is off."""
        return tokenize(texts, self.tokenizer, cut=self.cut_prompts).to(self.device)


def refuse_unsupported(model: "open_clip.model.CLIP", name: str) -> None:
    """Raise a UserError for a model that is not a plain ViT CLIP, naming what is different about it."""
    visual = model.visual
    # Each entry: what is unusual, and whether this model has it.
    unusual = {
        "its image tower is not a ViT": not hasattr(visual, "class_embedding"),
        "its text tower is a module of its own": not hasattr(model, "token_embedding"),
        "attention pooling": getattr(visual, "attn_pool", None) is not None,
        "average pooling of patches": getattr(visual, "pool_type", "tok") != "tok",
        "LayerNorm after pooling": getattr(visual, "final_ln_after_pool", False),
        "patch dropout": not isinstance(getattr(visual, "patch_dropout", nn.Identity()), nn.Identity),
        "a text token that is read elsewhere than at end of text": getattr(model, "text_pool_type", "argmax")
        != "argmax",
        "a text tower that is not causal": getattr(model, "attn_mask", None) is None,
        "a text projection that is no plain matrix": not isinstance(
            getattr(model, "text_projection", None), nn.Parameter
        ),
        "a logit bias": getattr(model, "logit_bias", None) is not None,
    }
    found = [what for what, present in unusual.items() if present]
    if found:
        raise UserError(
            f"backbone '{name}' is not supported: {found[0]}. Supported are open_clip's plain ViT CLIPs, "
            "such as ViT-B-32, ViT-B-16 and ViT-L-14 with or without -quickgelu."
        )
