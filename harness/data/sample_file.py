"""A k-shot sample as an index file: every run exports one, and a run can read one instead of drawing a sample."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.fewshot import sample_hash
from harness.data.own_names import is_own
from harness.data.readers import SPLITS, Picture, Splits
from harness.data.sample_forms import FORM, SAMPLED, VAL_LINES, Row, parse_index
from harness.data.text_files import short
from harness.errors import UserError, nearest

VALIDATION_SHOTS = 4
"""The most validation images a class of a sample, as the official code has it."""


class Sample(NamedTuple):
    """A k-shot sample: training and validation pictures, ordered by label."""

    train: list[Picture]
    val: list[Picture]


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
        path: of the file, in one of the forms of `sample_forms.py`.
        splits: of the data set.
        shots: k. Every class must have k training images, and either every class min(k, 4) validation images or none;
            fewer are accepted only if the data set has fewer. Where a data set has no validation images, training
            images that are not in the sample take their place.
        dataset: its name, checked if the file states one.

    Returns:
        The sample, ordered by label and then as in the file.

    Raises:
        UserError: the file has another format, or does not agree with the data set.
    """
    about, rows = parse_index(path)
    if about.dataset not in (None, dataset) and dataset and not is_own(dataset):  # a place may be another here
        raise UserError(f"index '{path}' has dataset {short(about.dataset)}, and the run asks for '{dataset}'")
    if about.shots not in (None, shots):
        raise UserError(f"index '{path}' has shots {about.shots}, and the run asks for {shots}")
    if splits.train and not any(row.split == "train" for row in rows):
        alone = ": give the file of the training images beside it" if path.name.endswith(VAL_LINES) else f": {FORM}"
        raise UserError(f"index '{path}' has no training images{alone}")
    train = find_rows(path, [row for row in rows if row.split == "train"], "train", splits.train, splits)
    chosen_by = [row for row in rows if row.split == "val"]
    others = splits.val if splits.val or not chosen_by else tuple(set(splits.train) - set(train))
    sample = Sample(train, find_rows(path, chosen_by, "val", others, splits))
    broken = set(about.broken_images)
    check_counts(path, sample.train, splits.train, broken, shots, splits.class_names, "training")
    if sample.val:
        few = min(shots, VALIDATION_SHOTS)
        check_counts(path, sample.val, others, broken, few, splits.class_names, "validation")
    if about.hash is not None and about.hash != sample_hash(sample.train):
        raise UserError(f"index '{path}' was changed: its training images do not have its hash {about.hash[:100]}")
    return sample


def find_rows(
    path: Path, rows: Sequence[Row], split: str, candidates: Sequence[Picture], splits: Splits
) -> list[Picture]:
    """The data set's pictures that the rows of one split refer to, ordered by label.

    Args:
        path: of the index file, for messages.
        rows: of one split.
        split: its name.
        candidates: the pictures that they may refer to.
        splits: of the data set.

    Raises:
        UserError: a row names none of the candidates, another class than the data set, or a picture twice.
    """
    if not rows:
        return []
    known = {picture.path: picture for picture in candidates}
    elsewhere = {picture.path for name in SPLITS for picture in getattr(splits, name)} - known.keys()
    times = Counter(candidates)
    found: list[Picture] = []
    for row in rows:
        picture = find_picture(row.path, known, elsewhere)
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


def find_picture(path: str, known: Mapping[str, Picture], elsewhere: Collection[str] = ()) -> Picture | None:
    """The known picture with that path or, if there is none, with the longest ending of it.

    Args:
        path: as it stands in an index, perhaps absolute on another machine.
        known: path -> picture.
        elsewhere: paths that belong to other pictures; none is found if one of them is a longer ending.
    """
    ending, rest = path, path.replace("\\", "/")
    while ending not in known and ending not in elsewhere and rest:
        ending, rest = rest, rest.partition("/")[2]
    return known.get(ending)


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
