"""What repeated blocks cost must be what they cost when each is computed."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.clip.blocks import run_packed
from harness.clip.load import build_without_weights
from harness.clip.packing import Packing
from harness.clip.towers import CLIP, END
from harness.estimate import repeated_blocks
from harness.estimate.fake_tensors import FakeMode, fake_tensors
from harness.estimate.repeated_blocks import RepeatedBlocks
from harness.machine.meter import LiveBytes, count_flops

BLOCKS = 12


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The blocks that were computed."""
    blocks: list[Any] = []

    def noting(block: Any, *args: Any) -> Tensor:
        blocks.append(block)
        return run_packed(block, *args)

    monkeypatch.setattr(repeated_blocks, "run_packed", noting)
    return blocks


def build(compute: Any) -> CLIP:
    clip = build_without_weights("ViT-B-16").requires_grad_(False)
    clip.image.compute_block = compute
    return clip


def watched(clip: CLIP, images: int, knows_weights: bool = True) -> tuple[int, dict[str, int], int, torch.dtype]:
    """Peak, its kinds, what is alive at the end, and the type of the embeddings of blank images."""
    pixels = torch.zeros(images, 3, clip.image_size, clip.image_size)
    with LiveBytes([pixels, *(clip.parameters() if knows_weights else [])]) as watch:
        watch.label([pixels], "inputs")
        embeddings = clip.image.run(pixels, stop=END)
    return watch.peak, watch.peak_by_kind, watch.live, embeddings.dtype


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("knows_weights", [False, True])
def test_peaks_are_those_of_computed_blocks(computed: list[Any], autocast: bool, knows_weights: bool) -> None:
    with fake_tensors(FakeMode()), torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        plain, short = build(run_packed), build(RepeatedBlocks())
        for images in (1, 3, 1):
            assert watched(short, images, knows_weights) == watched(plain, images, knows_weights)
    if knows_weights:
        # For both numbers of images a block of the first kind, and always the last one, of which one token is read.
        assert len(computed) == 2 * 1 + 3


def test_weights_that_train_are_copied_by_autocast_and_always_computed(computed: list[Any]) -> None:
    with fake_tensors(FakeMode()), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain, short = build(run_packed), build(RepeatedBlocks())
        for clip in (plain, short):
            clip.image.requires_grad_(True)
        assert watched(short, 1) == watched(plain, 1)
    assert len(computed) == BLOCKS


def test_operations_and_gradients_are_always_computed(computed: list[Any]) -> None:
    with fake_tensors(FakeMode()):
        plain, short = build(run_packed), build(RepeatedBlocks())
        pixels = torch.zeros(1, 3, short.image_size, short.image_size)
        with torch.no_grad():
            counts = [count_flops(lambda clip=clip: clip.image.run(pixels)) for clip in (plain, short)]
        assert counts[0] == counts[1] > 0
        assert len(computed) == BLOCKS
        short.image.run(pixels)
        assert len(computed) == 2 * BLOCKS


def test_other_shapes_are_other_costs_and_a_copied_tower_shares_them(computed: list[Any]) -> None:
    with fake_tensors(FakeMode()), torch.no_grad():
        short = build(RepeatedBlocks())
        block, width = short.image.blocks[0], short.image.ln_post.weight.shape[0]
        twins = copy.deepcopy(short)
        for rows, expected in ((1, 1), (2, 2), (1, 2)):
            for clip in (short, twins):
                x = torch.zeros(rows * 6, width)
                y = clip.image.compute_block(block, x, Packing(rows, 6), None)
                assert (y.shape, y.dtype) == (x.shape, x.dtype)
            assert len(computed) == expected
        block.attn.num_heads *= 2
        short.image.compute_block(block, torch.zeros(6, width), Packing(1, 6), None)
        assert len(computed) == 3
