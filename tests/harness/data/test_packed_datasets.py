"""Data sets whose pictures lie as bare pixels in a few files: read to the exact pixels, and what is said if broken."""

import io
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.datasets import find_dataset, read_dataset
from harness.data.loader import PictureSet
from harness.data.packed_files import open_packed
from harness.data.picture_files import file_state, in_packed, read_bytes
from harness.data.pictures import broken_pictures, missing_pictures, read_picture
from harness.data.readers import UNTESTED, Splits
from harness.errors import UserError
from tests.harness.data.packed_archives import (
    SMALL,
    Array,
    cifar_tree,
    idx,
    mnist_tree,
    pixels,
    planes,
    python2_pickle,
    stl_tree,
)
from tests.harness.data.trees import one_line_error

Content = dict[str, tuple[Array, list[int]]]


def check_content(splits: Splits, form: str, train: list[str], test: list[str], content: Content) -> None:
    """All pictures in the order of their files, with their labels and exact pixels."""
    for pictures, names in ((splits.train, train), (splits.test, test)):
        expected = [
            (f"{name}.{form}/{number}", label) for name in names for number, label in enumerate(content[name][1])
        ]
        assert [(path, label) for path, label in pictures] == expected
        images = np.stack([np.array(read_picture(splits.folder, path)) for path, _ in pictures])
        wanted = np.concatenate([content[name][0] for name in names])
        assert np.array_equal(images, wanted if wanted.ndim == 4 else np.repeat(wanted[..., None], 3, axis=3))
    every = [*splits.train, *splits.test]
    assert not missing_pictures(splits.folder, every)
    assert not broken_pictures(splits.folder, every)


@pytest.mark.parametrize(
    ("form", "folder"),
    [
        ("python", "cifar-10-batches-py"),
        ("binary", "cifar-10-batches-bin"),
        ("python", "cifar10/cifar-10-batches-py"),
        ("binary", "CIFAR-10"),
    ],
)
def test_cifar10(form: str, folder: str, tmp_path: Path) -> None:
    content = cifar_tree(tmp_path / folder, form, 10)
    splits = read_dataset("cifar10", str(tmp_path))
    check_content(splits, "cifar10", [f"data_batch_{number}" for number in range(1, 6)], ["test_batch"], content)
    assert splits.class_names[:2] == ("airplane", "automobile")
    assert splits.val == ()


@pytest.mark.parametrize(("form", "folder"), [("python", "cifar-100-python"), ("binary", "cifar-100-binary")])
def test_cifar100(form: str, folder: str, tmp_path: Path) -> None:
    content = cifar_tree(tmp_path / folder, form, 100)
    splits = read_dataset("cifar100", str(tmp_path))
    check_content(splits, "cifar100", ["train"], ["test"], content)
    assert (len(splits.class_names), splits.class_names[1]) == (100, "aquarium fish")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("folder", ["MNIST/raw", "mnist"])
def test_mnist(folder: str, compressed: bool, tmp_path: Path) -> None:
    content = mnist_tree(tmp_path / folder, compressed)
    splits = read_dataset("mnist", str(tmp_path))
    check_content(splits, "idx", ["train-images-idx3-ubyte"], ["t10k-images-idx3-ubyte"], content)
    assert splits.class_names == tuple("0123456789")


def test_stl10(tmp_path: Path) -> None:
    content = stl_tree(tmp_path / "stl10_binary")
    splits = read_dataset("stl10", str(tmp_path))
    check_content(splits, "stl10", ["train_X"], ["test_X"], content)
    assert [source.name for source in splits.sources] == ["train_y.bin", "test_y.bin"]


def test_a_sample_is_the_same_in_every_form_of_the_files(tmp_path: Path) -> None:
    cifar_tree(tmp_path / "one" / "cifar-10-batches-py", "python", 10)
    cifar_tree(tmp_path / "other" / "cifar-10-batches-bin", "binary", 10)
    one, other = (read_dataset("cifar10", str(tmp_path / root)) for root in ("one", "other"))
    assert (one.train, one.test) == (other.train, other.test)
    path = one.test[3].path
    assert read_bytes(one.folder, path) == read_bytes(other.folder, path)


