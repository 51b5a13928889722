"""A residual attention block, computed only for the tokens that matter.

After the last block only one token of each row is read, so that the last block needs only the keys and values of the
other tokens. Texts need even less (`packing.py`).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harness.clip.packing import Packing, take
from harness.machine.torch_internals import storage_id


def is_divisible(block: nn.Module) -> bool:
    """Whether `run_packed` can compute a block."""
    # Not at the top: planning imports the methods, and importing open_clip takes seconds.
    from open_clip.transformer import ResidualAttentionBlock

    return isinstance(block, ResidualAttentionBlock) and isinstance(block.attn, nn.MultiheadAttention)


def run_packed(
    block: Any, x: Tensor, packing: Packing, mask: Tensor | None, recompute: bool = False, read: Tensor | None = None
) -> Tensor:
    """Output of a block for packed tokens, or only for the one token of each row that is read.

    Args:
        block: one that `is_divisible`.
        x: packed tokens (N, width).
        packing: which tokens they are.
        mask: additive causal mask (T, T); None: every token sees every other.
        recompute: do not keep the outputs of LayerNorms and of the activation for the backward pass.
        read: position (B,) of the only token of each row whose output is needed; None: all are needed.

    Returns:
        (N, width), or (B, width) if one token per row is read.
    """
    attention, mlp = block.attn, block.mlp
    places = None if read is None else packing.place_of(read)

    def mix(normed: Tensor) -> Tensor:
        if read is None or places is None:
            return attend_all(attention, normed, packing, mask)
        return attend_one(attention, normed, packing, read if mask is not None else None, places)

    x = (x if places is None else take(x, places)) + block.ls_1(
        attention.out_proj(forgetting(block.ln_1, x, mix, recompute))
    )
    return x + block.ls_2(forgetting(mlp.gelu, forgetting(block.ln_2, x, mlp.c_fc, recompute), mlp.c_proj, recompute))


def forgetting(layer: nn.Module, x: Tensor, use: Callable[[Tensor], Tensor], recompute: bool) -> Tensor:
    """`use(layer(x))`, without keeping the output of a cheap layer for the backward pass: it is computed again there.

    This applies to tensors that are the output itself, or a view of all of it. All others are kept as usual.

    Args:
        layer: cheap to compute.
        x: its input.
        use: what is computed from its output.
        recompute: False keeps everything as usual.
    """
    if not (recompute and torch.is_grad_enabled()):
        # The same name, so that the input is freed while the output is used.
        x = layer(x)
        return use(x)
    output = checkpoint(layer, x, use_reentrant=False, preserve_rng_state=False) if keeps_more(layer) else layer(x)
    place, size, device = place_in_memory(output), output.numel(), x.device.type
    autocast, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def pack(kept: Tensor) -> Tensor | tuple[torch.Size, tuple[int, ...]]:
        return (kept.shape, kept.stride()) if place_in_memory(kept) == place and kept.numel() == size else kept

    def unpack(kept: Tensor | tuple[torch.Size, tuple[int, ...]]) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        with torch.autocast(device, dtype, enabled=autocast):
            return layer(x).as_strided(*kept)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return use(output)


def place_in_memory(x: Tensor) -> tuple[Any, ...]:
    """The storage of a tensor and its first element in it; fake tensors have these, too, but no address."""
    return storage_id(x), x.storage_offset()


def keeps_more(layer: nn.Module) -> bool:
    """Whether a layer consists of several operations, each of which keeps tensors of its own, as QuickGELU does."""
    return not isinstance(layer, nn.LayerNorm | nn.GELU)


def attend_all(attention: nn.MultiheadAttention, normed: Tensor, packing: Packing, mask: Tensor | None) -> Tensor:
    """Attention of all packed tokens, before the output projection.

    Args:
        attention: of the block.
        normed: packed tokens (N, width) after the LayerNorm.
        packing: which tokens they are.
        mask: additive causal mask (T, T), or None.

    Returns:
        (N, width).
    """
    projected = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = split_heads(attention, packing.pad_own(projected[packing.num_shared :]))
    own_mask = None if mask is None else mask[: query.shape[2], : key.shape[2]].to(query.dtype)
    if not packing.shared:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=own_mask)
        return packing.take_own(merge_heads(mixed).flatten(0, 1))
    # A copy, because a view would keep everything that is projected for the backward pass.
    shared = projected[: packing.num_shared].view(packing.groups, packing.shared, -1).clone()
    shared_query, shared_key, shared_value = split_heads(attention, shared)
    first = F.scaled_dot_product_attention(shared_query, shared_key, shared_value, is_causal=True)
    mixed = attend_shared_and_own(query, (shared_key, shared_value), (key, value), own_mask)
    return torch.cat([merge_heads(first).flatten(0, 1), packing.take_own(merge_heads(mixed).flatten(0, 1))])


def attend_one(
    attention: nn.MultiheadAttention, normed: Tensor, packing: Packing, last_seen: Tensor | None, places: Tensor
) -> Tensor:
    """Attention of one token of each row, before the output projection.

    Args:
        attention: of the block.
        normed: packed tokens (N, width) after the LayerNorm.
        packing: which tokens they are.
        last_seen: position (B,) of the last token of its row that each token sees; None: it sees all.
        places: where the tokens are among the packed ones (B,).

    Returns:
        (B, width).
    """
    width = attention.embed_dim
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    (query,) = split_heads(attention, F.linear(take(normed, places), weight[:width], bias[:width])[:, None])
    projected = F.linear(normed, weight[width:], bias[width:])
    key, value = split_heads(attention, packing.pad_own(projected[packing.num_shared :]))
    mask = None
    if last_seen is not None:
        unseen = torch.arange(packing.shared, packing.length, device=normed.device) > last_seen[:, None]
        mask = torch.zeros_like(unseen, dtype=query.dtype).masked_fill(unseen, float("-inf"))[:, None, None]
    if not packing.shared:
        return merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask)).squeeze(1)
    shared = projected[: packing.num_shared].view(packing.groups, packing.shared, -1).clone()
    shared_key, shared_value = split_heads(attention, shared)
    return merge_heads(attend_shared_and_own(query, (shared_key, shared_value), (key, value), mask)).squeeze(1)


def attend_shared_and_own(
    query: Tensor, shared: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor], mask: Tensor | None
) -> Tensor:
    """Attention to the tokens of a row's group and to its own tokens, without copying those of the group for each row.

    Args:
        query: (B, heads, Q, size).
        shared: keys and values of each group, (G, heads, P, size).
        own: keys and values of each row, (B, heads, T, size).
        mask: additive, for the row's own tokens; all tokens of the group are seen.

    Returns:
        (B, heads, Q, size).
    """
    groups, tokens = len(shared[0]), shared[0].shape[2]
    rows, _, queries, size = query.shape

    def by_group(x: Tensor) -> Tensor:
        return x.unflatten(0, (groups, -1)).transpose(1, 2).flatten(2, 3)

    def by_row(x: Tensor) -> Tensor:
        return x.unflatten(2, (rows // groups, queries)).transpose(1, 2).flatten(0, 1)

    query = query * size**-0.5
    to_own = query @ own[0].transpose(2, 3)
    to_own = to_own if mask is None else to_own + mask
    to_shared = by_row(by_group(query) @ shared[0].transpose(2, 3))
    weights = torch.cat([to_shared, to_own], dim=3).softmax(dim=3).to(own[1].dtype)
    return by_row(by_group(weights[..., :tokens]) @ shared[1]) + weights[..., tokens:] @ own[1]


def split_heads(attention: nn.MultiheadAttention, projected: Tensor) -> list[Tensor]:
    """(B, T, n x width) -> n tensors (B, heads, T, width / heads)."""
    pieces = projected.split(attention.embed_dim, dim=2)
    return [piece.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for piece in pieces]


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, T, size) -> (B, T, heads x size)."""
    return x.transpose(1, 2).flatten(2)
