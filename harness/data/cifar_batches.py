"""The batches of CIFAR in Python's form: pickles, of which nothing is executed.

A pickle names the functions that build its objects. Here every name that such a batch needs stands for one of the
inert classes below, and any other name is refused, so that a batch is data and nothing else.
"""

import io
import pickle
from pathlib import Path
from typing import Any

from harness.data.picture_files import open_regular

MOST_BYTES = 256 << 20
"""Size of the largest batch that is read; CIFAR's have at most 150 MB."""
ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
SIDE, CHANNELS = 32, 3
VALUES = CHANNELS * SIDE * SIDE
"""Bytes of a picture: a plane for each of red, green and blue, row by row."""


class RawType:
    """Stands for the type of an array's elements."""

    def __init__(self, name: object = "", *_: object) -> None:
        self.name = name.decode("latin-1") if isinstance(name, bytes) else str(name)

    def __setstate__(self, state: object) -> None:
        """Byte order and fields of the type: bytes have neither."""


class RawArray:
    """Stands for an array: the bytes that it would have.

    Attributes:
        data: its content.
    """

    def __init__(self, *_: object) -> None:
        self.data = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_column, data = state
        fits = isinstance(data, bytes) and len(shape) == 2 and shape[1] == VALUES and len(data) == shape[0] * VALUES
        if not fits or by_column or not isinstance(kind, RawType) or kind.name not in ("u1", "|u1"):
            raise pickle.UnpicklingError(f"its pictures are no rows of {VALUES:,} bytes")
        self.data = data


class BatchUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, texts, numbers and arrays of bytes, and refuses whatever else a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        """The inert class that a name stands for."""
        if name == "_reconstruct" and module in ARRAY_MODULES:
            return RawArray
        if module == "numpy" and name in ("ndarray", "dtype"):
            return RawType if name == "dtype" else RawArray
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch of CIFAR does; nothing was executed")


def read_batch(path: Path, labels: str) -> tuple[bytes, list[int]]:
    """The pictures and labels of a batch.

    Args:
        path: of a batch such as `data_batch_1` or `train`.
        labels: their name in it: `labels`, `fine_labels`.

    Returns:
        The bytes of N pictures, one after the other, and N labels.

    Raises:
        OSError: it cannot be read.
        Exception: whatever a damaged pickle raises.
    """
    with open_regular(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
    content = BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
    if not isinstance(content, dict):
        raise pickle.UnpicklingError("it is no dictionary")
    by_name = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    pictures, found = by_name.get("data"), by_name.get(labels)
    if not isinstance(pictures, RawArray) or not isinstance(found, list):
        raise pickle.UnpicklingError(f"it has no 'data' or no '{labels}'")
    if any(type(label) is not int for label in found) or len(found) * VALUES != len(pictures.data):
        raise pickle.UnpicklingError(f"it has {len(pictures.data) // VALUES} pictures and {len(found)} labels")
    return pictures.data, found
