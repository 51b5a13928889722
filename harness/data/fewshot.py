"""Few-shot samples and halves of the classes, the same on every machine."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence

from harness.data.readers import Picture
from harness.errors import UserError

HALVES = ("base", "new")


def class_subset(num_classes: int, subset: str) -> range:
    """Labels of a subset of the classes.

    Args:
        num_classes: C.
        subset: 'all', 'base' (the first ceil(C / 2)), 'new' (the rest), or halves of halves such as 'base.new', by
            which hyper-parameters are chosen without a look at the new classes.

    Raises:
        UserError: not a subset, or an empty one.
    """
    labels = range(num_classes)
    if subset == "all":
        return labels
    for half in subset.split("."):
        if half not in HALVES:
            raise UserError(f"unknown class subset '{subset}': use all, base, new, or halves of halves as base.new")
        middle = math.ceil(len(labels) / 2)
        labels = labels[:middle] if half == "base" else labels[middle:]
    if not labels:
        raise UserError(f"class subset '{subset}' of {num_classes} classes is empty")
    return labels


def keep_classes(pictures: Sequence[Picture], labels: range) -> list[Picture]:
    """Pictures of the given classes, relabelled from 0."""
    return [Picture(path, label - labels.start) for path, label in pictures if label in labels]


def few_shot_sample(pictures: Sequence[Picture], shots: int, seed: int) -> list[Picture]:
    """The first `shots` pictures of every class, in an order that the seed shuffles.

    The order is that of a hash of seed and path: it depends on no library's generator, no other class and no other
    picture, so a sample of fewer shots is part of one of more.

    Args:
        pictures: candidates, any number a class; a class with fewer gives all that it has.
        shots: k.
        seed: of the sample.

    Returns:
        The sample, by label, then in the drawn order.
    """
    by_class: dict[int, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_class[picture.label].append(picture)

    def drawn_order(picture: Picture) -> str:
        return hashlib.sha256(f"{seed}/{picture.path}".encode()).hexdigest()

    return [picture for label in sorted(by_class) for picture in sorted(by_class[label], key=drawn_order)[:shots]]


def hold_out(sample: Sequence[Picture], part: int, parts: int) -> tuple[list[Picture], list[Picture]]:
    """Cut one part of every class's shots off a sample, for cross-validation.

    Args:
        sample: as `few_shot_sample` gives it.
        part: which, from 1 on.
        parts: how many parts a class is cut into; the parts together are the sample, and no two share a picture.

    Returns:
        What is left to train on, and what is held out.
    """
    places: dict[int, int] = defaultdict(int)
    kept: list[Picture] = []
    held: list[Picture] = []
    for picture in sample:
        (held if places[picture.label] % parts == part - 1 else kept).append(picture)
        places[picture.label] += 1
    return kept, held


def sample_hash(pictures: Sequence[Picture]) -> str:
    """Hash of which pictures are in a sample and under which label, whatever their order."""
    text = json.dumps(sorted((path, label) for path, label in pictures))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
