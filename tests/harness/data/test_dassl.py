"""The draw of the official code: the same generator, the same order, the same sample."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.dassl import dassl_sample
from harness.data.imagenet import read_imagenet
from harness.data.readers import Picture, Splits
from harness.errors import UserError


def splits_of(train: list[int], val: list[int], order: bool = True) -> Splits:
    """Pictures with these labels, in this order."""
    parts = [
        tuple(Picture(f"{split}/{number}.jpg", label) for number, label in enumerate(labels))
        for split, labels in (("train", train), ("val", val))
    ]
    names = tuple(f"class {label}" for label in range(max(train, default=0) + 1))
    return Splits(Path("anywhere"), names, parts[0], parts[1], (), official_order=order)


def places(pictures: list[Picture]) -> list[int]:
    return [int(Path(picture.path).stem) for picture in pictures]


def as_the_official_code(splits: Splits, shots: int, seed: int) -> tuple[list[Picture], list[Picture]]:
    """What it does, in its order: seed the global generator, then draw each class of train, then each of val."""
    state = random.getstate()
    try:
        random.seed(seed)
        both = []
        for pictures, number in ((splits.train, shots), (splits.val, min(shots, 4))):
            appeared = list(dict.fromkeys(picture.label for picture in pictures))
            by_class = [[item for item in pictures if item.label == label] for label in appeared]
            both.append([one for items in by_class for one in random.sample(items, number)])
        return both[0], both[1]
    finally:
        random.setstate(state)


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(1, 6), st.integers(0, 2**32))
def test_the_very_sample(rng: random.Random, shots: int, seed: int) -> None:
    labels = [label for label in range(3) for _ in range(6 + 3 * label)]
    train, val = (rng.sample(labels, len(labels)) for _ in range(2))
    splits = splits_of(train, val)
    sample = dassl_sample("dtd", splits, shots, seed)
    for drawn, official in zip(sample, as_the_official_code(splits, shots, seed), strict=True):
        assert sorted(drawn) == sorted(official)
        assert [one for one in official if one.label == 2] == [one for one in drawn if one.label == 2]
        assert [one.label for one in drawn] == sorted(one.label for one in drawn)


def test_the_published_sample_of_eurosat() -> None:
    """1 shot, seed 1: the positions in the split file that cross_modal_adaptation published, drawn in this way."""
    counts = [1500, 1500, 1500, 1250, 1250, 1000, 1250, 1500, 1250, 1500]
    train, val = ([label for label, count in enumerate(counts) for _ in range(count * part // 5)] for part in (5, 2))
    sample = dassl_sample("eurosat", splits_of(train, val), 1, 1)
    assert places(sample.train) == [275, 2665, 3129, 5022, 5991, 7507, 8920, 10217, 11527, 12429]
    assert places(sample.val) == [96, 1099, 1229, 2257, 2727, 2999, 3421, 3702, 4656, 5256]


def test_pythons_generator_draws_as_it_did_for_the_papers() -> None:
    """Classes in the order in which they appear, here 1 and then 0."""
    splits = splits_of([1] * 20 + [0] * 30, [0] * 9 + [1] * 9)
    train, val = dassl_sample("dtd", splits, 3, 1)
    assert (places(train), places(val)) == ([28, 23, 35, 4, 18, 2], [7, 8, 5, 15, 12, 9])


def test_the_seed_of_others_is_left_alone() -> None:
    random.seed(5)
    before = random.getstate()
    dassl_sample("dtd", splits_of([0] * 9, [0] * 9), 4, 1)
    assert random.getstate() == before


def test_the_order_of_a_file_system_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        dassl_sample("imagenet", splits_of([0] * 9, [], order=False), 4, 1)
    assert "cannot draw from 'imagenet': the official code lists its images in the order of the" in str(caught.value)
    assert str(caught.value).endswith("give its file as data.index, or use data.sampling=hash")


def test_imagenet_has_the_order_of_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_text("n01440764 tench\n")
    for split in ("train", "val"):
        (tmp_path / "images" / split / "n01440764").mkdir(parents=True)
        (tmp_path / "images" / split / "n01440764" / "1.JPEG").write_bytes(b"")
    assert not read_imagenet(tmp_path, ("images",)).official_order


@pytest.mark.parametrize(
    ("train", "val", "what"),
    [
        ([0] * 9 + [1] * 4, [0] * 9, "5 training images of class 1 'class 1' of 'dtd', which has 4 images"),
        ([0] * 9, [0], "4 validation images of class 0 'class 0' of 'dtd', which has 1 image:"),
    ],
)
def test_a_class_with_fewer_images_is_refused(train: list[int], val: list[int], what: str) -> None:
    with pytest.raises(UserError) as caught:
        dassl_sample("dtd", splits_of(train, val), 5, 1)
    assert f"data.sampling=dassl cannot draw {what}" in str(caught.value)


def test_without_validation_images_none_are_drawn() -> None:
    assert dassl_sample("folder:/x", splits_of([0] * 9, []), 4, 1).val == []
