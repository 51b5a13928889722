"""What may lie where a picture should: pipes, devices, bombs, strips, damaged archives, paths out of the folder."""

import io
import os
import socket
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import picture_files
from harness.data.pictures import find_problem, missing_pictures, read_picture
from harness.data.readers import Picture
from harness.errors import UserError


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8))


def as_png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def reason(folder: Path, path: str) -> str:
    """Why a picture cannot be used; the check and the reader agree."""
    problem = find_problem(folder, path)
    assert problem is not None
    with pytest.raises(UserError) as caught:
        read_picture(folder, path)
    message = str(caught.value)
    assert f"image '{folder / path}' {problem.reason}" in message
    assert "\n" not in message
    assert " object at 0x" not in message
    return problem.reason


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(tmp_path, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket.jpg")
        os.close(here)
        assert reason(tmp_path, "socket.jpg").startswith("cannot be decoded (")
    for name in ("pipe.jpg", "endless.jpg", "folder.jpg", "pipe.zip/1.png"):
        assert reason(tmp_path, name) == "cannot be decoded (it is no regular file)"
    assert missing_pictures(tmp_path, [Picture("pipe.zip/1.png", 0)]) == ["pipe.zip/1.png"]


def test_files_that_are_too_large_are_refused_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(10 << 30)  # takes no room
    assert reason(tmp_path, "huge.jpg") == "cannot be decoded (it has 10,240 MiB, a picture at most 512)"
    monkeypatch.setattr(picture_files, "MOST_BYTES", 1 << 20)
    zipped(tmp_path / "a.zip", huge=bytes(3 << 20))
    assert reason(tmp_path, "a.zip/huge") == "cannot be decoded (it has 3 MiB, a picture at most 1)"


def test_a_member_never_gives_more_than_its_header_states(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", bomb=bytes(100 << 20))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 100 << 20), struct.pack("<I", 1 << 10)))
    tracemalloc.start()
    assert reason(tmp_path, "a.zip/bomb").startswith("cannot be decoded (Bad CRC-32")
    assert tracemalloc.get_traced_memory()[1] < 5 << 20
    tracemalloc.stop()


def test_an_empty_or_unknown_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<p>")
    (tmp_path / "html.jpg").write_text("<html>")
    (tmp_path / "program.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n")
    zipped(tmp_path / "a.zip", empty=b"", page=b"<p>")
    for name in ("empty.jpg", "a.zip/empty"):
        assert reason(tmp_path, name) == "cannot be decoded (it is empty)"
    for name in ("page.jpg", "a.zip/page"):
        assert reason(tmp_path, name) == "cannot be decoded (it is in no image format that is known here)"
    assert "it is a web page" in reason(tmp_path, "html.jpg")
    assert "PostScript" in reason(tmp_path, "program.jpg")


@pytest.mark.parametrize("size", [(20000, 1), (1, 300), (402, 2)])
def test_a_strip_is_refused_before_it_is_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "strip.png").write_bytes(as_png(Image.new("RGB", size)))
    words = f"{size[0]} x {size[1]} pixels: one side is more than 200 times the other"
    assert reason(tmp_path, "strip.png") == f"cannot be decoded ({words})"
    (tmp_path / "long.png").write_bytes(as_png(Image.new("RGB", (400, 2))))
    assert read_picture(tmp_path, "long.png").size == (400, 2)


def test_a_picture_with_too_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    data = bytearray(as_png(Image.new("RGB", (8, 8))))
    data[16:24] = struct.pack(">II", 30000, 30000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "bomb.png").write_bytes(data)
    assert "(900000000 pixels)" in reason(tmp_path, "bomb.png")


def test_damaged_members_of_a_zip_file(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", secret=as_png(noise(1)), other=as_png(noise(2)))
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the first member, said to be encrypted
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    assert "encrypted" in reason(tmp_path, "a.zip/secret")
    assert find_problem(tmp_path, "a.zip/other") is None
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for number in (1, 2):
            archive.writestr("twice.png", as_png(noise(number)))
        archive.writestr("once.png", as_png(noise(3)))
    assert "several members of this name" in reason(tmp_path, "b.zip/twice.png")
    assert find_problem(tmp_path, "b.zip/once.png") is None
    (tmp_path / "c.zip").write_bytes(path.read_bytes()[:-30])
    assert "not a zip file" in reason(tmp_path, "c.zip/other")


def test_a_folder_may_be_called_like_a_zip_file(tmp_path: Path) -> None:
    (tmp_path / "x.zip" / "y.zip").mkdir(parents=True)
    (tmp_path / "x.zip" / "1.png").write_bytes(as_png(noise(1)))
    zipped(tmp_path / "x.zip" / "y.zip" / "z.zip", **{"in.zip/1.png": as_png(noise(2))})
    pictures = [Picture("x.zip/1.png", 0), Picture("x.zip/y.zip/z.zip/in.zip/1.png", 0)]
    for number, (path, _) in enumerate(pictures, start=1):
        assert read_picture(tmp_path, path).tobytes() == noise(number).tobytes()
    assert missing_pictures(tmp_path, pictures) == []


@pytest.mark.parametrize("path", ["../secret.png", "sub/../../secret.png", "{}/secret.png", "sub/.."])
def test_nothing_outside_the_folder_is_read(tmp_path: Path, path: str) -> None:
    (tmp_path / "set" / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(as_png(noise(1)))
    path = path.format(tmp_path)
    with pytest.raises(UserError, match="it lies outside"):
        read_picture(tmp_path / "set", path)
    if path.endswith("png"):
        assert missing_pictures(tmp_path / "set", [Picture(path, 0)]) == [path]


@pytest.mark.parametrize("name", ["a\0b.png", "\udcff.png", "x" * 300])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    assert find_problem(tmp_path, name) is not None
    assert missing_pictures(tmp_path, [Picture(name, 0), Picture(f"a/{name}/b", 0)]) == [name, f"a/{name}/b"]
