"""CLIP as two towers of stages.

    raw input ──embed──▶ 0 ──block──▶ 1 ──block──▶ 2 … ──block──▶ N ──pool──▶ POOLED ──project──▶ END

At stage i are the tokens that enter block i, at stage N those that leave the last block, at POOLED the one that is read
after the final LayerNorm, at END one embedding per input. Caches, methods and evaluation are all written with
`tower.run(x, start, stop)`.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.clip.blocks import is_divisible, run_packed
from harness.clip.packing import Packing, pack_texts
from harness.clip.preprocessing import Channels, Preprocessing
from harness.clip.prompts import Prompts, Tokenizer, end_of_text, tokenize
from harness.clip.speedups import NO_SPEEDUPS, Speedups

if TYPE_CHECKING:
    import open_clip

Stage = int
BlockHook = Callable[[int, Tensor], Tensor]
RAW: Stage = -1
POOLED: Stage = sys.maxsize - 1
END: Stage = sys.maxsize


# The fused inference kernel of nn.MultiheadAttention rounds differently from the attention used in training and hides
# its buffers from the memory meter. Without it, frozen stages give the same numbers with and without gradients.
torch.backends.mha.set_fastpath_enabled(False)


class Tower(nn.Module):
    """One tower: embedding, `transformer.resblocks`, projection. Parameters have the names of OpenAI's CLIP.

    Args:
        speedups: the switches of its CLIP.
    """

    transformer: nn.Module

    def __init__(self, speedups: Speedups) -> None:
        super().__init__()
        self.speedups = speedups

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
        """The parameters after the last block: final LayerNorm and projection."""
        raise NotImplementedError

    def parameters_from(self, start: Stage) -> list[nn.Parameter]:
        """Parameters of the blocks from `start` on, of the final LayerNorm and of the projection."""
        return [p for block in list(self.blocks)[start:] for p in block.parameters()] + self.head_parameters()

    def embed(self, x: Tensor) -> Tensor:
        """Raw input -> tokens at stage 0, (B, T, width)."""
        raise NotImplementedError

    def pool(self, x: Tensor) -> Tensor:
        """The tokens (B, width) that are read after the last block -> those at POOLED (B, width)."""
        raise NotImplementedError

    def project(self, x: Tensor) -> Tensor:
        """Vectors (B, width) at POOLED -> embeddings (B, E)."""
        raise NotImplementedError

    def end_of_text(self, x: Tensor) -> Tensor | None:
        """End-of-text positions (B,) of raw input; None for images."""
        return None

    def read_positions(self, x: Tensor, eot: Tensor | None) -> Tensor:
        """The positions (B,) at which tokens (B, T, width) are read after the last block.

        Raises:
            ValueError: texts without end-of-text positions.
        """
        raise NotImplementedError

    def packing(self, x: Tensor, eot: Tensor | None, shared: int, groups: int) -> Packing:
        """Which of the tokens (B, T, width) matter for what is read after the last block.

        Args:
            x: tokens.
            eot: end-of-text positions (B,) of texts.
            shared: number of leading tokens that the texts of a group have in common.
            groups: number of groups of consecutive texts.
        """
        return Packing(*x.shape[:2])

    def attention_mask(self, length: int) -> Tensor | None:
        """Additive mask (T, T) of the tower's attention; None if every token sees every other."""
        return None

    def run(
        self,
        x: Tensor,
        start: Stage = RAW,
        stop: Stage = END,
        eot: Tensor | None = None,
        before_block: BlockHook | None = None,
        shared: int = 0,
        groups: int = 1,
    ) -> Tensor:
        """Take x from stage `start` to stage `stop`.

        The result does not depend on `speedups`, except in the last digits of floating point.

        Args:
            x: pixels (B, 3, H, W) or token ids (B, T) at RAW, tokens (B, T, width) at 0..N, (B, width) at POOLED,
                embeddings (B, E) at END.
            start: the stage of x.
            stop: the stage to take it to, not before `start`.
            eot: end-of-text positions (B,), needed for texts that start after RAW.
            before_block: (block number, tokens) -> tokens that enter the block; if texts share their leading tokens,
                it receives and returns only those, (groups, shared, width).
            shared: number of leading tokens that the texts of a group have in common.
            groups: number of groups of consecutive texts in x, all of the same size.

        Returns:
            x at stage `stop`.

        Raises:
            ValueError: `stop` is before `start`, a stage is beyond the tower, or `eot` is missing.
        """
        n = self.num_blocks
        for stage in (start, stop):
            if stage not in (POOLED, END) and not RAW <= stage <= n:
                raise ValueError(f"there is no stage {stage} in a tower of {n} blocks")
        if stop < start:
            raise ValueError(f"cannot run backwards, from stage {start} to {stop}")
        if start == stop:
            return x
        if start == POOLED:
            return self.project(x)
        if start == RAW:
            eot = self.end_of_text(x) if eot is None else eot
            x = self.embed(x)
        first = max(start, 0)
        if stop >= POOLED:
            pooled = self.pool(self._run_to_read(x, first, eot, before_block, shared, groups))
            return pooled if stop == POOLED else self.project(pooled)
        return self._run_whole(x, first, stop, before_block)

    def _run_whole(self, x: Tensor, first: int, stop: int, before_block: BlockHook | None) -> Tensor:
        """All tokens that enter block `first` -> all that enter block `stop`."""
        mask = self.attention_mask(x.shape[1])
        for block in range(first, stop):
            x = before_block(block, x) if before_block else x
            x = self.blocks[block](x, attn_mask=mask)
        return x

    def _run_to_read(
        self, x: Tensor, first: int, eot: Tensor | None, before_block: BlockHook | None, shared: int, groups: int
    ) -> Tensor:
        """All tokens that enter block `first` -> the tokens (B, width) that are read after the last block."""
        read, on = self.read_positions(x, eot), self.speedups
        packing = Packing(*x.shape[:2])
        if not all(map(is_divisible, self.blocks)) or on == NO_SPEEDUPS:
            x = self._run_whole(x, first, self.num_blocks, before_block)
            return x[torch.arange(len(x), device=x.device), read]
        wanted = self.packing(x, eot, shared, groups)
        # A hook receives whole rows, or only what is shared.
        packing = wanted if wanted.shared or not before_block else packing
        mask = self.attention_mask(x.shape[1])
        x = packing.pack(x)
        for block in range(first, self.num_blocks):
            x = _hooked(before_block, block, x, packing) if before_block else x
            if block == self.num_blocks - 1 and on.read_one_token:
                return run_packed(self.blocks[block], x, packing, mask, on.recompute_cheap, read)
            x = run_packed(self.blocks[block], x, packing, mask, on.recompute_cheap)
        return x[packing.place_of(read)]


