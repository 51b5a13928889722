"""A tower of CLIP as a row of stages.

    raw input ──embed──▶ 0 ──block──▶ 1 ──block──▶ 2 … ──block──▶ N ──pool──▶ POOLED ──project──▶ END

At stage i are the tokens that enter block i, at stage N those that leave the last block, at POOLED the one that is read
after the final LayerNorm, at END one embedding per input. Caches, methods and evaluation are all written with
`tower.run(x, start, stop)`.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harness.clip.blocks import NOTHING, Beside, is_divisible, run_packed
from harness.clip.ends import Ends, as_ends
from harness.clip.packing import Packing
from harness.clip.speedups import NO_SPEEDUPS, Speedups
from harness.clip.tower_parts import TowerPart
from harness.errors import UserError

Stage = int
BlockHook = Callable[[int, Tensor], Tensor]
RAW: Stage = -1
POOLED: Stage = sys.maxsize - 1
END: Stage = sys.maxsize
WIDE = 256
"""Width of tokens from which it pays to compute cheap outputs again instead of keeping them, and to use many
threads."""


# The fused inference kernel of nn.MultiheadAttention rounds differently from the attention used in training and hides
# its buffers from the memory meter. Without it, frozen stages give the same numbers with and without gradients.
torch.backends.mha.set_fastpath_enabled(False)


@dataclass(frozen=True)
class Change:
    """What a method changes in the blocks of a tower.

    Attributes:
        before_block: changes the tokens that enter blocks; None: nothing does.
        beside: block number -> what is computed beside its layers.
    """

    before_block: BlockHook | None
    beside: Mapping[int, Beside]


class Tower(nn.Module):
    """One tower: embedding, `transformer.resblocks`, projection. Parameters have the names of OpenAI's CLIP.

    Args:
        speedups: the switches of its CLIP.

    Attributes:
        parts: what it has of the parts that not every backbone has.
        projection_names: names of the parameters of its projection; the matrix is the first.
        compute_block: computes a block for packed tokens; whoever needs only the shape may put something else here.
    """

    parts: frozenset[TowerPart] = frozenset()
    projection_names: ClassVar[tuple[str, ...]]
    transformer: nn.Module
    positional_embedding: nn.Parameter
    compute_block: Callable[..., Tensor] = staticmethod(run_packed)

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

    @property
    def projection(self) -> nn.Parameter:
        """The matrix of its projection."""
        return self.get_parameter(self.projection_names[0])

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters after the last block: final LayerNorm and projection."""
        raise NotImplementedError

    def bare_matrices(self) -> list[nn.Parameter]:
        """The matrices that are no weights of a module, such as CLIP's projections."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Size of its tokens."""
        block: Any = self.blocks[0]
        width: int = block.attn.embed_dim
        return width

    @property
    def is_narrow(self) -> bool:
        """Whether its tokens are so narrow that products of matrices hardly take longer than what is beside them."""
        return self.width < WIDE

    @property
    def recomputes(self) -> bool:
        """Whether outputs of LayerNorms and activation functions are computed again in the backward pass.

        That costs time in proportion to the width of the tokens, beside products of matrices whose time grows with its
        square: little in a wide tower, and a fifth of a step in the narrow ones of the embedded backbone.
        """
        return self.speedups.recompute_cheap and not self.is_narrow

    @property
    def embed_dim(self) -> int:
        """E, the size of its embeddings."""
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

    def read_positions(self, x: Tensor, eot: Tensor | None, number: int) -> Tensor:
        """The positions (B, R) at which tokens (B, T, width) are read after the last block.

        Args:
            x: tokens.
            eot: end-of-text positions (B,) of texts.
            number: R.

        Raises:
            ValueError: texts without end-of-text positions, or of which several tokens are to be read.
        """
        raise NotImplementedError

    def packing(self, x: Tensor, ends: Ends | None, shared: int, groups: int) -> Packing:
        """Which of the tokens (B, T, width) matter for what is read after the last block.

        Args:
            x: tokens.
            ends: of texts.
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
        eot: Tensor | Ends | None = None,
        before_block: BlockHook | None = None,
        shared: int = 0,
        groups: int = 1,
        beside: Mapping[int, Beside] | None = None,
        num_read: int | None = None,
    ) -> Tensor:
        """Take x from stage `start` to stage `stop`.

        The result does not depend on `speedups`, except in the last digits of floating point.

        Args:
            x: pixels (B, 3, H, W) or token ids (B, T) at RAW, tokens (B, T, width) at 0..N, (B, width) at POOLED,
                embeddings (B, E) at END.
            start: the stage of x.
            stop: the stage to take it to, not before `start`.
            eot: end-of-text positions (B,), needed for texts that start after RAW. As `Prompts.ends` they come with
                what the host knows of them; otherwise it waits for the device.
            before_block: (block number, tokens) -> tokens that enter the block; if texts share their leading tokens,
                it receives and returns only those, (groups, shared, width).
            shared: number of leading tokens that the texts of a group have in common.
            groups: number of groups of consecutive texts in x, all of the same size.
            beside: block number -> what is computed beside its layers.
            num_read: R, for images: read the first R tokens, so that (B, R, width) is at POOLED and (B, R, E) at END;
                None: only the class token.

        Returns:
            x at stage `stop`.

        Raises:
            ValueError: `stop` is before `start`, a stage is beyond the tower, or `eot` is missing.
            UserError: something is computed beside the layers of blocks of an unusual kind.
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
        ends = None if eot is None else as_ends(eot)
        change = Change(before_block, beside or {})
        first = max(start, 0)
        if stop < POOLED:
            # Without gradients nothing is kept, and what is cached does not depend on the speed-ups.
            packs = ends is not None and torch.is_grad_enabled() and self._can_pack()
            if not packs:
                return self._run_whole(x, first, stop, change)
            packing = self._packing(x, ends, shared, groups, change)
            mask = self._mask(x, packing)
            return packing.unpack(self._run_packed(packing.pack(x), first, stop, packing, change, mask))
        pooled = self.pool(self._run_to_read(x, first, ends, change, shared, groups, num_read or 1))
        pooled = pooled if num_read else pooled.squeeze(1)
        return pooled if stop == POOLED else self.project(pooled)

    def _can_pack(self) -> bool:
        return self.speedups != NO_SPEEDUPS and all(map(is_divisible, self.blocks))

    def _packing(self, x: Tensor, ends: Ends | None, shared: int, groups: int, change: Change) -> Packing:
        wanted = self.packing(x, ends, shared, groups)
        # A hook receives whole rows, or only what is shared.
        return wanted if wanted.shared or not change.before_block else Packing(*x.shape[:2])

    def _run_whole(self, x: Tensor, first: int, stop: int, change: Change) -> Tensor:
        """All tokens that enter block `first` -> all that enter block `stop`."""
        mask = self.attention_mask(x.shape[1])
        for block in range(first, stop):
            x = change.before_block(block, x) if change.before_block else x
            if block in change.beside:
                rows = Packing(*x.shape[:2])
                x = rows.unpack(self._run_block(block, rows.pack(x), rows, mask, change, recompute=False))
            else:
                x = self.blocks[block](x, attn_mask=mask)
        return x

    def _mask(self, x: Tensor, packing: Packing) -> Tensor | None:
        """Additive mask of attention among packed tokens, in the type that they are computed in."""
        mask = packing.mask_together(x) if packing.is_together else self.attention_mask(packing.length)
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        return None if mask is None else mask.to(dtype)

    def _run_packed(
        self, x: Tensor, first: int, stop: int, packing: Packing, change: Change, mask: Tensor | None
    ) -> Tensor:
        """Packed tokens (N, width) that enter block `first` -> those that enter block `stop`."""
        for block in range(first, stop):
            x = _hooked(change.before_block, block, x, packing) if change.before_block else x
            x = self._run_block(block, x, packing, mask, change, self.recomputes)
        return x

    def _run_block(
        self,
        block: int,
        x: Tensor,
        packing: Packing,
        mask: Tensor | None,
        change: Change,
        recompute: bool,
        read: Tensor | None = None,
    ) -> Tensor:
        beside = change.beside.get(block, NOTHING)
        if beside is not NOTHING and not is_divisible(self.blocks[block]):
            raise UserError(
                "the blocks of this backbone are of an unusual kind, beside whose layers nothing can be computed: "
                "use another backbone or another method"
            )
        return self.compute_block(self.blocks[block], x, packing, mask, recompute, read, beside)

    def _run_to_read(
        self, x: Tensor, first: int, ends: Ends | None, change: Change, shared: int, groups: int, num_read: int
    ) -> Tensor:
        """All tokens that enter block `first` -> the tokens (B, R, width) that are read after the last block."""
        read = self.read_positions(x, None if ends is None else ends.positions, num_read)
        on, last = self.speedups, self.num_blocks - 1
        rows = len(x)
        if not self._can_pack():
            x = self._run_whole(x, first, self.num_blocks, change)
            return x[torch.arange(rows, device=x.device)[:, None], read]
        packing = self._packing(x, ends, shared, groups, change)
        x = packing.pack(x)
        if first > last or not on.read_one_token:
            x = self._run_packed(x, first, self.num_blocks, packing, change, self._mask(x, packing))
            return x[packing.place_of(read)].view(rows, num_read, -1)
        mask = self._mask(x, packing)
        x = self._run_packed(x, first, last, packing, change, mask)
        x = _hooked(change.before_block, last, x, packing) if change.before_block else x
        x = self._run_block(last, x, packing, mask, change, self.recomputes, read)
        return x.view(rows, num_read, -1)


def _hooked(before_block: BlockHook, block: int, x: Tensor, packing: Packing) -> Tensor:
    """Packed tokens after a hook, which receives whole rows (B, T, width) or, if tokens are shared, only those."""
    if not packing.shared:
        return before_block(block, x.view(packing.rows, packing.length, -1)).flatten(0, 1)
    leading = x[: packing.num_shared].view(packing.groups, packing.shared, -1)
    return torch.cat([before_block(block, leading).flatten(0, 1), x[packing.num_shared :]])
