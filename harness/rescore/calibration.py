"""Calibration: reliability, calibration errors, and the temperature of Guo et al. (ICML 2017)."""

import math
from dataclasses import dataclass

import numpy as np

from harness.rescore.scores import Flags
from harness.results.logits import Floats, Labels
from harness.results.metrics import CALIBRATION_BINS

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.01, 100.0
# Of the logarithm of the temperature.
TOLERANCE = 1e-6
# Rows whose exponentials are held at once.
ROWS = 4096


@dataclass(frozen=True)
class Bin:
    """The images whose confidence lies in an interval.

    Attributes:
        low, high: of the interval, (low, high].
        images: number of them.
        confidence: their mean confidence; NaN without images.
        accuracy: the share of them whose prediction is right; NaN without images.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float

    @property
    def gap(self) -> float:
        """Accuracy minus mean confidence: negative where predictions are too confident; zero without images."""
        return self.accuracy - self.confidence if self.images else 0.0


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by.

    Attributes:
        value: above 0.
        images: number of validation images it was fitted on.
        is_bound: whether a bound of the search was reached: no temperature is best, as where no image is wrong.
    """

    value: float
    images: int
    is_bound: bool = False


def confidences(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probability (N,) of the predicted class, of logits (N, C) divided by a temperature."""
    parts = [logits[start : start + ROWS] for start in range(0, len(logits), ROWS)]
    # The highest logit of each image is zero, and so is that of its exponent.
    return np.concatenate([1.0 / np.exp(part / temperature).sum(axis=1) for part in parts])


def reliability(confidence: Floats, right: Flags, bins: int = CALIBRATION_BINS) -> tuple[Bin, ...]:
    """Equal bins of confidence, empty ones included.

    Args:
        confidence: probability (N,) of the predicted class.
        right: (N,), whether the prediction is right.
        bins: number of equal bins of (0, 1].
    """
    which = np.clip(np.ceil(confidence * bins).astype(np.int64), 1, bins) - 1
    return _bins(confidence, right, which, [(number / bins, (number + 1) / bins) for number in range(bins)])


def adaptive_bins(confidence: Floats, right: Flags, bins: int = CALIBRATION_BINS) -> tuple[Bin, ...]:
    """Bins with equally many images, as far as there are no images of the same confidence, which share a bin.

    Args:
        confidence, right: as in `reliability`.
        bins: number of bins; those that hold no image are left out.
    """
    ordered = np.sort(confidence)
    which = np.searchsorted(ordered, confidence, side="left") * bins // len(confidence)
    edges = [(float(confidence[which == number].min()), float(confidence[which == number].max()))
             if (which == number).any() else (0.0, 0.0) for number in range(bins)]  # fmt: skip
    return tuple(one for one in _bins(confidence, right, which, edges) if one.images)


def _bins(confidence: Floats, right: Flags, which: Labels, edges: list[tuple[float, float]]) -> tuple[Bin, ...]:
    images = np.bincount(which, minlength=len(edges))
    sums = [np.bincount(which, weights=values, minlength=len(edges)) for values in (confidence, right.astype(float))]
    with np.errstate(invalid="ignore"):
        means = [total / images for total in sums]
    found = zip(edges, images.tolist(), *(mean.tolist() for mean in means), strict=True)
    return tuple(Bin(low, high, count, mean, accuracy) for (low, high), count, mean, accuracy in found)


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Mean over all images of the distance between mean confidence and accuracy of the image's bin, from 0 to 1.

    Of equal bins it is the expected calibration error (Guo et al., ICML 2017), as `training/evaluate.py` records it;
    of `adaptive_bins` the adaptive one, of the predicted class (Nguyen and O'Connor, EMNLP 2015; Nixon et al., CVPR
    workshops 2019).
    """
    return math.fsum(one.images * abs(one.gap) for one in bins) / sum(one.images for one in bins)


def negative_log_likelihood(logits: Floats, labels: Labels, temperature: float = 1.0) -> float:
    """Mean over N images of minus the logarithm of the label's probability, of logits (N, C) over a temperature."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0] / temperature
    return float((-np.log(confidences(logits, temperature)) - own).mean())


def fit_temperature(logits: Floats, labels: Labels) -> Temperature:
    """The temperature with the lowest negative log-likelihood on validation images (Guo et al., ICML 2017).

    The likelihood has one optimum: it is concave in the inverse of the temperature.

    Args:
        logits: (N, C) of validation images; never of test images.
        labels: (N,).
    """
    # Imported here because it takes long, and reading a page of runs or a table fits nothing.
    from scipy.optimize import minimize_scalar

    own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    if (own == 0).all():
        # Every label has the highest logit: the colder, the likelier, without an end.
        return Temperature(LOWEST_TEMPERATURE, len(labels), is_bound=True)
    bounds = (math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE))
    found = minimize_scalar(
        lambda exponent: negative_log_likelihood(logits, labels, math.exp(exponent)),
        bounds=bounds,
        method="bounded",
        options={"xatol": TOLERANCE},
    )
    exponent = float(found.x)
    return Temperature(math.exp(exponent), len(labels), is_bound=min(abs(exponent - end) for end in bounds) < 1e-3)
