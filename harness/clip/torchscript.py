"""The tensors of a TorchScript archive, the format of OpenAI's downloads, without its code.

torch.jit.load runs what an archive calls `__setstate__`, and TorchScript can write files. Here the archive's pickle is
read by an unpickler that knows tensors and containers alone; its code is never looked at.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Attributes:
    """Stands for an object of a class that the archive's code defines; only its attributes are kept."""

    values: object = None

    def __init__(self, *ignored: object) -> None:
        pass

    def __setstate__(self, values: object) -> None:
        self.values = values


class TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors, containers and `Attributes`, nothing else.

    Args:
        archive: opened.
        root: the folder in it that holds everything.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(stored(archive, f"{root}/data.pkl")))
        self.archive = archive
        self.root = root
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for in the pickle."""
        if module.split(".")[0] == "__torch__":
            return Attributes
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return view if name == "_rebuild_tensor_v2" else first
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        if module == "torch" and name in DTYPES:
            return name
        if module == "torch.jit._pickle":  # typed lists and dictionaries
            return first
        raise pickle.UnpicklingError(f"{module}.{name} is no tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        """The values of a storage, as a flat tensor."""
        _, kind, key, _, count = pid
        if key not in self.storages:
            content = bytearray(stored(self.archive, f"{self.root}/data/{key}"))
            self.storages[key] = torch.frombuffer(content, dtype=DTYPES[kind]) if content else torch.empty(0)
        if count > len(self.storages[key]):
            raise pickle.UnpicklingError(f"the values data/{key} are cut off")
        return self.storages[key]


def first(value: object, *ignored: object) -> object:
    """The value of a wrapper."""
    return value


def view(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *ignored: object) -> Tensor:
    """A tensor of some of a storage's values."""
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(size)} has fewer values than that")
    return storage.as_strided(size, stride, offset)


def stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of a member, as torch writes it: not compressed, so never larger than the file itself."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{name} is compressed")
    return archive.read(name)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of an archive.

    Raises:
        pickle.UnpicklingError: it holds something else than tensors and containers.
        zipfile.BadZipFile, KeyError, RuntimeError, ValueError: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if "/code/" in name).split("/")[0]
        return dict(tensors_of(TensorUnpickler(archive, root).load(), ()))


def tensors_of(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of everything below a value of an archive, named by the attributes on the way to it."""
    if isinstance(value, Tensor):
        yield ".".join(path), value
    elif isinstance(value, Attributes) and isinstance(value.values, dict):
        for name, inner in value.values.items():
            yield from tensors_of(inner, (*path, str(name)))
