"""What is computed beside the layers of a block, against other weights of a copy and against hooks on whole blocks."""

import copy
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.clip.blocks import Beside
from harness.clip.packing import Tokens
from harness.clip.speedups import NO_SPEEDUPS, Speedups
from harness.clip.towers import CLIP, END, Tower
from harness.errors import UserError

OFF = vars(NO_SPEEDUPS)
SWITCHES = [field.name for field in fields(Speedups)]
WAYS = ["all", "none", *SWITCHES]
NAMES = ["cat", "sports equipment", "bird", "thing that is rather long to say"]
BLOCKS, RANK = (0, 3, 5), 3
EXACT = {"rtol": 1e-8, "atol": 1e-10}


@pytest.fixture
def double(clip: CLIP) -> CLIP:
    """The embedded CLIP in float64, all of whose weights train: what differs is no rounding."""
    clip.double()
    clip.image.requires_grad_(True)
    clip.text.requires_grad_(True)
    return clip


def switch(clip: CLIP, way: str) -> CLIP:
    """Leave all speed-ups on, or none, or only one."""
    for name, value in OFF.items():
        if way not in ("all", name):
            setattr(clip.speedups, name, value)
    return clip


class LowRank(nn.Module):
    """x A^T B^T for tokens x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, width, dtype=torch.float64) / width**0.5)
        self.up = nn.Parameter(torch.randn(width, RANK, dtype=torch.float64) / RANK**0.5)

    def forward(self, x: Tensor, tokens: Tokens) -> Tensor:
        return x @ self.down.T @ self.up.T


def pixels(rows: int = 3) -> Tensor:
    return torch.randn(rows, 3, 48, 48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def inputs(clip: CLIP, which: str) -> tuple[Tower, Tensor, dict[str, Any]]:
    """A tower, raw input, and how to run it."""
    if which == "image":
        return clip.image, pixels(), {}
    prompts = clip.tokenize([f"a drawing of a {name}." for name in NAMES])
    return clip.text, prompts.ids, {"eot": prompts.eot, "shared": prompts.shared}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def weighted_sum(x: Tensor) -> Tensor:
    """A scalar in which every number has a weight of its own."""
    return (x * torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)).sum()


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, **EXACT, msg=lambda text, name=name: f"{name}: {text}")


def other_weights(clip: CLIP, added: dict[int, dict[str, LowRank]], which: str) -> CLIP:
    """A copy whose projections have the weights W + B A, computed as the reference code does."""
    changed = copy.deepcopy(clip, {id(clip.tokenizer): clip.tokenizer})
    changed.speedups.switch_off()
    with torch.no_grad():
        for number, layers in added.items():
            attention: Any = getattr(changed, which).blocks[number].attn
            for place, part in enumerate("qkv"):
                rows = attention.in_proj_weight.chunk(3)[place]
                rows += layers[part].up @ layers[part].down if part in layers else 0
            if "o" in layers:
                attention.out_proj.weight += layers["o"].up @ layers["o"].down
    return changed


@pytest.mark.parametrize("parts", ["k", "o", "qv", "qkvo"])
@pytest.mark.parametrize("which", ["image", "text"])
@pytest.mark.parametrize("way", ["all", "none", "read_one_token"])
def test_a_product_beside_a_projection_equals_other_weights_of_it(
    double: CLIP, which: str, parts: str, way: str
) -> None:
    torch.manual_seed(0)
    width = len(getattr(double, which).blocks[0].ln_1.weight)
    added = {block: {part: LowRank(width) for part in parts} for block in BLOCKS}
    changed = other_weights(double, added, which)
    other, raw, about = inputs(changed, which)
    expected = other.run(raw, **about)
    weighted_sum(expected).backward()

    tower, raw, about = inputs(switch(double, way), which)
    found = tower.run(raw, **about, beside={block: Beside(projections=layers) for block, layers in added.items()})
    weighted_sum(found).backward()
    torch.testing.assert_close(found, expected, **EXACT)
    # The weights themselves have the gradients of the changed ones, and the factors those of the chain rule.
    assert_close(gradients(tower), gradients(other))
    for number, layers in added.items():
        attention: Any = other.blocks[number].attn
        whole = dict(
            zip("qkvo", [*attention.in_proj_weight.grad.chunk(3), attention.out_proj.weight.grad], strict=True)
        )
        for part, layer in layers.items():
            torch.testing.assert_close(layer.up.grad, whole[part] @ layer.down.T, **EXACT)
            torch.testing.assert_close(layer.down.grad, layer.up.T @ whole[part], **EXACT)


def keep_of(rows: int, length: int, width: int) -> Tensor:
    """A mask (B, T, width) like those of dropout."""
    drawn = torch.rand(rows, length, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return (drawn > 0.3).double()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("which", ["image", "text"])
def test_what_is_beside_a_block_and_picks_rows_of_a_mask_equals_a_hook_on_whole_blocks(
    double: CLIP, which: str, way: str
) -> None:
    """Masks differ between all rows, so that texts share nothing."""
    tower, raw, about = inputs(switch(double, way), which)
    about = {**about, "shared": 0} if about else {}
    torch.manual_seed(0)
    stage0 = tower.run(raw, stop=0)
    rows, length, width = stage0.shape
    layers = {block: LowRank(width) for block in BLOCKS}
    mask = keep_of(rows, length, width)

    def masked(layer: LowRank) -> Any:
        return lambda x, tokens: layer(x * tokens.of(mask), tokens)

    def outcome(**beside: Any) -> tuple[Tensor, dict[str, Tensor]]:
        found = tower.run(raw, **about, **beside)
        weighted_sum(found).backward()
        grads = gradients(tower) | {
            f"{block}.{name}": grad for block, layer in layers.items() for name, grad in gradients(layer).items()
        }
        for module in (tower, *layers.values()):
            module.zero_grad()
        return found, grads

    found, ours = outcome(beside={block: Beside(block=masked(layer)) for block, layer in layers.items()})
    double.speedups.switch_off()

    def hook(layer: LowRank) -> Any:
        def add(block: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output + (block.ln_1(args[0]) * mask) @ layer.down.T @ layer.up.T

        return add

    for block, layer in layers.items():
        tower.blocks[block].register_forward_hook(hook(layer))
    expected, theirs = outcome()
    torch.testing.assert_close(found, expected, **EXACT)
    assert_close(ours, theirs)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("has_hook", [False, True])
def test_groups_of_texts_that_share_what_comes_first(double: CLIP, way: str, has_hook: bool) -> None:
    """As methods that write a context for each image: two groups, whose first tokens are of their own."""
    torch.manual_seed(0)
    prompts = double.tokenize([f"a drawing of a {name}." for name in NAMES])
    groups, shared, eot = 2, 4, prompts.eot.repeat(2)
    with torch.no_grad():
        x = double.text.run(prompts.ids, stop=0).repeat(groups, 1, 1)
        x[: len(NAMES), 1:shared] = torch.randn(1, shared - 1, x.shape[-1], dtype=x.dtype)
    layers = {part: LowRank(x.shape[-1]) for part in "qkvo"}
    whole = LowRank(x.shape[-1])
    about = {"before_block": lambda block, x: torch.cat([x[:, :2] * 0.5, x[:, 2:]], dim=1)} if has_hook else {}
    additions = {block: Beside(projections=layers, block=whole) for block in BLOCKS}

    def outcome(**sharing: int) -> dict[str, Tensor]:
        found = double.text.run(x, 0, END, eot, beside=additions, **about, **sharing)
        weighted_sum(found).backward()
        modules = {"tower": double.text, "block": whole, **layers}
        grads = {f"{key}.{name}": value for key, m in modules.items() for name, value in gradients(m).items()}
        for module in modules.values():
            module.zero_grad()
        return {"embeddings": found.detach(), **grads}

    switch(double, way)
    ours = outcome(shared=shared, groups=groups)
    double.speedups.switch_off()
    assert_close(ours, outcome())


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("way", WAYS)
def test_the_first_tokens_are_read_whichever_speedups_are_on(double: CLIP, number: int, way: str) -> None:
    torch.manual_seed(0)
    tower, width = double.image, 128
    layers, raw = {part: LowRank(width) for part in "qkvo"}, pixels()
    whole = LowRank(width)
    mask = keep_of(len(raw), 37, width)
    beside = {
        block: Beside(projections=layers, block=lambda x, tokens: whole(x * tokens.of(mask), tokens))
        for block in BLOCKS
    }

    def outcome(found: Tensor) -> dict[str, Tensor]:
        weighted_sum(found).backward()
        modules = {"tower": tower, "block": whole, **layers}
        grads = {f"{key}.{name}": value for key, m in modules.items() for name, value in gradients(m).items()}
        for module in modules.values():
            module.zero_grad()
        return {"embeddings": found.detach(), **grads}

    switch(double, way)
    ours = outcome(tower.run(raw, num_read=number, beside=beside))
    double.speedups.switch_off()
    # The definition: all tokens, the final LayerNorm, the projection, and then the first ones.
    tokens = tower.run(raw, stop=tower.num_blocks, beside=beside)
    theirs = outcome((tower.ln_post(tokens) @ tower.proj)[:, :number])
    assert ours["embeddings"].shape == (len(raw), number, double.embed_dim)
    assert_close(ours, theirs)


@pytest.mark.parametrize("way", WAYS)
def test_one_token_that_is_read_is_the_class_token(double: CLIP, way: str) -> None:
    switch(double, way)
    one, usual = double.image.run(pixels(), num_read=1), double.image.run(pixels())
    assert torch.equal(one, usual[:, None])
    prompts = double.tokenize(NAMES)
    with pytest.raises(ValueError, match="only its end-of-text token is read, not 2 tokens"):
        double.text.run(prompts.ids, num_read=2)


def test_nothing_can_be_beside_the_layers_of_unusual_blocks(clip: CLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.clip.stages.is_divisible", lambda block: False)
    beside = {0: Beside(block=lambda x, tokens: x)}
    for way in ("all", "none"):
        with pytest.raises(UserError, match=r"of an unusual kind.*use another backbone or another method") as caught:
            switch(clip, way).image.run(torch.zeros(1, 3, 48, 48), beside=beside)
        assert "\n" not in str(caught.value)
