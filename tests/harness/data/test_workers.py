"""Worker processes live on from pass to pass, whatever became of the last one."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.data.loader import PictureSet
from harness.data.readers import Picture
from harness.data.transforms import TestTransform, TrainTransform
from harness.data.workers import kept_workers
from harness.errors import UserError
from tests.harness.data.photos import encoded, photo

COUNT = 12
TEST = TestTransform(16)


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[PictureSet]:
    """Twelve small pictures; no process is left after the test."""
    for number in range(COUNT):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(photo(24, 20, number)))
    yield PictureSet(tmp_path, [Picture(f"{number}.jpg", number) for number in range(COUNT)])
    gc.collect()
    assert not children()


def children() -> set[int]:
    return {int(child.pid or 0) for child in multiprocessing.active_children()}


def whole(pictures: PictureSet, workers: int, key: str = "1/0") -> torch.Tensor:
    return torch.cat(list(pictures.batches(TrainTransform(16), pictures.in_order(2), key, workers)))


def test_processes_serve_several_passes_and_sets_and_end_in_the_end(pictures: PictureSet) -> None:
    half = PictureSet(pictures.folder, pictures.pictures[::2])
    with kept_workers():
        first = whole(pictures, 2)
        known = children()
        assert len(known) == 2
        for key in ("1/1", "1/2"):
            assert torch.equal(whole(pictures, 2, key), whole(pictures, 0, key))
        assert torch.equal(whole(half, 2), first[::2])
        assert children() == known
    gc.collect()
    assert not children()


def test_a_pass_that_was_given_up_leaves_nothing_to_the_next(pictures: PictureSet) -> None:
    expected = torch.cat(list(pictures.batches(TEST, pictures.in_order(2))))
    with kept_workers():
        batches = pictures.batches(TEST, pictures.in_order(2), workers=2)
        assert torch.equal(next(batches), expected[:2])
        known = children()
        batches.close()  # type: ignore[attr-defined]
        assert torch.equal(torch.cat(list(pictures.batches(TEST, pictures.in_order(2), workers=2))), expected)
        assert children() == known


def test_two_passes_at_once_do_not_mix(pictures: PictureSet) -> None:
    with kept_workers():
        sides = [pictures.batches(TrainTransform(16), pictures.in_order(3), key, 1) for key in ("1/0", "1/1")]
        found = list(zip(*sides, strict=True))
        for place, key in enumerate(("1/0", "1/1")):
            assert torch.equal(torch.cat([pair[place] for pair in found]), whole(pictures, 0, key))


def test_a_broken_picture_ends_its_pass_and_not_the_next(pictures: PictureSet) -> None:
    good = PictureSet(pictures.folder, pictures.pictures[:4])
    (pictures.folder / "7.jpg").write_bytes(b"broken")
    with kept_workers():
        with pytest.raises(UserError, match=r"7\.jpg' cannot be decoded"):
            whole(pictures, 1)
        assert torch.equal(whole(good, 1), whole(good, 0))


def test_processes_that_were_killed_are_replaced(pictures: PictureSet) -> None:
    with kept_workers():
        expected = whole(pictures, 1)
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="worker"):
            whole(pictures, 1)
        assert torch.equal(whole(pictures, 1), expected)
