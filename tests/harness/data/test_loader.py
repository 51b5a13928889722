"""Pictures from folders and archives, as batches that depend on nothing but the pictures and their keys."""

import gc
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from harness.data.loader import PictureSet, normalise
from harness.data.pictures import read_picture
from harness.data.readers import Picture
from harness.data.transforms import TestTransform, TrainTransform
from harness.errors import UserError

COUNT = 10


def noise(seed: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def as_png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures, in a folder and in an archive."""
    (tmp_path / "sub").mkdir()
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for number in range(COUNT):
            data = as_png(noise(number))
            (tmp_path / "sub" / f"{number}.png").write_bytes(data)
            archive.writestr(f"in/{number}.png", data)
    return tmp_path


def picture_set(folder: Path, prefix: str, order: Sequence[int] = range(COUNT)) -> PictureSet:
    return PictureSet(folder, [Picture(f"{prefix}/{number}.png", number) for number in order])


def views_by_label(pictures: PictureSet, batch_size: int, workers: int = 0, key: str = "1/0") -> dict[int, Tensor]:
    batches = pictures.batches(TrainTransform(16), pictures.in_order(batch_size), key, workers)
    return dict(zip(pictures.labels.tolist(), torch.cat(list(batches)), strict=True))


@pytest.mark.parametrize("prefix", ["sub", "pictures.zip/in"])
def test_pictures_are_read_from_folder_and_archive(folder: Path, prefix: str) -> None:
    pictures = picture_set(folder, prefix)
    assert len(pictures) == COUNT
    assert pictures.labels.tolist() == list(range(COUNT))
    for number in range(COUNT):
        assert np.array_equal(np.array(pictures.decode(number)), np.array(noise(number)))
        # The second time it comes from memory.
        assert np.array_equal(np.array(pictures.decode(number)), np.array(noise(number)))


def error_of_workers(pictures: PictureSet, batch_size: int, workers: int) -> str | None:
    """What reading all pictures in workers fails with. The loader's processes end here, not in a later test."""
    message = None
    try:
        list(pictures.batches(TestTransform(20), pictures.in_order(batch_size), workers=workers))
    except UserError as error:
        message = str(error)
    gc.collect()
    return message


def test_a_batch_that_holds_a_broken_picture_names_it(folder: Path) -> None:
    (folder / "sub" / "3.png").write_bytes(b"broken")
    pictures = picture_set(folder, "sub")
    with pytest.raises(UserError, match=r"sub/3\.png' cannot be decoded"):
        list(pictures.batches(TestTransform(16), pictures.in_order(4)))


def test_a_worker_names_a_broken_picture_in_one_line(folder: Path) -> None:
    (folder / "sub" / "3.png").write_bytes(b"broken")
    message = error_of_workers(picture_set(folder, "sub"), batch_size=4, workers=1)
    assert message is not None
    assert "sub/3.png' cannot be decoded" in message
    assert "\n" not in message


def test_batches_come_in_the_order_asked_for(folder: Path) -> None:
    pictures = picture_set(folder, "sub")
    batches = list(pictures.batches(TestTransform(20), [[3, 1], [7], [1, 1, 0]]))
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, 20, 20), (1, 3, 20, 20), (3, 3, 20, 20)]
    assert {batch.dtype for batch in batches} == {torch.uint8}
    # 24 x 20 pictures lose 2 columns on each side.
    pixels = [np.array(noise(number))[:, 2:-2].transpose(2, 0, 1) for number in (3, 1, 7, 1, 1, 0)]
    assert np.array_equal(torch.cat(batches).numpy(), np.stack(pixels))


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (100, [10]), (1, [1] * 10)])
def test_in_order(folder: Path, batch_size: int, sizes: list[int]) -> None:
    batches = picture_set(folder, "sub").in_order(batch_size)
    assert [len(batch) for batch in batches] == sizes
    assert [position for batch in batches for position in batch] == list(range(COUNT))


@pytest.mark.parametrize("prefix", ["sub", "pictures.zip/in"])
def test_a_view_depends_on_neither_order_nor_batch_size_nor_workers(folder: Path, prefix: str) -> None:
    # Workers first: their archive must not have been opened here (see the test below).
    runs = [
        views_by_label(picture_set(folder, prefix), 3, workers=2),
        views_by_label(picture_set(folder, prefix), 4),
        views_by_label(picture_set(folder, prefix), 1),
        views_by_label(picture_set(folder, prefix, [7, 2, 9, 0, 1, 3, 8, 6, 5, 4]), 4),
    ]
    for run in runs[1:]:
        assert run.keys() == runs[0].keys()
        for label, view in run.items():
            assert torch.equal(view, runs[0][label])


def test_a_view_depends_on_key_and_path(folder: Path) -> None:
    first, second = (views_by_label(picture_set(folder, "sub"), 4, key=key) for key in ("1/0", "1/1"))
    assert all(not torch.equal(first[label], second[label]) for label in first)
    same = noise(0)
    for number in (0, 1):
        (folder / "sub" / f"{number}.png").write_bytes(as_png(same))
    views = views_by_label(picture_set(folder, "sub"), 4)
    assert not torch.equal(views[0], views[1])


def test_loading_draws_no_global_random_number(folder: Path) -> None:
    pictures = picture_set(folder, "sub")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(pictures.batches(TrainTransform(16), pictures.in_order(4), "1/0"))
    assert torch.equal(torch.rand(3), expected)


def test_workers_read_an_archive_that_was_read_here_before(tmp_path: Path) -> None:
    count = 400
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.png", as_png(noise(number)))
    pictures = [Picture(f"a.zip/{number}.png", 0) for number in range(count)]
    read_picture(tmp_path, "a.zip/0.png")
    for _ in range(4):  # a race: nearly always lost the first time
        assert error_of_workers(PictureSet(tmp_path, pictures), batch_size=count // 2, workers=2) is None


def test_normalise_equals_torchvision() -> None:
    pixels = torch.randint(0, 256, (4, 3, 7, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before = pixels.clone()
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    result = normalise(pixels, mean, std, torch.device("cpu"))
    assert result.dtype == torch.float32
    assert torch.equal(result, functional.normalize(pixels.float() / 255, mean, std))
    assert torch.equal(pixels, before)


def test_pictures_may_come_from_elsewhere_and_a_hook_sees_their_batches() -> None:
    asked: list[str] = []
    seen: list[Tensor] = []

    def read(folder: Path, path: str) -> Image.Image:
        asked.append(f"{folder}/{path}")
        return Image.new("RGB", (16, 16), (0, 0, int(path)))

    pictures = PictureSet(Path("nowhere"), [Picture(str(number), 0) for number in range(3)], read, seen.append)
    batches = list(pictures.batches(TestTransform(16), [[2, 0], [1]]))
    assert asked == ["nowhere/2", "nowhere/0", "nowhere/1"]
    assert [batch[:, 2, 0, 0].tolist() for batch in batches] == [[2, 0], [1]]
    assert all(batch is known for batch, known in zip(batches, seen, strict=True))
