"""A residual attention block, computed only for the tokens that matter.

After the last block only one token of each row is read, so that the last block needs only the keys and values of the
other tokens. Texts need even less (`packing.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from harness.clip.packing import Packing, Tokens, take
from harness.clip.quick_gelu import quick_gelu
from harness.machine.torch_internals import storage_id

PARTS = {"ln_1", "attn", "ls_1", "ln_2", "mlp", "ls_2"}
"""The parts of a block that `run_packed` knows."""


def is_divisible(block: nn.Module) -> bool:
    """Whether `run_packed` can compute a block."""
    # By its parts: our own class and open_clip's have the same, and importing open_clip takes seconds.
    parts = dict(block.named_children())
    return parts.keys() == PARTS and isinstance(parts["attn"], nn.MultiheadAttention)


Addition = Callable[[Tensor, Tokens], Tensor]
"""(input of a layer (N, width), which tokens these are) -> what is added to the layer's output (N, width)."""


@dataclass(frozen=True)
class Beside:
    """What a method computes beside the layers of a block, for each token by itself.

    Attributes:
        projections: `q`, `k`, `v` or `o` (of attention) -> what is added to its output.
        block: what is added to the output of the block, from the output of its first LayerNorm; None: nothing.
    """

    projections: Mapping[str, Addition] = field(default_factory=dict)
    block: Addition | None = None


NOTHING = Beside()


def run_packed(
    block: Any,
    x: Tensor,
    packing: Packing,
    mask: Tensor | None,
    recompute: bool = False,
    read: Tensor | None = None,
    beside: Beside = NOTHING,
) -> Tensor:
    """Output of a block for packed tokens, or only for the R tokens of each row that are read.

    Args:
        block: one that `is_divisible`.
        x: packed tokens (N, width).
        packing: which tokens they are.
        mask: additive causal mask (T, T), of tokens that attend together that of all packed tokens (N, N); None: every
            token sees every other.
        recompute: do not keep the outputs of LayerNorms and of the activation for the backward pass.
        read: positions (B, R) or (B,) of the only tokens of each row whose output is needed; None: all are needed.
        beside: what is computed beside its layers.

    Returns:
        (N, width), or (B x R, width) if only some tokens are read.
    """
    attention, mlp = block.attn, block.mlp
    tokens = Tokens(packing, None if read is None else packing.place_of(read))
    added: list[Tensor] = []

    def mix(normed: Tensor) -> Tensor:
        if beside.block:
            added.append(beside.block(normed if tokens.places is None else take(normed, tokens.places), tokens))
        if packing.is_together and mask is not None:
            return attend_together(attention, normed, packing, mask, tokens, beside)
        if read is None:
            return attend_all(attention, normed, packing, mask, beside)
        return attend_read(attention, normed, packing, read if mask is not None else None, tokens, beside)

    x = (x if tokens.places is None else take(x, tokens.places)) + block.ls_1(
        project_out(attention, forgetting(block.ln_1, x, mix, recompute), tokens, beside)
    )
    activation = activation_of(mlp)
    x = x + block.ls_2(forgetting(activation, forgetting(block.ln_2, x, mlp.c_fc, recompute), mlp.c_proj, recompute))
    return x + added[0] if added else x


def activation_of(mlp: Any) -> Callable[[Tensor], Tensor]:
    """The activation function of the MLP of a block."""
    layer: Callable[[Tensor], Tensor] = mlp.gelu
    # By its name: importing open_clip takes seconds, and whoever has such a module has it imported.
    return quick_gelu if type(layer).__name__ == "QuickGELU" else layer


def forgetting(
    layer: Callable[[Tensor], Tensor], x: Tensor, use: Callable[[Tensor], Tensor], recompute: bool
) -> Tensor:
    """`use(layer(x))`, without keeping the output of a cheap layer for the backward pass: it is computed again there.

    This applies to tensors that are the output itself, or a view of all of it. All others are kept as usual.

    Args:
        layer: cheap to compute.
        x: its input.
        use: what is computed from its output.
        recompute: False keeps everything as usual.
    """
    # A compiler chooses itself what it computes again, and knows no places in memory.
    if not (recompute and torch.is_grad_enabled()) or torch.compiler.is_compiling():
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


def keeps_more(layer: Callable[[Tensor], Tensor]) -> bool:
    """Whether a layer may consist of several operations, each of which keeps tensors of its own."""
    return layer is not quick_gelu and not isinstance(layer, nn.LayerNorm | nn.GELU)


