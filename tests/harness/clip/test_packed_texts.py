"""Texts that are packed although all their tokens are wanted, and texts longer than the context of the positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.clip.packing import Packing, pack_texts
from harness.clip.towers import CLIP, END, RAW

NAMES = ["cat", "sports equipment", "bird", "thing that is rather long to say"]
EXACT = {"rtol": 1e-8, "atol": 1e-10}


def before_end(x: Tensor, eot: Tensor) -> Tensor:
    """The tokens (N, width) up to end-of-text of all rows."""
    return torch.cat([row[: end + 1] for row, end in zip(x, eot.tolist(), strict=True)])


def count_tokens(block: torch.nn.Module) -> list[int]:
    """A list that grows by the number of tokens whenever the block's MLP computes."""
    seen: list[int] = []
    block.mlp.c_fc.register_forward_hook(lambda _, x, y: seen.append(x[0].numel() // x[0].shape[-1]))
    return seen


@pytest.mark.parametrize("stop", [1, 3, 6])
@pytest.mark.parametrize("has_hook", [False, True])
def test_a_text_run_that_stops_early_is_packed_and_gives_whole_rows(clip: CLIP, stop: int, has_hook: bool) -> None:
    clip = clip.double()
    clip.text.requires_grad_(True)
    prompts = clip.tokenize([f"a drawing of a {name}." for name in NAMES])
    hook = (lambda block, x: torch.cat([x[:, :2] * 0.5, x[:, 2:]], dim=1)) if has_hook else None
    about = {"eot": prompts.eot, "before_block": hook}
    seen = count_tokens(clip.text.blocks[0])

    def gradients() -> dict[str, Tensor]:
        found = {name: p.grad.clone() for name, p in clip.text.named_parameters() if p.grad is not None}
        clip.text.zero_grad()
        return found

    packed = clip.text.run(prompts.ids, RAW, stop, shared=prompts.shared, **about)
    assert prompts.shared == 5
    assert seen == [5 + int((prompts.eot + 1 - 5).sum())]
    assert packed.shape[:2] == prompts.ids.shape
    ours = before_end(packed, prompts.eot)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0), dtype=ours.dtype)
    (ours * weights).sum().backward()
    found = gradients()
    with torch.no_grad():
        embeddings = clip.text.run(packed.detach(), stop, END, shared=prompts.shared, **about)

    clip.speedups.switch_off()
    whole = clip.text.run(prompts.ids, RAW, stop, **about)
    theirs = before_end(whole, prompts.eot)
    (theirs * weights).sum().backward()
    torch.testing.assert_close(ours, theirs, **EXACT)
    expected = gradients()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **EXACT)
    with torch.no_grad():
        torch.testing.assert_close(embeddings, clip.text.run(prompts.ids, **about), **EXACT)


def test_what_is_cached_is_not_packed(clip: CLIP) -> None:
    """Without gradients, tokens at a stage are those of whole rows, to the bit, whichever speed-ups are on."""
    prompts = clip.tokenize([f"a drawing of a {name}." for name in NAMES])
    with torch.no_grad():
        fast = clip.text.run(prompts.ids, RAW, 3, prompts.eot, shared=prompts.shared)
        clip.speedups.switch_off()
        assert torch.equal(fast, clip.text.run(prompts.ids, RAW, 3, prompts.eot))


@given(st.lists(st.integers(2, 7), min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_unpacking_gives_whole_rows_with_zeros_after_end_of_text(
    eots: list[int], groups: int, shared: int, drop_padding: bool
) -> None:
    eot = torch.tensor(eots * groups)
    x = torch.arange(len(eot) * (max(eots) + 2)).view(len(eot), -1, 1) + 1.0
    for group in range(groups):  # what is shared is the same in every row of a group
        x[group * len(eots) : (group + 1) * len(eots), :shared] = x[group * len(eots), :shared].clone()
    packing = pack_texts(x, eot, shared, groups, drop_padding)
    expected = x.clone()
    if drop_padding:
        expected[torch.arange(x.shape[1]) > eot[:, None]] = 0
    assert torch.equal(packing.unpack(packing.pack(x)), expected)
    # What is computed of a shared token counts in every row that shares it.
    packed = packing.pack(x).requires_grad_(True)
    packing.unpack(packed).sum().backward()
    times = torch.ones(len(packed), 1)
    times[: packing.num_shared] = len(eot) / packing.groups
    assert packed.grad is not None
    assert torch.equal(packed.grad, times)


@pytest.mark.parametrize("inserted", [0, 1, 30])
def test_texts_longer_than_the_context_are_masked_as_shorter_ones(clip: CLIP, inserted: int) -> None:
    """Tokens are inserted after the first one, so that all positions are behind it."""
    clip = clip.double()
    prompts = clip.tokenize([f"a drawing of a {name}." for name in NAMES])
    context = len(clip.text.positional_embedding)
    with torch.no_grad():
        ids = torch.nn.functional.pad(prompts.ids, (0, context - prompts.ids.shape[1]))
        x = clip.text.run(ids, stop=0)
    length = context + inserted
    mask = clip.text.attention_mask(length)
    assert torch.equal(mask, torch.full((length, length), float("-inf")).triu(1).to(mask))
    torch.manual_seed(0)
    new = torch.randn(1, inserted, x.shape[-1], dtype=x.dtype)
    x = torch.cat([x[:, :1], new.expand(len(x), -1, -1), x[:, 1:]], dim=1)
    eot, about = prompts.eot + inserted, {"shared": prompts.shared + inserted}
    with torch.no_grad():
        found = clip.text.run(x, 0, END, eot, **about)
        clip.speedups.switch_off()
        whole = clip.text.run(x, 0, END, eot)
        torch.testing.assert_close(found, whole, **EXACT)
        # The tower is causal: nothing after end-of-text counts, although all of it is computed.
        for row, end in enumerate(eot.tolist()):
            alone = clip.text.run(x[row : row + 1, : end + 1], 0, END, eot[row : row + 1])
            torch.testing.assert_close(alone, whole[row : row + 1], **EXACT)


def test_where_nothing_is_shared_nothing_is_cut() -> None:
    # The gradient of a slice is copied among zeros, even where the slice is everything.
    x = torch.randn(6, 4, requires_grad=True)
    assert Packing(2, 3).without_shared(x) is x
    assert torch.equal(Packing(2, 4, shared=2).without_shared(x), x[2:])
    kinds = [type(node).__name__ for node in unpacked_graph(Packing(2, 3), x)]
    assert not any("Slice" in kind for kind in kinds)


def unpacked_graph(packing: Packing, x: Tensor) -> list[object]:
    """What the backward pass computes of tokens that are put in rows and packed again."""
    nodes: list[object] = []
    node = packing.pack(packing.unpack(x)).grad_fn
    while node is not None:
        nodes.append(node)
        node = node.next_functions[0][0] if node.next_functions else None
    return nodes
