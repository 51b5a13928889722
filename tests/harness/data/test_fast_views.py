"""`data.decode=fast`: nearly the pixels of `exact`, from JPEGs decoded no larger than a view needs."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

from harness.data import fast_views
from harness.data.fast_views import fast_square, reduction, whole_jpeg
from harness.data.transforms import Cut, TestTransform, TrainTransform
from harness.data.views import Reader, Source, Wanted
from harness.errors import UserError
from tests.harness.data.photos import encoded, photo


def distance(one: Tensor, other: Tensor) -> tuple[float, int]:
    """Mean and largest difference of pixels."""
    gap = (one.int() - other.int()).abs()
    return gap.double().mean().item(), int(gap.max())


def exact(image: Image.Image, transform: TestTransform | TrainTransform, key: str = "") -> Tensor:
    return torch.from_numpy(np.array(transform(image, key))).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("box", "sides", "by"),
    [
        ((0, 0, 448, 448), (224, 224), 2),
        ((0, 0, 447, 900), (224, 224), 1),
        ((5, 9, 5 + 896, 9 + 1000), (224, 224), 4),
        ((0, 0, 9000, 9000), (224, 224), 8),
        ((0, 0, 100, 100), (224, 224), 1),
        ((0, 0, 1024, 768), (298, 224), 2),
    ],
)
def test_a_jpeg_is_reduced_as_far_as_nothing_is_enlarged(
    box: tuple[int, int, int, int], sides: tuple[int, int], by: int
) -> None:
    assert reduction(Cut(box, sides)) == by


TRANSFORMS: list[TestTransform | TrainTransform] = [
    TestTransform(32, decode="fast"),
    TestTransform(32, interpolation="bilinear", decode="fast"),
    TestTransform(32, resize_mode="squash", decode="fast"),
    TestTransform(32, resize_mode="longest", fill_color=128, decode="fast"),
    TrainTransform(32, decode="fast"),
    TrainTransform(32, flip=False, crop_scale=(0.3, 0.5), decode="fast"),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
@pytest.mark.parametrize(("width", "height"), [(90, 61), (61, 90), (32, 32), (33, 31), (20, 25)])
def test_a_picture_that_is_not_reduced_differs_by_rounding(
    transform: TestTransform | TrainTransform, width: int, height: int
) -> None:
    image = photo(width, height)
    pixels = np.array(image)
    for key in ("1/0/a", "1/1/a", "2/0/a"):  # mirrored and not
        square = fast_square(transform, transform.cut(width, height, key), pixels)
        assert square.shape == (3, 32, 32)
        assert square.flags.c_contiguous
        assert not np.shares_memory(square, pixels)
        assert distance(torch.from_numpy(square), exact(image, transform, key))[1] <= 2


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_a_reduced_picture_shows_the_same(
    transform: TestTransform | TrainTransform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(photo(421, 333, grain=64)))
    asked: list[tuple[int, int]] = []
    original: Any = JpegImagePlugin.JpegImageFile.draft

    def draft(image: Any, mode: str | None, size: tuple[int, int]) -> Any:
        asked.append(size)
        return original(image, mode, size)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", draft)
    image = Image.open(tmp_path / "a.jpg").convert("RGB")
    gaps = []
    for key in map(str, range(8)):
        reader = Reader(Source(tmp_path), 0)
        square = reader.view(transform, Wanted("a.jpg", key)).pixels
        gaps.append(distance(square, exact(image, transform, key))[0])
    assert max(gaps) < 6, "other views are more than 30 apart"
    assert asked, "most views need no more than half"


def test_a_view_does_not_depend_on_what_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(photo(300, 200)))
    transform = TrainTransform(32, decode="fast")
    warm = Reader(Source(tmp_path), 2**20)
    for key in map(str, range(12)):
        cold = Reader(Source(tmp_path), 0)
        assert torch.equal(
            warm.view(transform, Wanted("a.jpg", key)).pixels, cold.view(transform, Wanted("a.jpg", key)).pixels
        )


@pytest.mark.parametrize("data", [b"broken", encoded(photo(300, 200))[:900]], ids=["no picture", "cut"])
def test_a_broken_picture_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.jpg' cannot be decoded"):
        Reader(Source(tmp_path), 0).view(TestTransform(32, decode="fast"), Wanted("a.jpg", ""))


@pytest.mark.parametrize("form", [{}, {"quality": 30}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}])
@pytest.mark.parametrize(("width", "height"), [(90, 61), (61, 90), (17, 16), (1, 1)])
def test_a_whole_jpeg_has_the_pixels_that_pillow_gives(width: int, height: int, form: dict[str, Any]) -> None:
    data = io.BytesIO()
    photo(width, height).save(data, "JPEG", **form)
    pixels = whole_jpeg(Image.open(data))
    assert pixels is not None
    assert np.array_equal(pixels, np.array(Image.open(data).convert("RGB")))


@pytest.mark.parametrize(
    "image",
    [photo(9, 9).convert("L"), photo(9, 9).convert("CMYK"), photo(9, 9)],
    ids=["grey", "CMYK", "PNG"],
)
def test_other_pictures_are_left_to_pillow(image: Image.Image) -> None:
    data = io.BytesIO()
    image.save(data, "PNG" if image.mode == "RGB" else "JPEG")
    assert whole_jpeg(Image.open(data)) is None


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_a_square_does_not_depend_on_how_pixels_lie_in_memory(transform: TestTransform | TrainTransform) -> None:
    for width, height in ((90, 61), (61, 90), (33, 31), (20, 25), (421, 333)):
        pixels = np.array(photo(width, height))
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0)
        cut = transform.cut(width, height, "1/0/a")
        assert np.array_equal(fast_square(transform, cut, pixels), fast_square(transform, cut, planes))


def test_pillow_decodes_where_torchvision_has_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    photo(40, 30).save(data, "JPEG")
    monkeypatch.setattr(fast_views, "_jpeg_decoder", lambda: None)
    assert whole_jpeg(Image.open(data)) is None