def attend_together(
    attention: nn.MultiheadAttention, normed: Tensor, packing: Packing, mask: Tensor, tokens: Tokens, beside: Beside
) -> Tensor:
    """Attention of some packed tokens to all of them in one product, before the output projection.

    A mask leaves out more than half of that product. But it is small, and to arrange few tokens in rows costs more.

    Args:
        attention: of the block.
        normed: packed tokens (N, width) after the LayerNorm.
        packing: which tokens they are.
        mask: which of them each sees, additive (N, N).
        tokens: those whose attention is needed.
        beside: what is computed beside the projections.
    """
    width, weight, bias = attention.embed_dim, attention.in_proj_weight, attention.in_proj_bias
    if tokens.places is None:
        projected = add_beside("qkv", F.linear(normed, weight, bias), normed, tokens, beside)
        query, key, value = split_heads(attention, projected[None])
    else:
        reading = take(normed, tokens.places)
        queries = add_beside("q", F.linear(reading, weight[:width], bias[:width]), reading, tokens, beside)
        (query,) = split_heads(attention, queries[None])
        projected = F.linear(normed, weight[width:], bias[width:])
        key, value = split_heads(attention, add_beside("kv", projected, normed, Tokens(packing), beside)[None])
        mask = mask[tokens.places]
    return merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask)).squeeze(0)


def attend_all(
    attention: nn.MultiheadAttention, normed: Tensor, packing: Packing, mask: Tensor | None, beside: Beside = NOTHING
) -> Tensor:
    """Attention of all packed tokens, before the output projection.

    Args:
        attention: of the block.
        normed: packed tokens (N, width) after the LayerNorm.
        packing: which tokens they are.
        mask: as of `run_packed`.
        beside: what is computed beside the projections.

    Returns:
        (N, width).
    """
    projected = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
    projected = add_beside("qkv", projected, normed, Tokens(packing), beside)
    query, key, value = split_heads(attention, packing.pad_own(packing.without_shared(projected)))
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


def attend_read(
    attention: nn.MultiheadAttention,
    normed: Tensor,
    packing: Packing,
    last_seen: Tensor | None,
    tokens: Tokens,
    beside: Beside = NOTHING,
) -> Tensor:
    """Attention of R tokens of each row, before the output projection.

    Args:
        attention: of the block.
        normed: packed tokens (N, width) after the LayerNorm.
        packing: which tokens they are.
        last_seen: position (B, R) or (B,) of the last token of its row that each token sees; None: it sees all.
        tokens: which of the packed tokens they are, with places (B x R,).
        beside: what is computed beside the projections.

    Returns:
        (B x R, width).
    """
    assert tokens.places is not None
    width = attention.embed_dim
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    reading = take(normed, tokens.places)
    queries = add_beside("q", F.linear(reading, weight[:width], bias[:width]), reading, tokens, beside)
    (query,) = split_heads(attention, queries.view(packing.rows, -1, width))
    del reading, queries
    projected = F.linear(normed, weight[width:], bias[width:])
    projected = add_beside("kv", projected, normed, Tokens(packing), beside)
    key, value = split_heads(attention, packing.pad_own(packing.without_shared(projected)))
    mask = None
    if last_seen is not None:
        seen = last_seen.view(packing.rows, -1, 1)
        unseen = torch.arange(packing.shared, packing.length, device=normed.device) > seen
        mask = torch.zeros_like(unseen, dtype=query.dtype).masked_fill(unseen, float("-inf"))[:, None]
    if not packing.shared:
        return merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask)).flatten(0, 1)
    shared = projected[: packing.num_shared].view(packing.groups, packing.shared, -1).clone()
    shared_key, shared_value = split_heads(attention, shared)
    return merge_heads(attend_shared_and_own(query, (shared_key, shared_value), (key, value), mask)).flatten(0, 1)


def project_out(attention: nn.MultiheadAttention, mixed: Tensor, tokens: Tokens, beside: Beside) -> Tensor:
    """The output projection (N, width) of attention (N, width) of some tokens, with what is added to it."""
    out: Tensor = attention.out_proj(mixed)
    addition = beside.projections.get("o")
    return out if addition is None else out + addition(mixed, tokens)


def add_beside(parts: str, projected: Tensor, x: Tensor, tokens: Tokens, beside: Beside) -> Tensor:
    """The projections of some tokens with what is added to them.

    Args:
        parts: which projections they are, such as `kv`.
        projected: their outputs, side by side (N, len(parts) x width).
        x: their input (N, width).
        tokens: which tokens these are.
        beside: what is added.
    """
    if not any(part in beside.projections for part in parts):
        return projected
    pieces = projected.chunk(len(parts), dim=-1)
    added = [
        piece + beside.projections[part](x, tokens) if part in beside.projections else piece
        for part, piece in zip(parts, pieces, strict=True)
    ]
    return torch.cat(added, dim=-1)


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
