"""Each way to compute less gives the same outputs and the same gradients as computing everything."""

import copy
from contextlib import suppress
from dataclasses import fields
from functools import cache, lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.clip.load import load_backbone
from harness.clip.packing import Packing, pack_texts, put, take
from harness.clip.speedups import NO_SPEEDUPS, Speedups
from harness.clip.towers import CLIP, END, RAW
from harness.experiment.registry import method_class, method_names
from harness.machine.meter import peak_tensor_bytes, storage_bytes
from harness.training.precision import autocast
from harness.training.step import loss_of
from methods.base import OtherClassesError, Shots
from tests.method_texts import texts_for

NAMES = ["cat", "sports equipment", "asian dish", "asian dish", "bird", "thing that is rather long to say"]
SWITCHES = [field.name for field in fields(Speedups)]
OFF = vars(NO_SPEEDUPS)
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "coop": [
        {"n_ctx": 4},
        {"n_ctx": 4, "class_specific": True},
        {"class_token_position": "middle", "n_ctx": 5},
        {"class_token_position": "front", "n_ctx": 3},
        {"ctx_init": "a drawing of a"},
    ],
    "skip": [{"depth": 3}, {"depth": 5}, {"depth": 6}],
    "kgcoop": [{}, {"n_ctx": 3, "ctx_init": None, "class_specific": True}],
    "prograd": [{"n_ctx": 6}, {"n_ctx": 4, "ctx_init": None, "temperature": 2.0}],
    "tcp": [{"layer": 3}, {"layer": 0, "n_ctx": 2, "ctx_init": None}, {"layer": 5}],
    "dept": [{}, {"head_lr": 0.1}],
    "maple": [{"depth": 3}, {"depth": 1, "n_ctx": 3}],
    "vpt": [{"n_ctx": 3, "depth": 1}, {"depth": 4}, {}],
    "ivlp": [{}, {"depth_text": 3, "depth_image": 5, "n_ctx_text": 3}, {"depth_text": 1, "depth_image": 0}],
    "promptsrc": [{"depth_text": 3, "depth_image": 5}, {"depth_text": 6, "depth_image": 0, "n_ctx_text": 2}],
    "coprompt": [{"depth": 3}, {"depth": 1, "n_ctx": 3, "distance": "mse"}],
    "image_tail": [{"depth": 0}, {"depth": 4}, {}],
    "finetune": [{}, {"depth": 6}],
    "clip_lora": [
        {"params": ("q", "k", "v", "o")},
        {"encoder": "text", "params": ("q", "o"), "position": "half-up", "dropout": 0.0},
        {"encoder": "vision", "layers": (1, 5)},
    ],
    "mma": [{"scale": 0.1}, {"start": 2, "end": 4}],
    "mmrl": [{}, {"rep_layers": (2, 5), "n_rep_tokens": 2, "rep_dim": 16}],
}
CASES = [(name, options) for name in method_names() for options in VARIANTS.get(name, [{}])]


@cache
def embedded() -> CLIP:
    """The embedded CLIP, of which every outcome uses a copy."""
    return load_backbone("clip-emoji")


def outcome(name: str, options: dict[str, Any], speedups: dict[str, Any]) -> dict[str, Tensor]:
    """Loss, gradients and logits on training and on other classes, computed with some speed-ups switched."""
    loaded = embedded()
    clip = copy.deepcopy(loaded, {id(loaded.tokenizer): loaded.tokenizer})
    for switch, value in speedups.items():
        setattr(clip.speedups, switch, value)
    cls = method_class(name)
    torch.manual_seed(0)
    config = cls.Config(**options)
    cache_text = speedups != OFF
    method = cls(clip, config, clip.tokenize(texts_for(cls, config, NAMES)), cache_text=cache_text)
    pixels = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 2, 5, 1])
    with torch.no_grad():
        x = clip.image.run(pixels, RAW, method.image_start)
        frozen = clip.image.run(pixels) if cls.frozen_view else None
    if method.is_fitted():
        method.fit(Shots(x[None], labels, 1))
    found: dict[str, Tensor] = {}
    trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
    if trained:
        loss = loss_of(method, x, labels, frozen)
        loss.backward()
        with torch.no_grad():
            method.change_gradients()
        found = {"loss": loss.detach(), **{f"grad {key}": p.grad for key, p in trained.items() if p.grad is not None}}
        assert len(found) == 1 + len(trained)
    with torch.no_grad():
        found["logits"] = method.logits(x, method.text_features())
        with suppress(OtherClassesError):
            method.set_classes(clip.tokenize(texts_for(cls, config, ("arrow", "blue square"))))
            found["new"] = method.logits(x, method.text_features())
    return found


@lru_cache(maxsize=1)
def outcome_without(case: int) -> dict[str, Tensor]:
    """The outcome of a case without any speed-up; kept, as the next test compares another speed-up with it."""
    return outcome(*CASES[case], OFF)


# A case with one speed-up after the other.
@pytest.mark.parametrize("switch", ["all", *SWITCHES])
@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda case: f"{CASES[case][0]}-{CASES[case][1]}")
def test_a_speedup_changes_no_result(case: int, switch: str) -> None:
    name, options = CASES[case]
    off = outcome_without(case)
    on = outcome(name, options, {} if switch == "all" else {key: value for key, value in OFF.items() if key != switch})
    assert on.keys() == off.keys()
    for key, value in off.items():
        torch.testing.assert_close(on[key], value, rtol=1e-4, atol=1e-5 * max(1.0, float(value.abs().max())), msg=key)


