"""Low-rank changes: what they compute, what their backward pass keeps, and what dropout drops."""

import pytest
import torch
import torch.nn.functional as F

from harness.clip.low_rank import POSITIONS, LowRank, draw_kept, kept_change, low_rank_changes


def test_what_is_dropped_takes_no_part_in_outputs_or_gradients() -> None:
    torch.manual_seed(0)
    x, a, b = (torch.randn(shape).double().requires_grad_() for shape in ((7, 6), (2, 6), (6, 2)))
    keep = torch.rand(7, 6) < 0.7
    assert torch.equal(kept_change(x, keep, a, b, 0.3), F.linear(F.linear(x * keep, a) * 0.3, b))
    assert torch.autograd.gradcheck(lambda x, a, b: kept_change(x, keep, a, b, 0.3), (x, a, b))


def test_the_backward_pass_keeps_the_input_and_the_mask_and_no_copy() -> None:
    x, keep = torch.randn(50, 8, requires_grad=True), torch.ones(50, 8, dtype=torch.bool)
    kept: list[torch.Tensor] = []
    a, b = torch.randn(2, 8, requires_grad=True), torch.randn(8, 2, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value) or value, lambda value: value):
        kept_change(x, keep, a, b, 0.3)
    places = {value.data_ptr() for value in (x, keep, a, b)}
    assert [tuple(value.shape) for value in kept if value.data_ptr() not in places] == [(50, 2)]


@pytest.mark.parametrize("masked", [False, True])
def test_a_change_as_factors_is_that_of_the_whole_matrix(masked: bool) -> None:
    torch.manual_seed(0)
    change = LowRank(8, 2).double()
    torch.nn.init.normal_(change.w_lora_B)
    x = torch.randn(5, 8).double()
    keep = torch.rand(5, 8) < 0.5 if masked else None
    dense = (x if keep is None else x * keep) @ (0.3 * change.w_lora_B @ change.w_lora_A).T
    for as_factors in (False, True):
        torch.testing.assert_close(change(x, 0.3, keep, as_factors), dense)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_under_autocast_have_the_types_of_their_tensors(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    change = LowRank(8, 2)
    torch.nn.init.normal_(change.w_lora_B)
    x, keep = torch.randn(5, 8, requires_grad=True), torch.rand(5, 8) < 0.5
    with torch.autocast("cpu", dtype):
        change(x, 0.5, keep).float().square().sum().backward()
    found = [x.grad, change.w_lora_A.grad, change.w_lora_B.grad]
    x.grad = change.w_lora_A.grad = change.w_lora_B.grad = None
    change(x, 0.5, keep).square().sum().backward()
    for narrow, exact in zip(found, [x.grad, change.w_lora_A.grad, change.w_lora_B.grad], strict=True):
        assert narrow is not None
        assert narrow.dtype == torch.float32
        torch.testing.assert_close(narrow, exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))


def test_a_change_begins_at_zero_and_within_the_usual_bound() -> None:
    change = LowRank(64, 4)
    assert (change.w_lora_A.shape, change.w_lora_B.shape) == ((4, 64), (64, 4))
    assert not change.w_lora_B.any()
    assert 0.11 < change.w_lora_A.abs().max().item() <= 1 / 8
    assert not change(torch.randn(3, 64), 1.0).any()


def test_rates_are_those_of_what_is_dropped() -> None:
    torch.manual_seed(0)
    kept = draw_kept((200, 300), 0.25, torch.device("cpu"))
    assert kept.dtype == torch.bool
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("shape", [(3, 5, 7), (64, 33)])
def test_what_is_kept_is_what_torch_itself_would_draw(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    theirs, after = torch.empty(shape, dtype=torch.bool).bernoulli_(0.75), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(draw_kept(shape, 0.25, torch.device("cpu")), theirs)
    assert torch.equal(torch.rand(1), after)


def test_parts_of_a_tower_are_those_of_the_authors_for_twelve_blocks() -> None:
    named = {name: list(blocks(12)) for name, blocks in POSITIONS.items()}
    assert named == {
        "all": list(range(12)), "bottom": [0, 1, 2, 3], "mid": [4, 5, 6, 7], "up": [8, 9, 10, 11],
        "half-bottom": [0, 1, 2, 3, 4, 5], "half-up": [6, 7, 8, 9, 10, 11], "top3": [9, 10, 11],
    }  # fmt: skip
    assert [[*POSITIONS[name](5)] for name in ("half-bottom", "half-up")] == [[0, 1], [2, 3, 4]]
    assert [[*POSITIONS[name](7)] for name in ("bottom", "mid", "up")] == [[0, 1], [2, 3, 4], [5, 6]]
    assert [*POSITIONS["top3"](2)] == [0, 1]


def test_changes_have_the_authors_names() -> None:
    changes = low_rank_changes(8, 2, [1, 3], ["q", "o"])
    projections = [f"{block}.attn.{name}" for block in (1, 3) for name in ("q_proj", "proj")]
    assert [name for name, _ in changes.named_parameters()] == [
        f"{name}.w_lora_{factor}" for name in projections for factor in "AB"
    ]
