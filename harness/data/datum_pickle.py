"""The k-shot samples that the official code keeps as pickles, read without executing anything that stands in them.

CoOp and what is built on Dassl write `split_fewshot/shot_K-seed_S.pkl`: {"train": [Datum, ...], "val": [...]}. A pickle
is a program, so it is looked through before it is unpickled: only instructions that build dictionaries, lists, texts,
whole numbers and objects of that one class are let through. None of them calls anything, and the class itself is never
imported: `Datum` stands for it.
"""

import io
import pickle
import pickletools
from typing import Any

from harness.data.text_files import short
from harness.errors import first_line

OFFICIAL = ("dassl.data.datasets.base_dataset", "Datum")
"""Module and name of the only class that a sample of the official code holds."""
FIRST_BYTE = b"\x80"
"""Of every pickle since protocol 2, and of no text in UTF-8."""
MOST_PICKLE = 64 << 20
"""Bytes of the largest pickle that is read; 16 shots of ImageNet are about 2 MiB."""
BUILDING = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE"),
        *("SHORT_BINUNICODE", "BINUNICODE", "BININT", "BININT1", "BININT2"),
        *("GLOBAL", "STACK_GLOBAL", "NEWOBJ", "BUILD"),
    )
)
"""The instructions that a sample is built with. REDUCE and whatever else calls a function is not among them."""


class Datum:
    """One image of the official code's sample.

    Attributes:
        state: what was pickled: `_impath`, `_label`, `_domain`, `_classname`; not checked.
    """

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class DatumUnpickler(pickle.Unpickler):
    """Unpickles objects of the one class of a sample, as `Datum`, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for in the pickle."""
        if (module, name) == OFFICIAL:
            return Datum
        raise pickle.UnpicklingError(f"it names {short(f'{module}.{name}')}")


def read_datum_lists(data: bytes) -> dict[str, list[tuple[object, object, object]]]:
    """The images of a pickled sample.

    Args:
        data: content of the file.

    Returns:
        `train` and, if there is one, `val` -> path, label and class name of each image, not checked.

    Raises:
        ValueError: it is no pickle of a sample; the message says why.
    """
    try:
        check_instructions(data)
        content = DatumUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # what a damaged pickle raises is of any kind
        raise ValueError(first_line(error)) from None
    if not isinstance(content, dict) or "train" not in content:
        raise ValueError("it is no dictionary with train")
    found = {}
    for split in ("train", "val"):
        if split in content:
            items = content[split]
            if not isinstance(items, list):
                raise ValueError(f"{split} is no list")
            found[split] = [row_of(split, item) for item in items]
    return found


def check_instructions(data: bytes) -> None:
    """Raise a ValueError if a pickle does anything else than build a sample.

    The places where it keeps what it refers to again must be as few as its instructions: the unpickler reserves memory
    up to the highest one.
    """
    for number, (instruction, argument, _) in enumerate(pickletools.genops(data)):
        if instruction.name not in BUILDING:
            raise ValueError(f"it has the instruction {instruction.name}")
        if instruction.name.endswith("BINPUT") and (not isinstance(argument, int) or argument > number):
            raise ValueError(f"it keeps a value at place {argument}")


def row_of(split: str, item: object) -> tuple[object, object, object]:
    """Path, label and class name of an image.

    Raises:
        ValueError: it is of another kind.
    """
    state = item.state if isinstance(item, Datum) else None
    if not isinstance(state, dict) or not {"_impath", "_label", "_classname"} <= state.keys():
        raise ValueError(f"{split} has something that is no {OFFICIAL[1]} with _impath, _label and _classname")
    return state["_impath"], state["_label"], state["_classname"]