def _hooked(before_block: BlockHook, block: int, x: Tensor, packing: Packing) -> Tensor:
    """Packed tokens after a hook, which receives whole rows (B, T, width) or, if tokens are shared, only those."""
    if not packing.shared:
        return before_block(block, x.view(packing.rows, packing.length, -1)).flatten(0, 1)
    leading = x[: packing.num_shared].view(packing.groups, packing.shared, -1)
    return torch.cat([before_block(block, leading).flatten(0, 1), x[packing.num_shared :]])


class ImageTower(Tower):
    """The vision transformer of an open_clip CLIP; its class token is read."""

    def __init__(self, visual: "open_clip.transformer.VisionTransformer", speedups: Speedups) -> None:
        super().__init__(speedups)
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
        patches = self.conv1(x.to(self.conv1.weight.dtype)).flatten(2).permute(0, 2, 1)
        class_token = self.class_embedding.to(patches.dtype).expand(len(x), 1, -1)
        tokens = torch.cat([class_token, patches], dim=1) + self.positional_embedding.to(patches.dtype)
        return self.ln_pre(tokens)

    def read_positions(self, x: Tensor, eot: Tensor | None) -> Tensor:
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def pool(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.ln_post(x)
        return pooled

    def project(self, x: Tensor) -> Tensor:
        return x @ self.proj


class TextTower(Tower):
    """The causal text transformer of an open_clip CLIP; its end-of-text token is read."""

    attn_mask: Tensor

    def __init__(self, model: "open_clip.model.CLIP", speedups: Speedups) -> None:
        super().__init__(speedups)
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
        dtype = self.text_projection.dtype
        return words.to(dtype) + self.positional_embedding[: words.shape[1]].to(dtype)

    def embed(self, x: Tensor) -> Tensor:
        return self.add_positions(self.token_embedding(x))

    def end_of_text(self, x: Tensor) -> Tensor:
        return end_of_text(x)

    def read_positions(self, x: Tensor, eot: Tensor | None) -> Tensor:
        if eot is None:
            raise ValueError("a text that starts after RAW needs its end-of-text positions")
        return eot

    def packing(self, x: Tensor, eot: Tensor | None, shared: int, groups: int) -> Packing:
        assert eot is not None
        return pack_texts(x, eot, shared, groups, self.speedups.cut_prompts)

    def pool(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.ln_final(x)
        return pooled

    def project(self, x: Tensor) -> Tensor:
        return x @ self.text_projection


class CLIP(nn.Module):
    """Two towers, the logit scale, the tokenizer, and the preprocessing of images.

    Args:
        model: an open_clip `CLIP` whose configuration is not `unsupported`.
        tokenizer: texts -> ids (C, context length).
        name: its name in results.
        preprocessing: of its images.

    Attributes:
        notices: what the user should know about its weights, one sentence each.
    """

    def __init__(
        self,
        model: "open_clip.model.CLIP",
        tokenizer: Tokenizer,
        name: str,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__()
        self.speedups = Speedups()
        self.image = ImageTower(model.visual, self.speedups)
        self.text = TextTower(model, self.speedups)
        self.logit_scale = model.logit_scale
        self.name = name
        self.preprocessing = preprocessing
        self.notices: tuple[str, ...] = ()
        self.tokenizer = tokenizer

    @property
    def image_size(self) -> int:
        """Side of its images in pixels."""
        return self.preprocessing.size

    @property
    def mean(self) -> Channels:
        """Mean of the normalisation, per channel, for images scaled to 0..1."""
        return self.preprocessing.mean

    @property
    def std(self) -> Channels:
        """Standard deviation of the normalisation, per channel."""
        return self.preprocessing.std

    @property
    def num_blocks(self) -> int:
        """Number of blocks that both towers have: the last stage from which both can start."""
        return min(self.image.num_blocks, self.text.num_blocks)

    @property
    def embed_dim(self) -> int:
        """E, the size of the embeddings."""
        return int(self.text.text_projection.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.logit_scale.device

    def tokenize(self, texts: Sequence[str | Sequence[str]]) -> Prompts:
        """Prompts on the device of the weights, cut after the largest end-of-text position unless that is switched off.

        Args:
            texts: of each class its prompt, or its prompts.

        Raises:
            UserError: as `prompts.tokenize`.
        """
        prompts = tokenize(texts, self.tokenizer, cut=self.speedups.cut_prompts)
        return (prompts if self.speedups.share_prefix else replace(prompts, shared=0)).to(self.device)
