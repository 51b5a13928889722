"""Features that runs share are, bit for bit, those that each would compute alone."""

import io
import multiprocessing
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from harness.clip.load import load_backbone
from harness.clip.towers import CLIP, END, POOLED, RAW
from harness.data import picture_files
from harness.data.datasets import read_dataset
from harness.data.loader import PictureSet, load_pixels
from harness.data.picture_files import open_archive
from harness.data.readers import Picture
from harness.data.transforms import TestTransform, TrainTransform
from harness.errors import UserError
from harness.machine.units import MIB
from harness.training.build import build_clip
from harness.training.feature_store import FeatureStore
from harness.training.shared_features import AT_ONCE, Features, SharedFeatures, side_by_side

PRECISIONS = ("fp32", "bf16", "fp16", "half")
TEST = TestTransform(48)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that files which a test has just written will not change within a tick of the clock."""
    monkeypatch.setattr(picture_files, "SETTLED", 0.0)


@pytest.fixture
def threads() -> Iterator[None]:
    """Put the number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def emoji(start: int, stop: int, step: int = 1) -> PictureSet:
    splits = read_dataset("emoji")
    return PictureSet(splits.folder, splits.test[start:stop:step])


def features(clip: CLIP, pictures: PictureSet, store: FeatureStore | None = None, **options: Any) -> Features:
    options = {"transform": TEST, "stage": END, "batch_size": 100, "precision": "fp32", **options}
    return SharedFeatures(clip, options.pop("precision"), store).of(pictures, **options)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store that fails the test if it cannot write."""
    return FeatureStore(tmp_path / "store", 64 * MIB, pytest.fail)


@pytest.mark.parametrize("stage", [POOLED, END])
def test_they_are_the_features_of_the_tower(clip: CLIP, store: FeatureStore, stage: int) -> None:
    pictures = emoji(0, 21)
    pixels, _ = load_pixels(clip, pictures.folder, pictures.pictures)
    for kept in (None, store, store):
        rows = features(clip, pictures, kept, stage=stage).rows
        torch.testing.assert_close(rows, clip.image.run(pixels, RAW, stage).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.usefixtures("threads")
def test_rows_depend_on_nothing_but_their_picture(store: FeatureStore, precision: str) -> None:
    """Other neighbours, other positions, remainders, other numbers of threads, another store: the same bits."""
    clip = build_clip("clip-emoji", precision, torch.device("cpu"))
    torch.set_num_threads(1)
    alone = features(clip, emoji(0, 11), precision=precision).rows
    torch.set_num_threads(2)
    for pictures, rows in (
        (emoji(3, 11, 2), alone[3::2]),
        (emoji(10, 11), alone[10:]),
        (PictureSet(emoji(0, 1).folder, emoji(0, 11).pictures[::-1]), alone.flip(0)),
    ):
        for kept in (None, store, store):
            assert torch.equal(features(clip, pictures, kept, precision=precision).rows, rows)
    torch.set_num_threads(1)
    half_filled = features(clip, emoji(0, 4), store, batch_size=AT_ONCE, precision=precision).rows
    assert torch.equal(half_filled, alone[:4])
    assert torch.equal(features(clip, emoji(0, 11), store, precision=precision).rows, alone)


def test_what_is_there_is_not_computed_again_and_what_is_missing_is(
    clip: CLIP, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert features(clip, emoji(0, 10), store).computed == 10
    assert features(clip, emoji(5, 20), store).computed == 10
    pictures = emoji(0, 20)
    monkeypatch.setattr(pictures, "decode", lambda position: pytest.fail("nothing is decoded"))
    monkeypatch.setattr(clip.image, "run", lambda *_: pytest.fail("nothing is computed"))
    assert features(clip, pictures, store).computed == 0


def test_the_seconds_of_what_is_shared_are_those_that_were_measured(clip: CLIP, store: FeatureStore) -> None:
    start = time.perf_counter()
    first = features(clip, emoji(0, 16), store)
    measured = time.perf_counter() - start
    assert (first.computed, first.shared_seconds) == (16, 0)
    whole = features(clip, emoji(0, 16), store).shared_seconds
    assert 0.5 * measured < whole <= measured
    assert features(clip, emoji(0, 4), store).shared_seconds == pytest.approx(whole / 4)
    mixed = features(clip, emoji(12, 40), store)
    assert mixed.computed == 24
    assert mixed.shared_seconds == pytest.approx(whole / 4)


def test_random_views_have_entries_of_their_own(clip: CLIP, store: FeatureStore) -> None:
    views = {
        key: features(clip, emoji(0, 5), store, transform=TrainTransform(48), key=key).rows for key in ("1/0", "1/1")
    }
    assert not torch.equal(views["1/0"], views["1/1"])
    for key, rows in views.items():
        found = features(clip, emoji(0, 5), store, transform=TrainTransform(48), key=key)
        assert found.computed == 0
        assert torch.equal(found.rows, rows)
        assert torch.equal(features(clip, emoji(0, 5), transform=TrainTransform(48), key=key).rows, rows)


def test_a_trained_projection_does_not_change_what_is_before_it(clip: CLIP, store: FeatureStore) -> None:
    before = features(clip, emoji(0, 5), store, stage=POOLED)
    clip.image.proj.data.add_(1)
    after = features(clip, emoji(0, 5), store, stage=POOLED)
    assert (before.computed, after.computed) == (5, 0)
    assert torch.equal(features(clip, emoji(0, 5), store).rows, features(clip, emoji(0, 5)).rows)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_before_the_projection_is_computed_once_for_both_stages(store: FeatureStore, precision: str) -> None:
    clip = build_clip("clip-emoji", precision, torch.device("cpu"))
    ends, pooled = (features(clip, emoji(0, 13), stage=stage, precision=precision).rows for stage in (END, POOLED))
    first = features(clip, emoji(0, 13), store, stage=POOLED, precision=precision)
    derived = features(clip, emoji(0, 13), store, precision=precision)
    assert (first.computed, derived.computed) == (13, 0)
    assert derived.shared_seconds > 0
    assert torch.equal(derived.rows, ends)
    assert torch.equal(features(clip, emoji(5, 20), store, precision=precision).rows[:8], ends[5:])
    other = features(clip, emoji(0, 20), store, stage=POOLED, precision=precision)
    assert other.computed == 0
    assert torch.equal(other.rows[:13], pooled)


def write_png(path: Path, colour: int) -> None:
    Image.new("RGB", (48, 48), (colour, 0, 0)).save(path)


def test_a_replaced_picture_is_noticed(clip: CLIP, store: FeatureStore, tmp_path: Path) -> None:
    listed = [Picture("a.png", 0), Picture("b.png", 0)]
    for picture, colour in zip(listed, (10, 200), strict=True):
        write_png(tmp_path / picture.path, colour)
    before = features(clip, PictureSet(tmp_path, listed), store)
    # Of the same size, and with the time of the old one, as `cp --preserve` and rsync leave it.
    state = (tmp_path / "b.png").stat()
    write_png(tmp_path / "b.png", 201)
    os.utime(tmp_path / "b.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (tmp_path / "b.png").stat().st_size == state.st_size
    after = features(clip, PictureSet(tmp_path, listed), store)
    assert after.computed == 1
    assert torch.equal(after.rows, features(clip, PictureSet(tmp_path, listed)).rows)
    assert torch.equal(after.rows[0], before.rows[0])
    assert not torch.equal(after.rows[1], before.rows[1])


def test_a_replaced_member_of_an_archive_is_noticed(clip: CLIP, store: FeatureStore, tmp_path: Path) -> None:
    listed = [Picture("p.zip/a.png", 0), Picture("p.zip/b.png", 0)]

    def pack(*colours: int) -> PictureSet:
        open_archive.cache_clear()
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            for picture, colour in zip(listed, colours, strict=True):
                buffer = io.BytesIO()
                Image.new("RGB", (48, 48), (colour, 0, 0)).save(buffer, "png")
                archive.writestr(picture.path.removeprefix("p.zip/"), buffer.getvalue())
        return PictureSet(tmp_path, listed)

    assert features(clip, pack(10, 200), store).computed == 2
    assert features(clip, pack(10, 200), store).computed == 0
    assert features(clip, pack(10, 201), store).computed == 1


def test_a_picture_that_changes_while_it_is_computed_is_not_kept(
    clip: CLIP, store: FeatureStore, tmp_path: Path
) -> None:
    listed = [Picture("a.png", 0), Picture("b.png", 0)]
    for picture in listed:
        write_png(tmp_path / picture.path, 10)
    pictures = PictureSet(tmp_path, listed)
    pictures.on_batch = lambda batch: write_png(tmp_path / "b.png", 99)
    features(clip, pictures, store)
    assert features(clip, PictureSet(tmp_path, listed), store).computed == 1


def test_images_that_are_still_in_memory_are_not_taken_for_those_on_disk(
    clip: CLIP, store: FeatureStore, tmp_path: Path
) -> None:
    write_png(tmp_path / "a.png", 10)
    pictures = PictureSet(tmp_path, [Picture("a.png", 0)])
    shared = SharedFeatures(clip, "fp32", store)
    shared.of(pictures, TEST, END, 8)
    write_png(tmp_path / "a.png", 200)
    shared.of(pictures, TrainTransform(48), END, 8, "1/0")
    new = PictureSet(tmp_path, pictures.pictures)
    found = features(clip, new, store, transform=TrainTransform(48), key="1/0")
    assert found.computed == 1
    assert torch.equal(found.rows, features(clip, new, transform=TrainTransform(48), key="1/0").rows)


def test_a_picture_that_was_changed_just_now_is_not_kept(
    clip: CLIP, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_files, "SETTLED", 60.0)
    write_png(tmp_path / "a.png", 10)
    for _ in range(2):
        assert features(clip, PictureSet(tmp_path, [Picture("a.png", 0)]), store).computed == 1


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("number", [1, 3])
def test_a_broken_picture_is_told_as_ever_and_nothing_is_kept(
    clip: CLIP, store: FeatureStore, tmp_path: Path, number: int
) -> None:
    torch.set_num_threads(number)
    write_png(tmp_path / "a.png", 10)
    (tmp_path / "b.png").write_text("no picture")
    listed = [Picture("a.png", 0), Picture("b.png", 0)]
    for path in ("b.png", "c.png"):
        with pytest.raises(UserError, match=path):
            features(clip, PictureSet(tmp_path, [listed[0], Picture(path, 0)]), store, batch_size=1)
    assert torch.get_num_threads() == number
    assert not store.folder.exists()


def test_pictures_of_no_disk_are_not_kept(clip: CLIP, store: FeatureStore) -> None:
    blank = PictureSet(Path(), [Picture("", 0)], lambda folder, path: Image.new("RGB", (48, 48)))
    for _ in range(2):
        assert features(clip, blank, store).computed == 1
    assert not store.folder.exists()


def compute_in_a_process(folder: Path, start: int, stop: int) -> None:
    torch.set_num_threads(1)
    features(load_backbone("clip-emoji"), emoji(start, stop), FeatureStore(folder, 64 * MIB))


@pytest.mark.usefixtures("threads")
def test_what_other_processes_computed_is_the_same(clip: CLIP, store: FeatureStore) -> None:
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    parts = [(0, 12), (8, 20)]
    processes = [context.Process(target=compute_in_a_process, args=(store.folder, *part)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    found = features(clip, emoji(0, 22), store)
    assert found.computed == 2
    assert torch.equal(found.rows, features(clip, emoji(0, 22)).rows)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_threads_keep_the_order_and_take_few_batches_ahead(number: int) -> None:
    taken = []

    def batches() -> Iterator[torch.Tensor]:
        for value in range(30):
            taken.append(value)
            yield torch.tensor(value)

    def work(batch: torch.Tensor) -> torch.Tensor:
        time.sleep(0.001 * (int(batch) % 3))
        return batch * 2

    results = side_by_side(work, batches(), number)
    assert next(results) == 0
    assert len(taken) <= 2 * number + 1
    assert [int(result) for result in results] == list(range(2, 60, 2))