def test_test_labels_are_not_read_unless_wanted(tmp_path: Path) -> None:
    mnist_tree(tmp_path / "MNIST" / "raw", False)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    splits = read_dataset("mnist", str(tmp_path), UNTESTED)
    assert (len(splits.train), splits.test) == (SMALL, ())
    assert "t10k-labels-idx1-ubyte' is missing" in one_line_error("mnist", tmp_path)


def test_a_loader_reads_packed_pictures(tmp_path: Path) -> None:
    mnist_tree(tmp_path / "MNIST" / "raw", True)
    splits = read_dataset("mnist", str(tmp_path))
    assert len(PictureSet(splits.folder, list(splits.train)).labels) == SMALL


def test_state_of_a_packed_picture_is_that_of_its_file(tmp_path: Path) -> None:
    mnist_tree(tmp_path / "MNIST" / "raw", False)
    folder = tmp_path / "MNIST" / "raw"
    file = folder / "train-images-idx3-ubyte"
    assert in_packed(folder, "train-images-idx3-ubyte.idx/3") == ("train-images-idx3-ubyte", "idx", 3)
    os.utime(file, (1, 1))
    before = os.stat(file)
    try:
        assert file_state(folder, "train-images-idx3-ubyte.idx/3")[0] == before.st_size
    except OSError as error:
        assert "changed just now" in str(error)  # noqa: PT017
    with pytest.raises(FileNotFoundError):
        file_state(folder, "no-such.idx/3")
    assert missing_pictures(folder, [("no-such.idx/3", 0)]) == ["no-such.idx/3"]  # type: ignore[list-item]
    (tmp_path / "folder.idx").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "folder.idx" / "7", "PNG")
    assert in_packed(tmp_path, "folder.idx/7") is None
    assert read_picture(tmp_path, "folder.idx/7").size == (4, 4)


def test_a_number_beyond_the_file_is_missing(tmp_path: Path) -> None:
    mnist_tree(tmp_path / "MNIST" / "raw", False)
    with pytest.raises(UserError, match="is missing"):
        read_picture(tmp_path / "MNIST" / "raw", f"train-images-idx3-ubyte.idx/{SMALL}")


