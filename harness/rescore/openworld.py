"""Base and new classes together: are images of base classes told from those of new ones, and classified right?"""

import numpy as np

from harness.results.logits import Floats, Labels


def base_scores(logits: Floats, base: int) -> Floats:
    """Logarithm (N,) of the highest probability of a base class among all classes: what base is told from new by.

    Args:
        logits: (N, C), the highest of each image zero.
        base: number of base classes, which are the first ones.
    """
    # The sum without the highest class, so that probabilities next to 1 are told apart.
    others = np.exp(logits)
    np.put_along_axis(others, logits.argmax(axis=1)[:, None], 0.0, axis=1)
    return logits[:, :base].max(axis=1) - np.log1p(others.sum(axis=1))


def openworld_auc(logits: Floats, labels: Labels, base: int) -> float:
    """OpenworldAUC, from 0 to 1 (Hua et al., "OpenworldAUC: Towards Unified Evaluation and Optimization for Open-world
    Prompt Tuning", ICML 2025).

    The share of all pairs of an image of a base class and one of a new class in which the base image has the higher
    score r, is classified right among the base classes, and the new image is classified right among the new classes. As
    in the paper a tie of r is no success. Of r, the paper leaves the choice to the method; here it is the highest
    probability of a base class among all classes, for every method.

    Args:
        logits: (N, C) of test images of all classes, the highest of each image zero.
        labels: (N,) of images of base and of new classes.
        base: number of base classes, which are the first ones.
    """
    is_base = labels < base
    score = base_scores(logits, base)
    base_right = logits[is_base, :base].argmax(axis=1) == labels[is_base]
    new_right = logits[~is_base, base:].argmax(axis=1) + base == labels[~is_base]
    lower = np.searchsorted(np.sort(score[~is_base][new_right]), score[is_base][base_right], side="left")
    return float(lower.sum()) / (len(base_right) * len(new_right))
