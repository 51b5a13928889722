"""Few-shot samples and subsets of the classes, the same on every machine."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from harness.data.readers import Picture
from harness.errors import UserError
from harness.text import counted

HALVES = ("base", "new")


def class_subset(num_classes: int, subset: str) -> range:
    """Labels of a subset of the classes.

    Args:
        num_classes: C.
        subset: 'all', 'base' (the first ceil(C / 2)), 'new' (the rest), or halves of halves such as 'base.new', with
            which hyper-parameters are chosen without using the new classes.

    Raises:
        UserError: not a subset, or an empty one.
    """
    labels = range(num_classes)
    if subset == "all":
        return labels
    for half in subset.split("."):
        if half not in HALVES:
            raise UserError(
                f"unknown class subset '{subset}': use all, base, new, or halves of halves such as base.new"
            )
        middle = math.ceil(len(labels) / 2)
        labels = labels[:middle] if half == "base" else labels[middle:]
    if not labels:
        # The number of classes whose last half of halves is not empty.
        fewest = 1
        for half in reversed(subset.split(".")):
            fewest = 2 * fewest if half == "new" else 2 * fewest - 1
        classes = counted(num_classes, "class", "classes")
        raise UserError(
            f"{classes} cannot be divided into halves down to '{subset}', which takes at least {fewest}: "
            "`--protocol few_shot` divides none"
        )
    return labels


def keep_classes(pictures: Sequence[Picture], labels: range) -> list[Picture]:
    """The pictures of the given classes, relabelled from 0."""
    return [Picture(path, label - labels.start) for path, label in pictures if label in labels]


def few_shot_sample(pictures: Sequence[Picture], shots: int | Mapping[int, int], seed: int) -> list[Picture]:
    """Draw k pictures of every class.

    Pictures are ordered by a hash of seed and path, and the first k are taken. So the sample does not depend on any
    library's random generator, on other classes or on other pictures, and a sample of fewer shots is part of one of
    more shots.

    Args:
        pictures: candidates, any number per class; of a class with fewer than k, all are taken.
        shots: k; or label -> k, with every label.
        seed: of the sample.

    Returns:
        The sample, ordered by label and then by hash.
    """
    by_class: dict[int, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_class[picture.label].append(picture)

    def drawn_order(picture: Picture) -> str:
        return hashlib.sha256(f"{seed}/{picture.path}".encode()).hexdigest()

    found: list[Picture] = []
    for label in sorted(by_class):
        count = shots if isinstance(shots, int) else shots[label]
        found += sorted(by_class[label], key=drawn_order)[:count]
    return found


def hold_out(sample: Sequence[Picture], part: int, parts: int) -> tuple[list[Picture], list[Picture]]:
    """Hold out one part of every class's shots, for cross-validation.

    Args:
        sample: as `few_shot_sample` returns it.
        part: which part to hold out, counted from 1.
        parts: number of parts; together they are the sample, and no two share a picture.

    Returns:
        The pictures to train on, and those held out.
    """
    places: dict[int, int] = defaultdict(int)
    kept: list[Picture] = []
    held: list[Picture] = []
    for picture in sample:
        (held if places[picture.label] % parts == part - 1 else kept).append(picture)
        places[picture.label] += 1
    return kept, held


def sample_hash(pictures: Sequence[Picture]) -> str:
    """Hash of the pictures of a sample and their labels, independent of their order."""
    text = json.dumps(sorted((path, label) for path, label in pictures))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pictures_hash(pictures: Sequence[Picture], class_names: Sequence[str]) -> str:
    """Hash of the pictures of an evaluation, their labels and the names of the classes, independent of their order."""
    text = json.dumps([list(class_names), sorted((path, label) for path, label in pictures)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
