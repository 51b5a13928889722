"""Pictures of every kind as RGB, broken ones by name, and checks before a run depends on them."""

import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data.pictures import (
    Broken,
    as_rgb,
    broken_pictures,
    check_pictures,
    find_problem,
    missing_pictures,
    read_picture,
)
from harness.data.readers import Picture
from harness.errors import UserError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


def noise(seed: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def as_png(image: Image.Image) -> bytes:
    return encoded(image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, in a folder and in an archive."""
    (tmp_path / "sub").mkdir()
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for number in range(5):
            (tmp_path / "sub" / f"{number}.png").write_bytes(as_png(noise(number)))
            archive.writestr(f"in/{number}.png", as_png(noise(number)))
    return tmp_path


def five(prefix: str) -> list[Picture]:
    return [Picture(f"{prefix}/{number}.png", number) for number in range(5)]


def decoded(folder: Path, data: bytes) -> np.ndarray:
    (folder / "picture").write_bytes(data)
    image = read_picture(folder, "picture")
    assert image.mode == "RGB"
    return np.array(image)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "LA"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = noise(1, mode)
    (tmp_path / "a.png").write_bytes(as_png(image))
    read = read_picture(tmp_path, "a.png")
    assert read.mode == "RGB"
    assert np.array_equal(np.array(read), np.array(image.convert("RGB")))


@pytest.mark.parametrize("path", ["gone.png", "sub/gone.png", "pictures.zip/gone.png", "gone.zip/0.png"])
def test_a_missing_picture_is_named(folder: Path, path: str) -> None:
    with pytest.raises(UserError) as caught:
        read_picture(folder, path)
    assert f"image '{folder / path}' is missing" in str(caught.value)


def deflated_with_damage(image: bytes) -> bytes:
    """An archive whose compressed member p.png starts with bytes that are no deflate stream."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p.png", image + bytes(5000))
    start = 30 + len("p.png")
    return data.getvalue()[:start] + b"\xff" * 20 + data.getvalue()[start + 20 :]


def stored_with_damage(image: bytes) -> bytes:
    """An archive whose member p.png fails its checksum."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("p.png", image)
    start = 30 + len("p.png")
    return data.getvalue()[: start + 100] + b"\xff" * 20 + data.getvalue()[start + 120 :]


def picture_with_header_of_huge_size() -> bytes:
    data = io.BytesIO()
    noise(1).save(data, "GIF")
    return data.getvalue()[:6] + struct.pack("<HH", 65535, 65535) + data.getvalue()[10:]


@pytest.mark.parametrize(
    ("file", "data", "path"),
    [
        pytest.param("p.jpg", b"<html>not found</html>", "p.jpg", id="no picture"),
        pytest.param("p.jpg", b"", "p.jpg", id="empty"),
        pytest.param("p.png", as_png(noise(1))[:700], "p.png", id="cut"),
        pytest.param("a.zip", b"no archive", "a.zip/p.png", id="no archive"),
        pytest.param("a.zip", stored_with_damage(as_png(noise(1))), "a.zip/p.png", id="damaged, stored"),
        pytest.param(
            "a.zip",
            deflated_with_damage(as_png(noise(1))),
            "a.zip/p.png",
            id="damaged, deflated",
        ),
        pytest.param(
            "p.gif",
            picture_with_header_of_huge_size(),
            "p.gif",
            id="huge",
        ),
    ],
)
def test_a_broken_picture_is_named(tmp_path: Path, file: str, data: bytes, path: str) -> None:
    (tmp_path / file).write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_picture(tmp_path, path)
    assert f"image '{tmp_path / path}' cannot be decoded" in str(caught.value)


def test_cmyk(tmp_path: Path) -> None:
    for colour in ((255, 0, 0), (0, 80, 255), (255, 255, 255), (0, 0, 0)):
        image = Image.new("RGB", (16, 16), colour).convert("CMYK")
        read = decoded(tmp_path, encoded(image, "JPEG", quality=100))
        assert np.abs(read.astype(int) - colour).max() <= 3


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255, 7])])
def test_colours_of_a_palette_stay_where_it_is_transparent(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    image.putdata([0, 1, 2, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns of this transparency
        read = decoded(tmp_path, encoded(image, transparency=transparency))
    assert read.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]]]


def test_colours_stay_where_a_picture_is_transparent(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    pixels[0, :, 3] = 0
    assert np.array_equal(decoded(tmp_path, encoded(Image.fromarray(pixels, "RGBA"))), pixels[..., :3])


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path: Path, form: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    read = decoded(tmp_path, encoded(Image.fromarray(values), form))
    assert np.array_equal(read[..., 0], np.round(values / 257).astype(np.uint8))
    assert np.array_equal(read[..., 0], read[..., 2])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused(tmp_path: Path, dtype: type) -> None:
    (tmp_path / "deep.tif").write_bytes(encoded(Image.fromarray(np.full((4, 4), 70000, dtype)), "TIFF"))
    with pytest.raises(UserError, match=r"deep.tif' cannot be decoded \(32 bits per pixel, of unknown range"):
        read_picture(tmp_path, "deep.tif")
    assert find_problem(tmp_path, "deep.tif") is not None


def test_orientation_in_exif_is_not_applied_as_in_the_fields_code(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image = noise(3)
    read = decoded(tmp_path, encoded(image, "PNG", exif=exif.tobytes()))
    assert np.array_equal(read, np.array(image))
    assert decoded(tmp_path, encoded(image, "JPEG", exif=exif.tobytes())).shape == (20, 24, 3)


@pytest.mark.filterwarnings("ignore")  # Pillow also warns
@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_check_finds_what_reading_would(
    form: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut or overwritten anywhere: either both take a picture or both name it, and no other exception comes out."""
    content = encoded(noise(1).resize((60, 50)), form)
    position = data.draw(st.integers(0, len(content)))
    junk = data.draw(st.binary(max_size=8))
    rest = content[position + len(junk) :] if data.draw(st.booleans()) else b""
    folder = tmp_path_factory.getbasetemp()
    (folder / "picture").write_bytes(content[:position] + junk + rest)
    message = ""
    try:
        read_picture(folder, "picture")
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    assert (find_problem(folder, "picture") is None) == (not message)


@pytest.mark.parametrize("prefix", ["sub", "pictures.zip/in"])
def test_broken_and_missing_pictures_are_found_in_order(folder: Path, prefix: str) -> None:
    pictures = [*five(prefix), Picture(f"{prefix}/gone.png", 0), Picture("cut.jpg", 1), Picture("page.jpg", 1)]
    (folder / "cut.jpg").write_bytes(encoded(noise(1).resize((200, 200)), "JPEG")[:-500])
    (folder / "page.jpg").write_text("<html>not found</html>")
    progress: list[tuple[int, int]] = []
    broken = broken_pictures(folder, pictures, lambda done, total: progress.append((done, total)), threads=2)
    assert broken[0] == Broken(f"{prefix}/gone.png", "is missing")
    assert [problem.path for problem in broken[1:]] == ["cut.jpg", "page.jpg"]
    assert all(problem.reason.startswith("cannot be decoded (") for problem in broken[1:])
    assert progress[-1] == (len(pictures), len(pictures))
    assert broken_pictures(folder, []) == []


def test_progress_is_told_along_the_way(folder: Path) -> None:
    progress: list[int] = []
    assert broken_pictures(folder, five("sub") * 30, lambda done, total: progress.append(done)) == []
    assert progress == sorted(progress)
    assert len(progress) > 3
    assert progress[-1] == 150


def test_a_broken_picture_stops_a_run_or_is_left_out(folder: Path) -> None:
    pictures = five("sub")
    (folder / "sub" / "1.png").write_bytes(b"broken")
    (folder / "sub" / "3.png").unlink()
    with pytest.raises(UserError) as caught:
        check_pictures(folder, pictures)
    assert f"image '{folder}/sub/1.png' cannot be decoded" in str(caught.value)
    assert "(and 1 more of 5): restore it, or set data.skip_broken=true" in str(caught.value)
    usable, broken = check_pictures(folder, pictures, skip_broken=True)
    assert usable == [pictures[0], pictures[2], pictures[4]]
    assert [problem.path for problem in broken] == ["sub/1.png", "sub/3.png"]
    (folder / "sub" / "1.png").write_bytes(as_png(noise(1)))
    with pytest.raises(UserError, match=r"3.png' is missing: restore it"):
        check_pictures(folder, pictures)


def test_missing_pictures_are_found_without_opening_any(folder: Path) -> None:
    here = [*five("sub"), *five("pictures.zip/in")]
    gone = [Picture(path, 0) for path in ("sub/9.png", "no/1.png", "pictures.zip/in/9.png", "no.zip/1.png", "9.png")]
    (folder / "sub" / "0.png").write_bytes(b"broken, but there")
    assert missing_pictures(folder, here) == []
    assert missing_pictures(folder, [*gone[:2], *here, *gone[2:]]) == [path for path, _ in gone]


def test_pictures_are_converted_without_a_file() -> None:
    image = noise(5)
    assert as_rgb(image).tobytes() == image.tobytes()
