"""Scores of logits: predictions, accuracy among the highest k, per class, confusions.

Logits come as `KeptLogits.logits` gives them: (N, C), the highest of each image zero. Among equal logits the first
class is taken, as torch does.
"""

import numpy as np
import numpy.typing as npt

from harness.results.logits import Floats, Labels

Flags = npt.NDArray[np.bool_]
TOP = 5


def predictions(logits: Floats) -> Labels:
    """Class (N,) with the highest logit."""
    return logits.argmax(axis=1)


def is_among_highest(logits: Floats, labels: Labels, k: int) -> Flags:
    """Whether the label is one of the k classes with the highest logits, (N,)."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    # How many classes stand before the label: those with a higher logit, and earlier ones with the same.
    before = (logits > own).sum(axis=1)
    before += ((logits == own) & (np.arange(logits.shape[1]) < labels[:, None])).sum(axis=1)
    return before < k


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> Labels:
    """(C, C): number of images of the class of the row that were taken for the class of the column."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def class_accuracies(confusion: Labels) -> Floats:
    """Accuracy (C,) of each class, from 0 to 1, from its confusion matrix (C, C); NaN for a class without images."""
    images = confusion.sum(axis=1)
    return np.divide(confusion.diagonal(), images, out=np.full(len(images), np.nan), where=images > 0)


def balanced_accuracy(confusion: Labels) -> float:
    """Mean of the accuracies of the classes that have images, from 0 to 1 (Brodersen et al., ICPR 2010)."""
    return float(np.nanmean(class_accuracies(confusion)))
