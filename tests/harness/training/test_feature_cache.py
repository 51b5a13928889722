"""Training images at a method's stage."""

import pytest
import torch

from harness.clip.towers import CLIP, END, RAW
from harness.data.datasets import read_dataset
from harness.data.loader import PictureSet
from harness.data.transforms import TrainTransform
from harness.experiment.training_spec import TrainSpec
from harness.machine.meter import Meter
from harness.training.feature_cache import TrainingImages

INDICES = [[4, 0, 2], [1, 3, 5]]


def make_images(clip: CLIP, stage: int, **train: object) -> TrainingImages:
    splits = read_dataset("emoji", None)
    pictures = PictureSet(splits.folder, splits.train[:7])
    meter = Meter(torch.device("cpu"))
    return TrainingImages(clip, pictures, TrainTransform(48), stage, TrainSpec(**train), 1, meter)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", [0, 2, 6, END])
@pytest.mark.parametrize("cache", ["none", "fresh", "once"])
def test_batches_are_the_augmented_pictures_at_the_stage(clip: CLIP, stage: int, cache: str) -> None:
    images = make_images(clip, stage, cache=cache, cache_batch_size=4)
    for epoch in (0, 1):
        images.prepare(epoch)
        batches = list(images.batches(epoch, INDICES))
        shown = 0 if cache == "once" and stage > 0 else epoch
        for indices, (x, labels), pixels in zip(INDICES, batches, images.pixels(shown, INDICES), strict=True):
            # Batches of another size round differently, and tokens behind the last block are large.
            torch.testing.assert_close(x, clip.image.run(pixels, RAW, stage), rtol=1e-4, atol=1e-4)
            assert labels.tolist() == [images.pictures.pictures[index].label for index in indices]


def test_frozen_blocks_run_once_a_picture_and_epoch(clip: CLIP) -> None:
    images = make_images(clip, 3, cache_batch_size=4)
    assert images.is_cached
    for epoch in (0, 0, 1):
        images.prepare(epoch)
        list(images.batches(epoch, INDICES))
    assert images.meter.phases["cache"].images == 2 * 7
    assert images.resident()[0].shape == (7, 37, 128)


def test_the_patch_embedding_alone_is_not_worth_a_cache(clip: CLIP) -> None:
    images = make_images(clip, 0)
    images.prepare(0)
    assert not images.is_cached
    assert images.resident() == []
    assert images.meter.phases["cache"].seconds == 0


def test_a_measurement_computes_a_part_of_the_cache_and_leaves_it_unfilled(clip: CLIP) -> None:
    images = make_images(clip, 3, cache_batch_size=4)
    images.prepare(0, batches=1)
    assert images.meter.phases["cache"].images == 4
    images.prepare(0)
    assert images.meter.phases["cache"].images == 4 + 7


@pytest.mark.parametrize("cache", ["none", "fresh"])
def test_a_hook_sees_all_inputs_of_a_batch_before_they_are_used(clip: CLIP, cache: str) -> None:
    images = make_images(clip, 3, cache=cache, cache_batch_size=4)
    seen: list[torch.Tensor] = []
    images.on_inputs = seen.append
    images.prepare(0)
    filled = [4, 3] if cache == "fresh" else []
    assert [tensor.shape for tensor in seen] == [(number, 3, 48, 48) for number in filled]
    seen.clear()
    ((x, labels),) = images.batches(0, [[4, 0, 2]])
    assert [tensor is known for tensor, known in zip(seen[-2:], (x, labels), strict=True)] == [True, True]
    assert [tensor.shape for tensor in seen[:-2]] == ([(3, 3, 48, 48)] if cache == "none" else [])


def test_views_depend_on_seed_epoch_and_picture_only(clip: CLIP) -> None:
    images = make_images(clip, 0)
    (one,), (other,) = images.pixels(0, [[0, 1, 2]]), images.pixels(0, [[2, 0]])
    assert torch.equal(one[2], other[0])
    assert torch.equal(one[0], other[1])
    (later,) = images.pixels(1, [[0, 1, 2]])
    assert not torch.equal(one, later)


@pytest.mark.parametrize("cache", ["none", "fresh"])
def test_epochs_take_turns_with_a_number_of_views(clip: CLIP, cache: str) -> None:
    images = make_images(clip, 2, cache=cache, views=2, cache_batch_size=4)
    for epoch in range(5):
        images.prepare(epoch)
        pixels = images.pixels(epoch % 2, INDICES)
        for (x, _), shown in zip(images.batches(epoch, INDICES), pixels, strict=True):
            torch.testing.assert_close(x, clip.image.run(shown, RAW, 2), rtol=1e-4, atol=1e-4)
    if cache == "fresh":
        assert images.meter.phases["cache"].images == 2 * 7


@pytest.mark.parametrize("cache", ["none", "fresh"])
def test_batches_of_all_views_take_rows_of_the_views_one_after_the_other(clip: CLIP, cache: str) -> None:
    images = make_images(clip, END, cache=cache, views=3, batches="all_views", cache_batch_size=4)
    images.prepare(0)
    bank = images.first_views(3).flatten(0, 1)
    rows = [[20, 0, 7], [13]]
    for batch, (x, labels) in zip(rows, images.batches(4, rows), strict=True):
        torch.testing.assert_close(x, bank[batch], rtol=1e-4, atol=1e-4)
        assert labels.tolist() == [images.pictures.pictures[row % 7].label for row in batch]


@pytest.mark.parametrize("cache", ["none", "fresh"])
def test_batches_of_all_views_take_the_only_view_of_an_epoch_where_each_has_its_own(clip: CLIP, cache: str) -> None:
    images = make_images(clip, END, cache=cache, batches="all_views", cache_batch_size=4)
    for epoch in (0, 1):
        images.prepare(epoch)
        pixels = images.pixels(epoch, INDICES)
        for (x, _), shown in zip(images.batches(epoch, INDICES), pixels, strict=True):
            torch.testing.assert_close(x, clip.image.run(shown), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("views", "count"), [(None, 1), (None, 3), (4, 3), (2, 3)])
def test_the_first_views_are_those_of_the_first_epochs(clip: CLIP, views: int | None, count: int) -> None:
    images = make_images(clip, END, views=views, cache_batch_size=4)
    found = images.first_views(count)
    assert found.shape == (count, 7, clip.embed_dim)
    for view in range(count):
        pixels = torch.cat(list(images.pixels(view, images.pictures.in_order(4))))
        torch.testing.assert_close(found[view], clip.image.run(pixels), rtol=1e-4, atol=1e-4)