class Evil:
    """Runs a command when it is unpickled by other readers."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def batch_with(content: object) -> bytes:
    return pickle.dumps(content, protocol=2)


def test_nothing_in_a_batch_is_executed(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    cifar_tree(folder, "python", 10)
    mark = tmp_path / "executed"
    (folder / "test_batch").write_bytes(batch_with({"data": Evil(mark), "labels": [1]}))
    message = one_line_error("cifar10", tmp_path)
    assert (
        f"test_batch' cannot be read: it names {os.system.__module__}.system, which no batch of CIFAR does" in message
    )
    assert not mark.exists()


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (b"", "Ran out of input"),
        (b"\x80\x02}.", "it has no 'data' or no 'labels'"),
        (b"\x80\x02K\1.", "it is no dictionary"),
        (python2_pickle(planes(pixels(2, 32, 0)), [1], b"labels"), "it has 2 pictures and 1 labels"),
        (python2_pickle(planes(pixels(2, 32, 0)), [1, 2], b"labels", b"f8"), "its pictures are no rows of 3,072 bytes"),
        (python2_pickle(pixels(2, 8, 0), [1, 2], b"labels"), "its pictures are no rows of 3,072 bytes"),
        (python2_pickle(planes(pixels(1, 32, 0)), [10], b"labels"), "has the label 10: there are 10 classes"),
        (python2_pickle(planes(pixels(3, 32, 0)), [1, 2, 3], b"labels")[:-2000], "cannot be read"),
        (b"\x80\x02cnumpy\nload\n.", "it names numpy.load, which no batch of CIFAR does; nothing was executed"),
    ],
)
def test_a_broken_batch_is_one_line(batch: bytes, expected: str, tmp_path: Path) -> None:
    cifar_tree(tmp_path / "cifar-10-batches-py", "python", 10)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(batch)
    message = one_line_error("cifar10", tmp_path)
    assert expected in message
    assert "data_batch_3'" in message


@pytest.mark.parametrize(
    ("name", "file", "data", "expected"),
    [
        ("cifar10", "data_batch_1.bin", b"1" * 3000, "its 3,000 bytes are no records of 3,073"),
        ("cifar10", "data_batch_1.bin", b"", "its 0 bytes are no records"),
        ("stl10", "train_y.bin", b"\1\2", "has 6 pictures, but 2 labels"),
        ("stl10", "train_y.bin", b"\0\1\2\3\4\5", "has the label 0: there are 10 classes"),
        ("stl10", "test_X.bin", b"123", "its 3 bytes are no records of 27,648"),
        ("mnist", "train-images-idx3-ubyte", b"\0\0\x0d\3", "does not begin as a file of bytes in the idx format does"),
        ("mnist", "train-labels-idx1-ubyte", idx(np.zeros(4, np.uint8))[:-1], "it says 4 bytes and has 3"),
        ("mnist", "train-images-idx3-ubyte", b"\x1f\x8bnonsense", "cannot be read"),
    ],
)
def test_a_broken_file_is_one_line(name: str, file: str, data: bytes, expected: str, tmp_path: Path) -> None:
    folder = tmp_path / find_dataset(name).folder
    if name == "cifar10":
        cifar_tree(folder, "binary", 10)
    elif name == "stl10":
        stl_tree(folder)
    else:
        mnist_tree(folder / "raw", False)
    next(folder.rglob(file)).write_bytes(data)
    message = one_line_error(name, tmp_path)
    assert expected in message
    assert file.removesuffix(".bin").replace("_y", "_") in message


def test_a_folder_without_the_files_says_which_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    message = one_line_error("cifar10", tmp_path)
    assert message.startswith(f"no file 'data_batch_1' in '{tmp_path}/cifar10' nor '{tmp_path}/cifar10/cifar-10-")


class H5File(dict[str, Array]):
    """What h5py gives of a file, which holds a numpy archive here."""

    def __init__(self, path: Path, mode: str) -> None:
        assert mode == "r"
        super().__init__(np.load(io.BytesIO(path.read_bytes())))


def pcam_tree(root: Path) -> Content:
    root.mkdir()
    found = {}
    for seed, part in enumerate(("train", "valid", "test")):
        name = f"camelyonpatch_level_2_split_{part}"
        pictures, labels = pixels(SMALL, 96, seed), [number % 2 for number in range(SMALL)]
        for ending, content in (("x", {"x": pictures}), ("y", {"y": np.array(labels).reshape(-1, 1, 1, 1)})):
            data = io.BytesIO()
            np.savez(data, **content)
            (root / f"{name}_{ending}.h5").write_bytes(data.getvalue())
        found[f"{name}_x"] = (pictures, labels)
    return found


def test_pcam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_packed.cache_clear()
    content = pcam_tree(tmp_path / "pcam")
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=H5File))
    splits = read_dataset("pcam", str(tmp_path))
    names = [f"camelyonpatch_level_2_split_{part}_x" for part in ("train", "test")]
    check_content(splits, "h5", names[:1], names[1:], content)
    assert len(splits.val) == SMALL
    assert splits.class_names == ("lymph node", "lymph node containing metastatic tumor tissue")


def test_pcam_without_h5py_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_packed.cache_clear()
    pcam_tree(tmp_path / "pcam")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "is in the format HDF5: reading it needs h5py, `pip install h5py`" in one_line_error("pcam", tmp_path)
