"""What is kept of pictures changes no pixel, and is kept when it pays."""

import os
from pathlib import Path

import pytest
import torch

from harness.data import views
from harness.data.loader import PictureSet
from harness.data.readers import Picture
from harness.data.transforms import TestTransform, TrainTransform
from harness.data.views import Transform
from tests.harness.data.photos import StoreInMemory, encoded, photo

COUNT = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """JPEGs of 180 x 150 pixels, and one PNG."""
    for number in range(COUNT):
        data = encoded(photo(180, 150, number), "PNG" if number == 3 else "JPEG")
        (tmp_path / f"{number}.jpg").write_bytes(data)
    return tmp_path


def squares(folder: Path, transform: Transform, store: StoreInMemory | None, epochs: int = 1) -> list[torch.Tensor]:
    """Squares of all pictures in each epoch, by a picture set of its own."""
    return epochs_of(picture_set(folder, store), transform, epochs)


def picture_set(folder: Path, store: StoreInMemory | None) -> PictureSet:
    return PictureSet(folder, [Picture(f"{number}.jpg", 0) for number in range(COUNT)], store=store)


def epochs_of(pictures: PictureSet, transform: Transform, epochs: int) -> list[torch.Tensor]:
    passes = (pictures.batches(transform, pictures.in_order(2), f"1/{epoch}") for epoch in range(epochs))
    return [torch.cat(list(batches)) for batches in passes]


TRANSFORMS: list[Transform] = [
    TestTransform(128),
    TestTransform(128, decode="fast"),
    TrainTransform(32),
    TrainTransform(32, decode="fast"),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
@pytest.mark.parametrize("limit", [0, 2**28], ids=["no memory", "memory"])
def test_squares_are_the_same_without_a_store_and_with_one_cold_and_warm(
    folder: Path, transform: Transform, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.data.loader.DECODED_LIMIT", limit)
    expected = squares(folder, transform, None, epochs=3)
    store = StoreInMemory()
    for state in ("cold", "warm"):
        found = squares(folder, transform, store, epochs=3)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other), state
            assert one.stride() == other.stride(), "convolutions round differently in another order of memory"
    assert store.loaded


def test_squares_of_testing_are_kept_at_once_and_nothing_is_decoded_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, transform = StoreInMemory(), TestTransform(128)
    (expected,) = squares(folder, transform, store)
    assert len(store.kept) == COUNT
    monkeypatch.setattr(views, "open_picture", lambda *_: pytest.fail("a picture was decoded"))
    (found,) = squares(folder, transform, store)
    assert torch.equal(found, expected)


def test_a_training_picture_is_kept_when_it_is_used_again(folder: Path) -> None:
    store = StoreInMemory()
    pictures = picture_set(folder, store)
    epochs_of(pictures, TrainTransform(32), 1)
    assert not store.kept
    epochs_of(pictures, TrainTransform(32), 1)
    assert sorted(kept.pixels.shape for kept in store.kept.values()) == [(150, 180, 3)] * COUNT


def test_exact_and_fast_share_whole_pictures_and_no_squares(folder: Path) -> None:
    store = StoreInMemory()
    squares(folder, TrainTransform(140), store, epochs=2)
    whole = dict(store.kept)
    squares(folder, TrainTransform(140, decode="fast"), store, epochs=2)  # too large for reduced ones
    assert store.kept.keys() == whole.keys()
    for decode in ("exact", "fast"):
        squares(folder, TestTransform(128, decode=decode), store)
    assert len(store.kept) == 3 * COUNT


def test_small_pictures_and_squares_are_not_kept(folder: Path, tmp_path: Path) -> None:
    store = StoreInMemory()
    squares(folder, TestTransform(127), store)
    for number in range(COUNT):
        (folder / f"{number}.jpg").write_bytes(encoded(photo(127, 128)))
    squares(folder, TrainTransform(32), store, epochs=3)
    assert not store.kept


@pytest.mark.parametrize("transform", [TestTransform(128), TrainTransform(32)], ids=str)
def test_a_picture_that_was_replaced_is_decoded(folder: Path, transform: Transform) -> None:
    store = StoreInMemory()
    squares(folder, transform, store, epochs=2)
    (folder / "2.jpg").write_bytes(encoded(photo(180, 150, seed=99)))
    os.utime(folder / "2.jpg", (1, 1))
    expected = squares(folder, transform, None)
    assert torch.equal(squares(folder, transform, store)[0], expected[0])


def test_what_others_made_is_counted_once_and_what_was_made_here_is_not(folder: Path) -> None:
    store = StoreInMemory()
    own = picture_set(folder, store)
    epochs_of(own, TrainTransform(32), 3)
    assert own.take_spared() == 0
    seconds = sum(kept.seconds for kept in store.kept.values())
    assert seconds > 0
    other = picture_set(folder, store)
    epochs_of(other, TrainTransform(32), 2)
    assert other.take_spared() == pytest.approx(seconds)
    epochs_of(other, TrainTransform(32), 2)
    assert other.take_spared() == 0
