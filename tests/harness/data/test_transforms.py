"""Test pictures against torchvision's transforms; training crops by their properties."""

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from harness.data.transforms import TestTransform, TrainTransform, random_crop, transform_hash

SIDES = (20, 31, 48, 49, 64, 77, 101, 120)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def assert_like_torchvision(width: int, height: int, size: int) -> None:
    image = noise(width, height)
    expected = Compose([Resize(size, interpolation=InterpolationMode.BICUBIC), CenterCrop(size)])(image)
    assert np.array_equal(np.array(TestTransform(size)(image, "any")), np.array(expected))


@pytest.mark.parametrize("size", [48, 63])
@pytest.mark.parametrize("height", SIDES)
@pytest.mark.parametrize("width", SIDES)
def test_test_pictures_equal_torchvision(width: int, height: int, size: int) -> None:
    assert_like_torchvision(width, height, size)


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (640, 480), (333, 500), (1024, 683), (256, 224)])
def test_photos_equal_torchvision(width: int, height: int) -> None:
    assert_like_torchvision(width, height, 224)


@pytest.mark.parametrize(
    ("width", "height", "size"), [(330, 220, 224), (220, 440, 224), (284, 639, 224), (598, 299, 224), (55, 11, 48)]
)
def test_sides_that_scale_to_a_whole_number_equal_torchvision(width: int, height: int, size: int) -> None:
    # size * long / short is exact here; long * (size / short) falls a hair below the whole number.
    assert_like_torchvision(width, height, size)


def test_a_test_picture_of_the_right_size_is_left_alone() -> None:
    image = noise(48, 48)
    assert np.array_equal(np.array(TestTransform(48)(image, "")), np.array(image))


BOXES = st.tuples(
    st.integers(1, 400), st.integers(1, 400), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 9999)
)


@given(BOXES)
def test_crops_lie_within_the_picture(case: tuple[int, int, float, float, int]) -> None:
    width, height, one, other, seed = case
    left, top, right, bottom = random_crop(width, height, (min(one, other), max(one, other)), random.Random(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@given(st.integers(8, 500), st.floats(0.05, 0.7), st.floats(0.05, 0.7), st.integers(0, 9999))
def test_area_and_aspect_ratio_of_crops(side: int, one: float, other: float, seed: int) -> None:
    # In a square, crops of up to 3/4 of the area fit whatever their aspect ratio.
    low, high = min(one, other), max(one, other)
    left, top, right, bottom = random_crop(side, side, (low, high), random.Random(seed))
    width, height = right - left, bottom - top
    # Each side was rounded by up to half a pixel.
    assert (width - 0.5) * (height - 0.5) <= high * side * side * (1 + 1e-9)
    assert (width + 0.5) * (height + 0.5) >= low * side * side * (1 - 1e-9)
    assert (width - 0.5) / (height + 0.5) <= 4 / 3 + 1e-9
    assert (width + 0.5) / (height - 0.5) >= 3 / 4 - 1e-9


def test_crops_use_the_whole_range_of_area_aspect_ratio_and_place() -> None:
    boxes = [random_crop(1000, 1000, (0.2, 0.6), random.Random(seed)) for seed in range(500)]
    areas = [(right - left) * (bottom - top) / 1e6 for left, top, right, bottom in boxes]
    ratios = [math.log((right - left) / (bottom - top)) / math.log(4 / 3) for left, top, right, bottom in boxes]
    assert np.quantile(areas, [0.01, 0.25, 0.5, 0.75, 0.99]) == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6], abs=0.03)
    assert np.quantile(ratios, [0.01, 0.25, 0.5, 0.75, 0.99]) == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=0.15)
    lefts = [left / (1000 - (right - left)) for left, _, right, _ in boxes]
    tops = [top / (1000 - (bottom - top)) for _, top, _, bottom in boxes]
    for places in (lefts, tops):
        assert np.quantile(places, [0.01, 0.5, 0.99]) == pytest.approx([0, 0.5, 1], abs=0.08)


@pytest.mark.parametrize(("width", "height", "box"), [(900, 100, (384, 0, 517, 100)), (100, 900, (0, 384, 100, 517))])
def test_a_picture_in_which_no_crop_fits_gives_the_largest_centred_one(width: int, height: int, box: Any) -> None:
    assert random_crop(width, height, (1.0, 1.0), random.Random(1)) == pytest.approx(box, abs=1)


@settings(max_examples=30)
@given(st.integers(1, 120), st.integers(1, 120), st.text(max_size=20))
def test_the_key_alone_decides_the_view(width: int, height: int, key: str) -> None:
    transform, image = TrainTransform(16), noise(width, height)
    random.seed(1)
    first = np.array(transform(image, key))
    random.seed(2)
    assert first.shape == (16, 16, 3)
    assert np.array_equal(np.array(TrainTransform(16)(image.copy(), key)), first)


def test_keys_give_different_views() -> None:
    image = noise(64, 64)
    views = {TrainTransform(16)(image, f"1/{epoch}/a.png").tobytes() for epoch in range(50)}
    assert len(views) == 50


def test_half_of_the_views_are_mirrored() -> None:
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (64, 64, 3))
    image = Image.fromarray(np.ascontiguousarray(ramp))

    def is_mirrored(transform: TrainTransform, key: str) -> bool:
        view = np.array(transform(image, key)).astype(int)
        return bool(view[:, 0].mean() > view[:, -1].mean())

    keys = [f"1/0/{number}.png" for number in range(400)]
    assert 160 < sum(is_mirrored(TrainTransform(16), key) for key in keys) < 240
    assert not any(is_mirrored(TrainTransform(16, flip=False), key) for key in keys)


def test_a_crop_of_everything_is_a_resize() -> None:
    image = noise(40, 40)
    view = TrainTransform(16, (1.0, 1.0), flip=False)
    expected = image.resize((16, 16), Image.Resampling.BICUBIC)
    # Only the aspect ratio is left to chance, and only 1 fits.
    assert any(np.array_equal(np.array(view(image, str(key))), np.array(expected)) for key in range(50))


def test_the_hash_changes_with_every_field() -> None:
    train, test, mean, std = TrainTransform(48), TestTransform(48), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    hashes = [
        transform_hash([train, test], mean, std),
        transform_hash([TrainTransform(32), test], mean, std),
        transform_hash([TrainTransform(48, (0.1, 1.0)), test], mean, std),
        transform_hash([TrainTransform(48, (0.08, 0.9)), test], mean, std),
        transform_hash([TrainTransform(48, flip=False), test], mean, std),
        transform_hash([train, TestTransform(32)], mean, std),
        transform_hash([train], mean, std),
        transform_hash([test, train], mean, std),
        transform_hash([train, test], (0.5, 0.5, 0.4), std),
        transform_hash([train, test], mean, (0.2, 0.2, 0.3)),
        transform_hash([train, test], std, mean),
    ]
    assert len(set(hashes)) == len(hashes)
    assert transform_hash([TrainTransform(48, (0.08, 1.0), True), TestTransform(48)], mean, std) == hashes[0]
