"""Made-up archives of data sets whose pictures lie as bare pixels in a few files, in their real formats."""

import gzip
import struct
from pathlib import Path

import numpy as np

Array = np.ndarray
SMALL = 6
"""Pictures in each file."""


def pixels(number: int, side: int, seed: int, channels: int = 3) -> Array:
    """Random pictures, (number, side, side, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, channels), dtype=np.uint8)


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def short(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def python2_pickle(data: Array, labels: list[int], name: bytes, element: bytes = b"u1") -> bytes:
    """The pickle that Python 2 and its numpy wrote for a batch of CIFAR, opcode by opcode."""
    rows = data.reshape(len(data), -1)
    kind = b"cnumpy\ndtype\n" + short(element) + b"K\0K\1\x87R" + b"(K\3" + short(b"|") + b"NNN"
    kind += integer(-1) + integer(-1) + b"K\0tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + short(b"b") + b"\x87R"
    content = b"T" + struct.pack("<i", rows.size) + rows.tobytes()
    array += b"(K\1" + b"".join(integer(size) for size in rows.shape) + b"\x86" + kind + b"\x89" + content + b"tb"
    numbers = b"](" + b"".join(integer(label) for label in labels) + b"e"
    return b"\x80\x02}(" + short(b"data") + array + short(name) + numbers + short(b"batch_label") + short(b"x") + b"u."


def planes(pictures: Array) -> Array:
    """Rows of planes, as CIFAR has them."""
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).reshape(len(pictures), -1)


def cifar_tree(root: Path, form: str, classes: int) -> dict[str, tuple[Array, list[int]]]:
    """Write CIFAR-10 or -100 in its Python or binary form: name of a file -> its pictures and labels."""
    root.mkdir(parents=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"] if classes == 10 else ["train", "test"]
    found = {}
    for seed, name in enumerate(names):
        pictures = pixels(SMALL, 32, seed)
        labels = [(seed * 31 + number * 7) % classes for number in range(SMALL)]
        if form == "python":
            text = python2_pickle(planes(pictures), labels, b"labels" if classes == 10 else b"fine_labels")
            (root / name).write_bytes(text)
        else:
            before = [] if classes == 10 else [np.zeros((SMALL, 1), np.uint8)]
            columns = [*before, np.array(labels, np.uint8)[:, None], planes(pictures)]
            (root / f"{name}.bin").write_bytes(np.concatenate(columns, axis=1).tobytes())
        found[name] = (pictures, labels)
    return found


def idx(content: Array) -> bytes:
    return bytes([0, 0, 8, content.ndim]) + struct.pack(f">{content.ndim}I", *content.shape) + content.tobytes()


def mnist_tree(root: Path, compressed: bool) -> dict[str, tuple[Array, list[int]]]:
    """Write MNIST: name of a file of pictures -> its pictures (N, 28, 28) and labels."""
    root.mkdir(parents=True)
    found = {}
    for seed, part in enumerate(("train", "t10k")):
        pictures, labels = pixels(SMALL, 28, seed, 1)[..., 0], [(seed + 3 * number) % 10 for number in range(SMALL)]
        for name, content in (("images-idx3", pictures), ("labels-idx1", np.array(labels, np.uint8))):
            path = root / f"{part}-{name}-ubyte{'.gz' if compressed else ''}"
            path.write_bytes(gzip.compress(idx(content)) if compressed else idx(content))
        found[f"{part}-images-idx3-ubyte"] = (pictures, labels)
    return found


def stl_tree(root: Path) -> dict[str, tuple[Array, list[int]]]:
    """Write STL-10, whose planes are written column by column and whose labels begin at 1."""
    root.mkdir(parents=True)
    found = {}
    for seed, part in enumerate(("train", "test")):
        pictures, labels = pixels(SMALL, 96, seed), [(seed + number) % 10 for number in range(SMALL)]
        (root / f"{part}_X.bin").write_bytes(np.ascontiguousarray(pictures.transpose(0, 3, 2, 1)).tobytes())
        (root / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels))
        found[f"{part}_X"] = (pictures, labels)
    return found
