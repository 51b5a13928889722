"""Splits that are made here, because those that were published are missing; tables mark what was computed on them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.data.image_folder import split_order
from harness.data.official_lists import Listed, Official
from harness.data.readers import SPLITS, Picture, Splits, checked_splits, read_split_file

OWN_SPLIT = "own split"
"""How the remark on such a split begins, in `Splits.remarks` and in results."""
Shares = tuple[float, float]
"""Shares of a class's images that are for training and for validation; the others are for testing."""
FIELD_SHARES: Shares = (0.5, 0.2)
VALIDATION_SHARE = 0.2


def read_or_split(
    folder: Path,
    split_file: str,
    images: Sequence[str],
    official: Official,
    shares: Shares = FIELD_SHARES,
    most: int | None = None,
    splits: Sequence[str] = SPLITS,
) -> Splits:
    """Read the published split file; where it is missing, split what the data set's own archive lists.

    Args:
        folder: the data set's folder.
        split_file: name of the published file in it.
        images: folders in it that may contain the images, as for `find_images`.
        official: reads the lists of the archive.
        shares: of every class's images, where the archive has no test split.
        most: images of a class that take part, where the archive has no test split; None: all.
        splits: which to read.

    Raises:
        UserError: there is neither the file nor the archive's lists, or what is there is malformed.
    """
    listed = None if (folder / split_file).exists() else official(folder, images)
    if listed is None:
        return read_split_file(folder, split_file, images, splits)
    return own_splits(folder, listed, images, f"no {split_file}", shares, most, splits)


def own_splits(
    folder: Path,
    listed: Listed,
    images: Sequence[str],
    reason: str,
    shares: Shares = FIELD_SHARES,
    most: int | None = None,
    splits: Sequence[str] = SPLITS,
) -> Splits:
    """Split what an archive lists, in the proportions of the published split, by a hash of the images' paths.

    Args:
        folder: the data set's folder.
        listed: what its archive says.
        images: folders in it that may contain the images.
        reason: why, for the remark.
        shares: of every class's images, where there is no test split.
        most: images of a class that take part, where there is no test split.
        splits: which are wanted; the others are empty.

    Raises:
        UserError: the lists contradict each other.
    """
    if listed.test is None:
        train, val, test = split_classes(listed.pictures, shares, most)
        numbers = "/".join(f"{100 * share:.0f}" for share in (*shares, 1 - sum(shares)))
        what = f"{OWN_SPLIT} {numbers} by hash{f' of {most} images a class' if most else ''} ({reason})"
    else:
        val, train, _ = split_classes(listed.pictures, (VALIDATION_SHARE, 1.0))
        test = listed.test
        what = f"{OWN_SPLIT} of training and validation images by hash, test images as published ({reason})"
    # Both are split before one is left out, so that no split depends on which are wanted.
    parts = dict(zip(SPLITS, (train, val, test), strict=True))
    pictures = {name: part if name in splits else () for name, part in parts.items()}
    sources = listed.sources or (folder,)
    found = checked_splits(folder, images, listed.class_names, pictures, sources)
    return replace(found, remarks=(what, *found.remarks), sources=listed.sources)


def split_classes(
    pictures: Sequence[Picture], shares: Shares, most: int | None = None
) -> tuple[tuple[Picture, ...], tuple[Picture, ...], tuple[Picture, ...]]:
    """Split the pictures of every class by a hash of their paths.

    Args:
        pictures: of all classes.
        shares: of the first and the second part, rounded to whole pictures; the third gets the others.
        most: pictures of a class that take part; None: all.

    Returns:
        Three parts, in the order of `pictures`.
    """
    by_class: dict[int, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_class[picture.label].append(picture)
    places: dict[Picture, int] = {}
    for several in by_class.values():
        ordered = sorted(several, key=lambda picture: split_order(picture.path))[:most]
        first, second = (round(len(ordered) * share) for share in shares)
        for place, picture in enumerate(ordered):
            places[picture] = 0 if place < first else 1 if place < first + second else 2
    kept = [(picture, places[picture]) for picture in pictures if picture in places]
    first_part, second_part, third_part = (
        tuple(picture for picture, part in kept if part == wanted) for wanted in range(3)
    )
    return first_part, second_part, third_part
