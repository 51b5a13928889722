"""A k-shot sample as an index file: every run exports one, and a run can read one instead of drawing a sample."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.fewshot import sample_hash
from harness.data.own_names import is_own
from harness.data.readers import Picture, Splits
from harness.data.text_files import parse_json, parse_row, read_text, short, why_unreadable
from harness.errors import UserError, first_line, nearest

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


def sample_index(sample: Sample, class_names: Sequence[str], **about: Any) -> dict[str, Any]:
    """A sample as the plain data of an index file.

    Args:
        sample: to write.
        class_names: of the data set, in label order.
        about: facts to write first, such as dataset, shots, seed and broken_images.

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
    if about.dataset not in (None, dataset) and dataset and not is_own(dataset):
        raise UserError(f"index '{path}' has dataset {short(about.dataset)}, and the run asks for '{dataset}'")
    if about.shots not in (None, shots):
        raise UserError(f"index '{path}' has shots {about.shots}, and the run asks for {shots}")
    if splits.train and not any(row.split == "train" for row in rows):
        raise UserError(f"index '{path}' has no training images: {FORM}")
    found = {split: find_rows(path, [row for row in rows if row.split == split], split, splits) for split in SAMPLED}
    sample = Sample(**found)
    broken = set(about.broken_images)
    check_counts(path, sample.train, splits.train, broken, shots, splits.class_names, "training")
    if sample.val:
        few = min(shots, VALIDATION_SHOTS)
        check_counts(path, sample.val, splits.val, broken, few, splits.class_names, "validation")
    if about.hash is not None and about.hash != sample_hash(sample.train):
        raise UserError(f"index '{path}' was changed: its training images do not have its hash {about.hash[:100]}")
    return sample


def parse_index(path: Path) -> tuple[Facts, list[Row]]:
    """The facts of an index file, and its rows.

    Raises:
        UserError: the file is missing, or has another format.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        gone = isinstance(error, FileNotFoundError)
        reason = "does not exist" if gone else f"cannot be read ({why_unreadable(error)})"
        raise UserError(f"index '{path}' {reason}: give the sample.json of a run, or another k-shot index") from None
    try:
        about, entries = parse_lines(text) if is_lines(text) else parse_lists(text)
        rows = [Row(split, *parse_row(row)) for split, row in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"'{path}' is no k-shot index: {FORM} ({why})") from None
    unknown = next((row.split for row in rows if row.split not in SAMPLED), None)
    if unknown is not None:
        raise UserError(f"index '{path}' has a row of split {short(unknown)}: only train and val can be given")
    return about, rows


def is_lines(text: str) -> bool:
    """Whether a text is in JSON lines, so that its first line is an object with a path."""
    try:
        first = parse_json(text.lstrip().split("\n", 1)[0])
    except ValueError:
        return False
    return isinstance(first, dict) and "path" in first


def parse_lines(text: str) -> tuple[Facts, list[tuple[str, object]]]:
    """The facts (none) and rows (split, [path, label, class name]) of a text in JSON lines."""
    lines = [parse_json(line) for line in text.split("\n") if line.strip()]
    return Facts(), [(line["split"], [line["path"], line["label"], line["class"]]) for line in lines]


def parse_lists(text: str) -> tuple[Facts, list[tuple[str, object]]]:
    """The facts and rows (split, [path, label, class name]) of a text with one list per split."""
    content = parse_json(text)
    lists = {"train": content["train"], "val": content.get("val", [])}
    for split, rows in lists.items():
        if not isinstance(rows, list):
            raise TypeError(f"{split} is no list")
    return Facts.of(content), [(split, row) for split, rows in lists.items() for row in rows]


def find_rows(path: Path, rows: Sequence[Row], split: str, splits: Splits) -> list[Picture]:
    """The data set's pictures that the rows of one split refer to, ordered by label.

    Raises:
        UserError: a row names no picture of this split, another class than the data set, or a picture twice.
    """
    known = {picture.path: picture for picture in getattr(splits, split)}
    times = Counter(getattr(splits, split)) if rows else Counter()
    found: list[Picture] = []
    for row in rows:
        picture = find_picture(row.path, known)
        if picture is None:
            raise UserError(f"index '{path}': {split} image {short(row.path)} {why_unknown(row.path, split, splits)}")
        name = splits.class_names[picture.label]
        if row.label != picture.label or plain(row.class_name) != plain(name):
            raise UserError(
                f"index '{path}' calls {short(row.path)} class {row.label} {short(row.class_name)}, "
                f"and the data set {picture.label} '{name}'"
            )
        times[picture] -= 1
        if times[picture] < 0:
            raise UserError(f"index '{path}' has {split} image {short(row.path)} twice")
        found.append(picture)
    return sorted(found, key=lambda picture: picture.label)


def find_picture(path: str, known: dict[str, Picture]) -> Picture | None:
    """The known picture with that path or, if there is none, with the longest ending of it."""
    if path in known:
        return known[path]
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
    broken: Collection[str],
    shots: int,
    class_names: Sequence[str],
    purpose: str,
) -> None:
    """Raise a UserError unless every class has k pictures, or all that the data set has.

    Args:
        path: of the index file, for the message.
        pictures: of the index.
        candidates: all pictures of the data set's split.
        broken: paths of pictures that were drawn and left out.
        shots: k.
        class_names: in label order.
        purpose: `training` or `validation`, for the message.
    """
    candidates = list(candidates)
    counts, available = (Counter(label for _, label in some) for some in (pictures, candidates))
    lost = Counter(label for path, label in candidates if path in broken)
    for label, name in enumerate(class_names):
        wanted = min(shots, available[label]) - lost[label]
        if counts[label] != wanted:
            raise UserError(
                f"index '{path}' has {counts[label]} {purpose} images of class {label} '{name}', expected {wanted}"
            )
