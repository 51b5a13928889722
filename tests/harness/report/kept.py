"""Kept logits for tests, made up."""

from collections.abc import Sequence

import numpy as np

from harness.data.datasets import read_dataset
from harness.data.fewshot import class_subset, keep_classes, pictures_hash
from harness.results.folder import RunFolder
from harness.results.logits import KeptLogits, LogitsFacts, logits_file
from harness.results.record import Evaluation


def of_test_images(dataset: str, classes: str) -> tuple[list[str], list[int], str]:
    """Names of the classes, labels of the test images, and their hash, of a data set that is here."""
    splits = read_dataset(dataset)
    chosen = class_subset(len(splits.class_names), classes)
    names = [splits.class_names[label] for label in chosen]
    pictures = keep_classes(splits.test, chosen)
    return names, [picture.label for picture in pictures], pictures_hash(pictures, names)


def keep(
    folder: RunFolder, evaluation: Evaluation, names: Sequence[str], labels: Sequence[int], said: Sequence[int]
) -> None:
    """Put logits into the folder of a run whose predictions are `said`."""
    facts = LogitsFacts(
        run=folder.path.name,
        evaluation=evaluation.name,
        dataset=evaluation.dataset,
        classes=evaluation.classes,
        splits=evaluation.splits,
        class_names=tuple(names),
        pictures_hash=evaluation.pictures_hash,
    )
    logits = np.zeros((len(labels), len(names)), np.float32)
    logits[np.arange(len(labels)), said] = 2.0
    content = KeptLogits.of(facts, logits, np.array(labels)).to_bytes()
    (folder.path / logits_file(evaluation.name)).write_bytes(content)
