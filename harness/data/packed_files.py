"""Pictures that lie as bare pixels in one large file: CIFAR, MNIST, STL-10, PCam.

Such a picture has a path like one in a zip file: `data_batch_1.cifar10/17`, `t10k-images-idx3-ubyte.idx/17`. The path
does not say in which of its forms (`.bin`, `.gz`, pickle) the file is on disk, so that samples are the same for all.
"""

import gzip
import math
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.data.cifar_batches import CHANNELS, SIDE, VALUES, read_batch
from harness.data.picture_files import ENDINGS, PackedPath, open_regular, packed_file
from harness.errors import UserError, first_line

Bytes = npt.NDArray[np.uint8]
STL_SIDE = 96
MOST_BYTES = 1 << 30
"""Bytes of the largest file that is kept unpacked in memory."""


class Packed(NamedTuple):
    """The content of a packed file.

    Attributes:
        pictures: N pictures in the form of the file, (N, ...); rows are read from disk where the file allows it.
        labels: N labels; empty where they are in a file of their own.
        to_rows: makes of one picture its rows of pixels: (height, width) or (height, width, 3).
    """

    pictures: Any
    labels: Sequence[int]
    to_rows: Callable[[Bytes], Bytes]


def planes(picture: Bytes) -> Bytes:
    """Of three planes of rows, rows of pixels."""
    return picture.reshape(CHANNELS, SIDE, SIDE).transpose(1, 2, 0)


def columns(picture: Bytes) -> Bytes:
    """Of three planes of columns, rows of pixels."""
    return picture.reshape(CHANNELS, STL_SIDE, STL_SIDE).transpose(2, 1, 0)


def as_is(picture: Bytes) -> Bytes:
    """Rows of pixels."""
    return picture


def read_cifar(path: Path, label_bytes: int, labels: str) -> Packed:
    """A batch of CIFAR: `.bin` with records of labels and planes, or a pickle, which is read and not executed.

    Args:
        path: of the file.
        label_bytes: bytes before the planes of a record; the last of them is the label.
        labels: name of the labels in the pickle.
    """
    if path.suffix == ".bin":
        records = mapped(path, label_bytes + VALUES)
        return Packed(records[:, label_bytes:], [int(label) for label in records[:, label_bytes - 1]], planes)
    data, found = read_batch(path, labels)
    return Packed(np.frombuffer(data, np.uint8).reshape(len(found), VALUES), found, planes)


def read_stl(path: Path) -> Packed:
    """Pictures of STL-10: three planes of columns each."""
    return Packed(mapped(path, CHANNELS * STL_SIDE * STL_SIDE), (), columns)


def read_bytes_as_labels(path: Path) -> Packed:
    """A file of labels, one byte each."""
    return Packed((), [int(label) for label in mapped(path, 1)[:, 0]], as_is)


def mapped(path: Path, size: int) -> Bytes:
    """The records of a file, (N, size), read from disk as they are needed."""
    with open_regular(path) as file:
        length = os.fstat(file.fileno()).st_size
        if length == 0 or length % size:
            raise ValueError(f"its {length:,} bytes are no records of {size:,}")
        return np.memmap(file, np.uint8, "r", shape=(length // size, size))


def read_idx(path: Path) -> Packed:
    """Pictures or labels in MNIST's form (idx), which may be compressed by gzip."""
    with open_regular(path) as file:
        magic = file.read(2)
        file.seek(0)
        data = (gzip.GzipFile(fileobj=file) if magic == b"\x1f\x8b" else file).read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20:,} MiB")
    if len(data) < 4 or data[:3] != b"\0\0\x08" or data[3] not in (1, 3):
        raise ValueError("it does not begin as a file of bytes in the idx format does")
    begin = 4 + 4 * data[3]
    shape = [int(number) for number in np.frombuffer(data[4:begin], ">u4")]
    if len(shape) != data[3] or len(data) - begin != math.prod(shape):
        raise ValueError(f"it says {' x '.join(map(str, shape))} bytes and has {len(data) - begin:,}")
    content = np.frombuffer(data, np.uint8, offset=begin).reshape(shape)
    return Packed(content, content.tolist() if data[3] == 1 else (), as_is)


def read_h5(path: Path) -> Packed:
    """Pictures (`x`) or labels (`y`) in the HDF5 files of PCam.

    Raises:
        UserError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(f"'{path}' is in the format HDF5: reading it needs h5py, `pip install h5py`") from None
    opened = h5py.File(path, "r")
    if "x" in opened:
        return Packed(opened["x"], (), as_is)
    return Packed((), [int(label) for label in np.asarray(opened["y"]).reshape(-1)], as_is)


FORMS: dict[str, Callable[[Path], Packed]] = {
    "cifar10": lambda path: read_cifar(path, 1, "labels"),
    "cifar100": lambda path: read_cifar(path, 2, "fine_labels"),
    "stl10": read_stl,
    "bytes": read_bytes_as_labels,
    "idx": read_idx,
    "h5": read_h5,
}
"""Form of a packed file, as paths name it -> how it is read."""


@cache
def open_packed(path: Path, form: str, process: int) -> Packed:
    """A packed file, opened once per process; open HDF5 files must not be shared by forked processes."""
    return FORMS[form](path)


def read_packed(folder: Path, name: str, form: str) -> Packed:
    """A packed file that a data set needs.

    Raises:
        UserError: it is missing or damaged, or its form needs a library that is not installed.
    """
    path = packed_file(folder, name, form)
    if path is None:
        raise UserError(f"'{folder / name}' is missing (also as {', '.join(ENDINGS[1:])}): restore it")
    try:
        return open_packed(path, form, os.getpid())
    except UserError:
        raise
    except Exception as error:  # what damaged files raise is of any kind
        raise UserError(f"'{path}' cannot be read: {first_line(error)}") from None


def packed_bytes(folder: Path, where: PackedPath) -> bytes:
    """One packed picture as the bytes of an image file (PPM, or PGM where it is grey).

    Args:
        folder: that the path is relative to.
        where: file, form and number of the picture.

    Raises:
        FileNotFoundError: there is no such file, or it has fewer pictures.
        Exception: whatever is raised for what cannot be read.
    """
    path = packed_file(folder, where.name, where.form)
    packed = None if path is None else open_packed(path, where.form, os.getpid())
    if packed is None or where.number >= len(packed.pictures):
        raise FileNotFoundError(str(where))
    rows = packed.to_rows(np.asarray(packed.pictures[where.number], np.uint8))
    kind = "P5" if rows.ndim == 2 else "P6"
    return f"{kind} {rows.shape[1]} {rows.shape[0]} 255\n".encode() + rows.tobytes()
