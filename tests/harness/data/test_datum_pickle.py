"""Pickles of the official code: read to the exact lists, and nothing in any pickle is executed."""

import contextlib
import os
import pickle
import pickletools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.datum_pickle import BUILDING, Datum, read_datum_lists
from tests.official_pickles import official_datum, pickled_sample

TRAIN = [("/home/them/data/dtd/images/banded/banded_0001.jpg", 0, "banded"), ("/d/b.jpg", 1, "polka-dotted")]
VAL = [("/d/v.jpg", 0, "banded")]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_the_exact_lists(monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    data = pickled_sample(monkeypatch, protocol, train=TRAIN, val=VAL)
    assert read_datum_lists(data) == {"train": TRAIN, "val": VAL}
    assert read_datum_lists(pickled_sample(monkeypatch, protocol, train=TRAIN)) == {"train": TRAIN}


def test_many_images_and_long_names(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [(f"/data/{'x' * 300}/{number}.jpg", number, f"класс {number}") for number in range(65_000, 70_000)]
    assert read_datum_lists(pickled_sample(monkeypatch, train=images))["train"] == images


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", ["whole", "list", "image", "path"])
def test_nothing_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, protocol: int, place: str) -> None:
    target = tmp_path / "made"
    call = Calls(os.mkdir, str(target))
    make = official_datum(monkeypatch)
    content: Any = {
        "whole": call,
        "list": {"train": call},
        "image": {"train": [make("/a.jpg"), call]},
        "path": {"train": [make(call)]},
    }[place]
    data = pickle.dumps(content, protocol=protocol)
    with pytest.raises(ValueError, match="it has the instruction"):
        read_datum_lists(data)
    assert not target.exists()
    pickle.loads(data)
    assert target.exists()  # it would have been made


def test_no_instruction_that_calls_is_let_through() -> None:
    calling = {"REDUCE", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
    assert calling <= {instruction.name for instruction in pickletools.opcodes}
    assert not calling & BUILDING


@pytest.mark.parametrize("name", ["os system", "builtins eval", "builtins object", "dassl.data.datasets Datum"])
def test_another_class(name: str) -> None:
    module, _, word = name.partition(" ")
    data = b"\x80\x02}X\x05\x00\x00\x00train]c" + f"{module}\n{word}\n".encode() + b")\x81as."
    with pytest.raises(ValueError, match=f"it names '{module}.{word}'"):
        read_datum_lists(data)


def without_key(key: str) -> Any:
    def change(image: Any) -> None:
        del image.__dict__[key]

    return change


@pytest.mark.parametrize("key", ["_impath", "_label", "_classname"])
def test_an_image_that_lacks_something(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    image = official_datum(monkeypatch)("/a.jpg")
    without_key(key)(image)
    with pytest.raises(ValueError, match="train has something that is no Datum with _impath, _label and _classname"):
        read_datum_lists(pickle.dumps({"train": [image]}))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "it is no dictionary with train"),
        ({"val": []}, "it is no dictionary with train"),
        ({"train": {}}, "train is no list"),
        ({"train": [], "val": "all"}, "val is no list"),
        ({"train": [["/a.jpg", 0, "cat"]]}, "train has something that is no Datum"),
    ],
)
def test_another_content(content: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_datum_lists(pickle.dumps(content))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x04",
        b"not a pickle",
        b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".",  # lists within lists
        b"\x80\x02}r\xff\xff\xff\x7f.",  # would reserve 32 GiB
        b"\x80\x02" + b"X\xff\xff\xff\x7fshort",  # a text of 2 GiB that is not there
        b"\x80\x02}X\x05\x00\x00\x00trainh\x07s.",  # a place that nothing was kept at
        b"\x80\x02}(X\x05\x00\x00\x00train.",
        b"\x80\x02cdassl.data.datasets.base_dataset\nDatum\n}b.",  # a state for the class itself
        b"\x80\x02}]b.",
    ],
)
def test_hostile_pickles(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\A.+\Z"):
        read_datum_lists(data)
    assert Datum.state is None


@given(st.data())
def test_a_pickle_with_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        whole = bytearray(pickled_sample(patch, train=TRAIN, val=VAL))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):  # nothing else may be raised
        assert "train" in read_datum_lists(bytes(whole))