def count(clip: CLIP, block: torch.nn.Module) -> list[int]:
    """A list that grows by the number of tokens whenever the block's MLP computes."""
    seen: list[int] = []
    block.mlp.c_fc.register_forward_hook(lambda _, x, y: seen.append(x[0].numel() // x[0].shape[-1]))
    return seen


def test_only_what_matters_goes_through_a_block(clip: CLIP) -> None:
    texts = [f"a drawing of a {name}." for name in NAMES]
    prompts = clip.tokenize(texts)
    assert prompts.shared == 5
    own = int((prompts.eot + 1 - 5).sum())
    first, last = count(clip, clip.text.blocks[0]), count(clip, clip.text.blocks[-1])
    clip.text.run(prompts.ids, shared=prompts.shared)
    assert (first, last) == ([5 + own], [len(NAMES)])
    last_image = count(clip, clip.image.blocks[-1])
    clip.image.run(torch.zeros(3, 3, 48, 48))
    assert last_image == [3]
    clip.speedups.switch_off()
    prompts = clip.tokenize(texts)
    assert prompts.shared == 0
    clip.text.run(prompts.ids, shared=prompts.shared)
    context = clip.text.positional_embedding.shape[0]
    assert first[1:] == last[1:] == [len(NAMES) * context]


@given(
    st.lists(st.integers(2, 7), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(0, 2),
    st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_packing_keeps_every_token_that_is_seen(eots: list[int], groups: int, shared: int, drop_padding: bool) -> None:
    eot = torch.tensor(eots * groups)
    x = torch.arange(len(eot) * (max(eots) + 1)).view(len(eot), -1, 1) + 1
    for group in range(groups):  # what is shared is the same in every row of a group
        x[group * len(eots) : (group + 1) * len(eots), :shared] = x[group * len(eots), :shared].clone()
    packing = pack_texts(x, eot, shared, groups, drop_padding)
    packed = packing.pack(x)
    kept = eot + 1 if drop_padding else torch.full_like(eot, x.shape[1])
    assert len(packed) == packing.num_shared + int((kept - packing.shared).sum())
    padded = packing.pad_own(packed[packing.num_shared :])
    for row, tokens in enumerate(padded):
        seen = int(kept[row]) - packing.shared
        assert torch.equal(tokens[:seen], x[row, packing.shared :][:seen])
        assert not tokens[seen:].any()
    assert torch.equal(packed[packing.place_of(eot)], x[torch.arange(len(x)), eot])


def test_put_and_take_are_each_others_gradient() -> None:
    places = torch.tensor([4, 0, 2])
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(take(x, places), x[places])
    assert torch.equal(put(rows, places, 5)[places], rows)
    assert torch.autograd.gradcheck(lambda x: take(x, places), (x,))
    assert torch.autograd.gradcheck(lambda rows: put(rows, places, 5), (rows,))


def test_packing_of_everything_is_a_reshape() -> None:
    x = torch.randn(2, 3, 4)
    packing = Packing(2, 3)
    assert (packing.shared, packing.own) == (0, None)
    assert torch.equal(packing.pack(x), x.flatten(0, 1))


def test_towers_with_other_blocks_are_computed_whole(clip: CLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = clip.tokenize([f"a drawing of a {name}." for name in NAMES])
    fast = clip.text.run(prompts.ids, RAW, END, shared=prompts.shared)
    monkeypatch.setattr("harness.clip.stages.is_divisible", lambda block: False)
    seen = count(clip, clip.text.blocks[0])
    torch.testing.assert_close(clip.text.run(prompts.ids, RAW, END, shared=prompts.shared), fast, rtol=1e-4, atol=1e-5)
    assert seen == [prompts.ids.numel()]


def test_narrow_towers_keep_cheap_outputs_and_wide_ones_compute_them_again(
    clip: CLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers = (clip.image, clip.text)
    assert [tower.width for tower in towers] == [128, 96]
    assert [tower.recomputes for tower in towers] == [False, False]
    monkeypatch.setattr("harness.clip.stages.WIDE", 128)
    assert [tower.recomputes for tower in towers] == [True, False]
    clip.speedups.switch_off()
    assert [tower.recomputes for tower in towers] == [False, False]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cheap_outputs_are_not_kept_for_the_backward_pass(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.clip.stages.WIDE", 0)
    peaks, gradients = [], []
    for recompute in (False, True):
        clip = load_backbone("clip-emoji")
        clip.speedups.recompute_cheap = recompute
        clip.image.requires_grad_(True)
        pixels = torch.randn(8, 3, 48, 48, generator=torch.Generator().manual_seed(0))

        def work(clip: CLIP = clip, pixels: Tensor = pixels) -> None:
            with autocast(precision, clip.device):
                loss = clip.image.run(pixels).square().sum()
            loss.backward()

        peaks.append(peak_tensor_bytes(work, clip.parameters()) - storage_bytes(clip.parameters()))
        gradients.append([p.grad.clone() for p in clip.image.parameters() if p.grad is not None])
    # Without them, ten of sixteen tokens' widths stay of a block (QuickGELU: of twenty).
    assert peaks[1] < 0.8 * peaks[0]
    for computed, kept in zip(*gradients, strict=True):
        assert torch.equal(computed, kept)
