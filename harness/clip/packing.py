"""Which tokens of a batch of texts are computed, and how they are arranged in memory.

A text tower is causal, and only the end-of-text token is read. So the tokens after it do not matter, and the leading
tokens that all prompts have in common are the same for all prompts in every block.

How many tokens are computed follows from what the host knows of the texts (`ends.py`), so that no step waits for the
device. Where the device chooses the texts, places that the longest ones would need are filled with tokens after
end-of-text, which nobody reads.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.clip.ends import Ends, as_ends

# Up to so many tokens attend to each other in one product, in which a mask leaves out those of other texts.
MOST_TOGETHER = 512


class _Put(torch.autograd.Function):
    """Rows (M, ...) at given places, all different, among `size` rows of zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(places)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, places, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].index_select(0, ctx.saved_tensors[0]), None, None


class _Take(torch.autograd.Function):
    """The rows at given places, all different; torch's own indexing adds up gradients, because places may repeat."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(x)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Put.apply(gradients[0], ctx.saved_tensors[0], ctx.size), None


def put(x: Tensor, places: Tensor, size: int) -> Tensor:
    """Put rows x (M, ...) at different places (M,) among `size` rows of zeros."""
    placed: Tensor = _Put.apply(x, places, size)
    return placed


def take(x: Tensor, places: Tensor) -> Tensor:
    """Take the rows of x at different places (M,)."""
    taken: Tensor = _Take.apply(x, places)
    return taken


@dataclass(frozen=True)
class Packing:
    """Which tokens of (B, T, width) are computed.

    Packed, they are (N, width): first the tokens that rows share, then those of each row.

    Attributes:
        rows: B.
        length: T.
        shared: P, the number of leading tokens that are the same in all rows of a group.
        groups: G; every B / G consecutive rows are a group.
        own: places (M,) of those that are computed among the B x (T - P) other tokens; None: all are computed.
    """

    rows: int
    length: int
    shared: int = 0
    groups: int = 1
    own: Tensor | None = None

    @property
    def num_shared(self) -> int:
        """Number of packed tokens that are shared: G x P."""
        return self.groups * self.shared

    def pack(self, x: Tensor) -> Tensor:
        """Tokens (B, T, width) -> packed (N, width)."""
        if not self.shared:
            return self.take_own(x.flatten(0, 1))
        own = self.take_own(x[:, self.shared :].flatten(0, 1))
        return torch.cat([x[:: self.rows // self.groups, : self.shared].flatten(0, 1), own])

    def without_shared(self, x: Tensor) -> Tensor:
        """Packed tokens (N, width) -> those of single rows (M, width)."""
        # Of a slice that leaves nothing out, the gradient would be copied among zeros.
        return x[self.num_shared :] if self.shared else x

    def take_own(self, x: Tensor) -> Tensor:
        """All tokens after the shared ones (B x (T - P), width) -> those that are computed (M, width)."""
        return x if self.own is None else take(x, self.own)

    def pad_own(self, x: Tensor) -> Tensor:
        """The reverse of `take_own`, in rows: (M, width) -> (B, T - P, width), with zeros where nothing is computed."""
        rest = self.length - self.shared
        full = x if self.own is None else put(x, self.own, self.rows * rest)
        return full.view(self.rows, rest, -1)

    def unpack(self, x: Tensor) -> Tensor:
        """Packed tokens (N, width) -> rows (B, T, width), with zeros where nothing is computed."""
        own = self.pad_own(self.without_shared(x))
        if not self.shared:
            return own
        leading = x[: self.num_shared].view(self.groups, 1, self.shared, -1)
        leading = leading.expand(-1, self.rows // self.groups, -1, -1).flatten(0, 1)
        return torch.cat([leading, own], dim=1)

    @property
    def is_together(self) -> bool:
        """Whether all packed tokens attend to each other in one product."""
        number = self.rows * (self.length - self.shared) if self.own is None else len(self.own)
        packed = self.shared > 0 or self.own is not None
        return packed and self.groups == 1 and self.num_shared + number <= MOST_TOGETHER

    def mask_together(self, like: Tensor) -> Tensor:
        """Additive mask (N, N) of packed tokens: each sees the shared ones and those of its row, up to itself.

        Args:
            like: gives type and device.
        """
        rest, device = self.length - self.shared, like.device
        own = torch.arange(self.rows * rest, device=device) if self.own is None else self.own
        # The shared tokens are before all rows.
        place = torch.cat([torch.arange(-self.shared, 0, device=device), own % rest])
        row = torch.cat([torch.full((self.shared,), -1, device=device), own // rest])
        seen = (place <= place[:, None]) & ((row == row[:, None]) | (row < 0))
        return torch.zeros_like(seen, dtype=like.dtype).masked_fill(seen.logical_not(), float("-inf"))

    def place_of(self, position: Tensor) -> Tensor:
        """The places (B x R) among the packed tokens of those at R positions of each row, (B, R) or (B,) for R = 1.

        They must be after the shared tokens.
        """
        rest = self.length - self.shared
        first = torch.arange(self.rows, device=position.device) * rest
        place = (first[:, None] + position.view(self.rows, -1) - self.shared).flatten()
        return self.num_shared + (place if self.own is None else torch.searchsorted(self.own, place))


@dataclass(frozen=True)
class Tokens:
    """Which tokens of rows (B, T) a tensor (N, ...) has.

    Attributes:
        packing: the packed tokens.
        places: places (N,) among the packed tokens; None: they are all of them.
    """

    packing: Packing
    places: Tensor | None = None

    def of(self, whole: Tensor) -> Tensor:
        """The rows (N, ...) that belong to these tokens, of a tensor (B, T, ...)."""
        packed = self.packing.pack(whole)
        return packed if self.places is None else take(packed, self.places)


def pack_texts(x: Tensor, eot: Tensor | Ends, shared: int, groups: int, drop_padding: bool) -> Packing:
    """The packing of texts.

    Args:
        x: tokens (B, T, width).
        eot: end-of-text positions (B,); without what the host knows of them, it waits for the device.
        shared: number of leading tokens that the rows of a group have in common, at most the smallest of `eot`.
        groups: number of groups of consecutive rows.
        drop_padding: leave out the tokens after end-of-text.
    """
    rows, length = x.shape[:2]
    if rows == groups:
        # Groups of one row share nothing.
        shared, groups = 0, 1
    own = own_places(as_ends(eot), shared, length) if drop_padding else None
    return Packing(rows, length, shared, groups, own)


def own_places(ends: Ends, shared: int, length: int) -> Tensor:
    """The places (M,), ascending, among all tokens after the shared ones (B x (T - P)) of those up to end-of-text.

    If the device chose the texts, M is what the longest ones would need, and the first places that nobody reads follow
    among the others.

    Args:
        ends: of the texts.
        shared: P.
        length: T.
    """
    device = ends.positions.device
    wanted = (torch.arange(shared, length, device=device) <= ends.positions[:, None]).flatten()
    if ends.largest is None:
        return wanted.nonzero().squeeze(1)
    size = len(wanted)
    number = min(size, sum(ends.largest) + len(ends) * (1 - shared))
    if ends.chosen:
        spare = number - wanted.sum()
        wanted = wanted | (wanted.logical_not().cumsum(0) <= spare)
    return true_places(wanted, number)


def true_places(values: Tensor, number: int) -> Tensor:
    """The places (number,), ascending, of truth values (N,), as many of which are true as the host knows beforehand."""
    place = torch.arange(len(values), device=values.device)
    return place.where(values, len(values)).sort().values[:number]
