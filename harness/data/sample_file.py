"""A k-shot sample as an index file: every run exports one, and a run can read one instead of drawing a sample."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.fewshot import sample_hash
from harness.data.readers import Picture, Splits
from harness.errors import UserError, nearest

SAMPLED = ("train", "val")
VALIDATION_SHOTS = 4
FORM = 'expected {"train": [[path, label, class name], ...], "val": [...]} or lines {"split", "path", "label", "class"}'


class Sample(NamedTuple):
    """A k-shot sample: training and validation pictures, ordered by label."""

    train: list[Picture]
    val: list[Picture]


class Row(NamedTuple):
    """One row of an index file."""

    split: str
    path: str
    label: int
    class_name: str


def sample_index(sample: Sample, class_names: Sequence[str], **about: Any) -> dict[str, Any]:
    """A sample as the plain data of an index file.

    Args:
        sample: to write.
        class_names: of the data set, in label order.
        about: facts to write first, such as dataset, shots and seed.

    Returns:
        The facts, the `hash` of the training pictures, and `train` and `val` with rows [path, label, class name].
    """
    rows = {
        split: [[path, label, class_names[label]] for path, label in pictures]
        for split, pictures in zip(SAMPLED, sample, strict=True)
    }
    return {**about, "hash": sample_hash(sample.train), **rows}


def read_index(path: Path, splits: Splits, shots: int, dataset: str | None = None) -> Sample:
    """Read a sample from an index file, and check it against the data set.

    A path in the file may be longer than that in the data set if it ends in it, as absolute paths of another machine
    do. Class names may have spaces instead of underscores.

    Args:
        path: of the file: a run's `sample.json`, another one with `train` and perhaps `val`, or JSON lines.
        splits: of the data set.
        shots: k. Every class must have k training images, and either every class min(k, 4) validation images or none;
            fewer are accepted only if the data set has fewer.
        dataset: its name, checked if the file states one.

    Returns:
        The sample, ordered by label and then as in the file.

    Raises:
        UserError: the file has another format, or does not agree with the data set.
    """
    about, rows = parse_index(path)
    for key, asked in (("dataset", dataset), ("shots", shots)):
        if asked is not None and about.get(key, asked) != asked and not str(asked).startswith("folder:"):
            raise UserError(f"index '{path}' has {key} {about[key]}, and the run asks for {asked}")
    found = {split: find_rows(path, [row for row in rows if row.split == split], split, splits) for split in SAMPLED}
    sample = Sample(**found)
    check_counts(path, sample.train, splits.train, shots, splits.class_names, "training")
    if sample.val:
        few = min(shots, VALIDATION_SHOTS)
        check_counts(path, sample.val, splits.val, few, splits.class_names, "validation")
    if about.get("hash", sample_hash(sample.train)) != sample_hash(sample.train):
        raise UserError(f"index '{path}' was changed: its training images do not have its hash {about['hash']}")
    return sample


def parse_index(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """The facts of an index file, and its rows.

    Raises:
        UserError: the file is missing, or has another format.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise UserError(f"index '{path}' {reason}: give the sample.json of a run, or another k-shot index") from None
    try:
        about, entries = parse_lines(text) if is_lines(text) else parse_lists(text)
        rows = [Row(str(split), str(file), int(label), str(name)) for split, file, label, name in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' is no k-shot index: {FORM} ({type(error).__name__}: {error})") from None
    unknown = next((row.split for row in rows if row.split not in SAMPLED), None)
    if unknown is not None:
        raise UserError(f"index '{path}' has a row of split '{unknown}': only train and val can be given")
    if not any(row.split == "train" for row in rows):
        raise UserError(f"index '{path}' has no training images: {FORM}")
    return about, rows


def is_lines(text: str) -> bool:
    """Whether a text is in JSON lines, so that its first line is an object with a path."""
    try:
        first = json.loads(text.lstrip().split("\n", 1)[0])
    except ValueError:
        return False
    return isinstance(first, dict) and "path" in first


def parse_lines(text: str) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """The facts (none) and rows (split, path, label, class name) of a text in JSON lines."""
    lines = [json.loads(line) for line in text.split("\n") if line.strip()]
    return {}, [(line["split"], line["path"], line["label"], line["class"]) for line in lines]


def parse_lists(text: str) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """The facts and rows (split, path, label, class name) of a text with one list per split."""
    content = json.loads(text)
    lists = {"train": content["train"], "val": content.get("val", [])}
    about = {key: value for key, value in content.items() if key not in lists}
    return about, [(split, *row) for split, rows in lists.items() for row in rows]


def find_rows(path: Path, rows: Sequence[Row], split: str, splits: Splits) -> list[Picture]:
    """The data set's pictures that the rows of one split refer to, ordered by label.

    Raises:
        UserError: a row names no picture of this split, another class than the data set, or a picture twice.
    """
    known = {picture.path: picture for picture in getattr(splits, split)}
    found: dict[Picture, None] = {}
    for row in rows:
        picture = find_picture(row.path, known)
        if picture is None:
            raise UserError(f"index '{path}': {split} image '{row.path}' {why_unknown(row.path, split, splits)}")
        name = splits.class_names[picture.label]
        if row.label != picture.label or plain(row.class_name) != plain(name):
            raise UserError(
                f"index '{path}' calls '{row.path}' class {row.label} '{row.class_name}', "
                f"and the data set {picture.label} '{name}'"
            )
        if picture in found:
            raise UserError(f"index '{path}' has {split} image '{row.path}' twice")
        found[picture] = None
    return sorted(found, key=lambda picture: picture.label)


def find_picture(path: str, known: dict[str, Picture]) -> Picture | None:
    """The known picture with that path or, if there is none, with the longest ending of it."""
    path = path.replace("\\", "/")
    while path not in known and "/" in path:
        path = path.partition("/")[2]
    return known.get(path)


def why_unknown(path: str, split: str, splits: Splits) -> str:
    """Why a split has no picture of that path, for messages."""
    for other in ("train", "val", "test"):
        if other != split and find_picture(path, {picture.path: picture for picture in getattr(splits, other)}):
            return f"is a {other} image of the data set"
    if not getattr(splits, split):
        return f"is not in the data set, which has no {split} images"
    # Not among all paths: a data set may have a million of them.
    folder = path.replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
    near = [picture.path for picture in getattr(splits, split) if folder in picture.path][:1000]
    hint = nearest(path, near).partition(" Known:")[0]
    return f"is not in the data set.{hint}"


def plain(class_name: str) -> str:
    """A class name as it is written in prompts."""
    return class_name.replace("_", " ")


def check_counts(
    path: Path,
    pictures: Iterable[Picture],
    candidates: Iterable[Picture],
    shots: int,
    class_names: Sequence[str],
    purpose: str,
) -> None:
    """Raise a UserError unless every class has k pictures, or all that the data set has.

    Args:
        path: of the index file, for the message.
        pictures: of the index.
        candidates: all pictures of the data set's split.
        shots: k.
        class_names: in label order.
        purpose: `training` or `validation`, for the message.
    """
    counts, available = (Counter(label for _, label in some) for some in (pictures, candidates))
    for label, name in enumerate(class_names):
        wanted = min(shots, available[label])
        if counts[label] != wanted:
            raise UserError(
                f"index '{path}' has {counts[label]} {purpose} images of class {label} '{name}', expected {wanted}"
            )
