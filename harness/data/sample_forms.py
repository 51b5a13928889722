"""The forms in which k-shot samples are passed around: what stands in an index file, as rows.

- `sample.json` of a run, or lists of [path, label, class name] under train and val;
- JSON lines with split, path, label and class;
- the official code's pickles (`datum_pickle.py`);
- cross_modal_adaptation's JSON: {"train": {"data": [{"impath", "label", "classname"}, ...]}, "val": ...};
- the public splits of 2SFS: JSON lines with _impath, _label and _classname, in one file for each of train and val.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.datum_pickle import FIRST_BYTE, MOST_PICKLE, OFFICIAL, read_datum_lists
from harness.data.picture_files import open_regular
from harness.data.text_files import parse_json, parse_row, read_bytes, read_text, short, why_unreadable
from harness.errors import UserError, first_line

SAMPLED = ("train", "val")
FORM = 'expected {"train": [[path, label, class name], ...], "val": [...]} or lines {"split", "path", "label", "class"}'
PICKLED = f'expected {{"train": [Datum, ...], "val": [...]}} as the official code pickles it, of {".".join(OFFICIAL)}'
KEYS = (("path", "label", "class"), ("impath", "label", "classname"), ("_impath", "_label", "_classname"))
"""What the path, the label and the class name of an image are called where a row is an object."""
PICKLE_SUFFIXES = (".pkl", ".pickle")
TRAIN_LINES, VAL_LINES = "_train.jsonl", "_val.jsonl"
"""How the names of the two files of a 2SFS split end."""

Entry = tuple[str, object]
"""Split, and a row that was not checked."""


class Row(NamedTuple):
    """One row of an index file."""

    split: str
    path: str
    label: int
    class_name: str


@dataclass(frozen=True)
class Facts:
    """What an index file says of itself; None is unknown.

    Attributes:
        dataset: name of the data set.
        shots: k.
        hash: of the training pictures.
        broken_images: paths of pictures that were drawn and left out, since they cannot be read.
    """

    dataset: str | None = None
    shots: int | None = None
    hash: str | None = None
    broken_images: tuple[str, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Facts":
        """The facts among the keys of an index file.

        Raises:
            ValueError: one is of another type.
        """
        broken = content.get("broken_images", [])
        kinds = {"dataset": str, "shots": int, "hash": str}
        wrong = [key for key, kind in kinds.items() if not isinstance(content.get(key), kind | None)]
        if not isinstance(broken, list) or not all(isinstance(path, str) for path in broken):
            wrong.append("broken_images")
        if wrong:
            raise ValueError(f"{wrong[0]} is {short(content[wrong[0]])}")
        return cls(content.get("dataset"), content.get("shots"), content.get("hash"), tuple(broken))


def index_files(path: Path) -> tuple[Path, ...]:
    """The files of an index: itself and, if it holds the training images of a 2SFS split, the validation images'."""
    if path.name.endswith(TRAIN_LINES):
        beside = path.with_name(path.name.removesuffix(TRAIN_LINES) + VAL_LINES)
        if beside.is_file():
            return path, beside
    return (path,)


def parse_index(path: Path) -> tuple[Facts, list[Row]]:
    """The facts of an index, and its rows.

    Raises:
        UserError: a file is missing, or has another format.
    """
    facts, rows = Facts(), []
    for file in index_files(path):
        facts, found = parse_file(file)
        rows += found
    return facts, rows


def parse_file(path: Path) -> tuple[Facts, list[Row]]:
    """The facts of an index file, and its rows.

    Raises:
        UserError: the file is missing, or has another format.
    """
    try:
        pickled = is_pickle(path)
        content = read_bytes(path, MOST_PICKLE) if pickled else read_text(path)
    except (OSError, ValueError) as error:
        gone = isinstance(error, FileNotFoundError)
        reason = "does not exist" if gone else f"cannot be read ({why_unreadable(error)})"
        raise UserError(f"index '{path}' {reason}: give the sample.json of a run, or another k-shot index") from None
    try:
        facts, entries = parse_content(content, "val" if path.name.endswith(VAL_LINES) else "train")
        rows = [Row(split, *parse_row(row)) for split, row in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if pickled:
            raise UserError(
                f"'{path}' is no k-shot index: {PICKLED} ({error}); nothing in a pickle is executed"
            ) from None
        why = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"'{path}' is no k-shot index: {FORM} ({why})") from None
    unknown = next((row.split for row in rows if row.split not in SAMPLED), None)
    if unknown is not None:
        raise UserError(f"index '{path}' has a row of split {short(unknown)}: only train and val can be given")
    return facts, rows


def is_pickle(path: Path) -> bool:
    """Whether a file is meant to be a pickle, by its name or its first byte.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    with open_regular(path) as file:
        return path.suffix.lower() in PICKLE_SUFFIXES or file.read(1) == FIRST_BYTE


def parse_content(content: bytes | str, split: str) -> tuple[Facts, list[Entry]]:
    """The facts and rows of a file's content, rows not checked.

    Args:
        content: of a pickle, or a text.
        split: of lines that name none.
    """
    if isinstance(content, bytes):
        lists = read_datum_lists(content)
        return Facts(), [(name, list(row)) for name, rows in lists.items() for row in rows]
    return parse_lines(content, split) if is_lines(content) else parse_lists(content)


def is_lines(text: str) -> bool:
    """Whether a text is in JSON lines, so that its first line is an object with a path."""
    try:
        first = parse_json(text.lstrip().split("\n", 1)[0])
    except ValueError:
        return False
    return isinstance(first, dict) and any(path in first for path, _, _ in KEYS)


def parse_lines(text: str, split: str) -> tuple[Facts, list[Entry]]:
    """The facts (none) and rows (split, [path, label, class name]) of a text in JSON lines.

    Only lines in our own form must name their split; of others it is `split`.
    """
    lines = [parse_json(line) for line in text.split("\n") if line.strip()]
    return Facts(), [
        (line["split"] if KEYS[0][0] in line else line.get("split", split), listed(line)) for line in lines
    ]


def parse_lists(text: str) -> tuple[Facts, list[Entry]]:
    """The facts and rows (split, [path, label, class name]) of a text with one list per split."""
    content = parse_json(text)
    lists = {"train": content["train"], "val": content.get("val", [])}
    for split, rows in lists.items():
        if isinstance(rows, dict) and "data" in rows:
            lists[split] = rows = rows["data"]
        if not isinstance(rows, list):
            raise TypeError(f"{split} is no list")
    return Facts.of(content), [(split, listed(row)) for split, rows in lists.items() for row in rows]


def listed(row: object) -> object:
    """A row as [path, label, class name]; what is no object as it is.

    Raises:
        KeyError: the object lacks one of the three.
    """
    if not isinstance(row, dict):
        return row
    keys = next((keys for keys in KEYS if keys[0] in row), KEYS[0])
    return [row[key] for key in keys]
