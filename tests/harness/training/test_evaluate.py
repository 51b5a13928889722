"""Accuracy and calibration error, against loops in numpy."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.clip.towers import CLIP
from harness.data.datasets import read_dataset
from harness.data.loader import PictureSet
from harness.data.readers import Picture
from harness.data.transforms import TestTransform
from harness.errors import UserError
from harness.experiment.registry import method_class
from harness.machine.meter import Meter
from harness.training.evaluate import EXAMPLES, Prediction, evaluate, expected_calibration_error, predictions, score


def ece_by_hand(confidence: list[float], right: list[bool], bins: int) -> float:
    """Guo et al. (2017): sum over bins of |accuracy - mean confidence|, weighted by the bin's share of pictures."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [i for i, c in enumerate(confidence) if low < c <= high or (number == 0 and c == 0)]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


# Steps of 1/997 never meet the edge of a bin.
CASES = st.lists(st.tuples(st.integers(0, 997), st.booleans()), min_size=1, max_size=60)


@given(CASES, st.sampled_from([1, 10, 15]))
def test_calibration_error_by_hand(cases: list[tuple[int, bool]], bins: int) -> None:
    confidence, right = [step / 997 for step, _ in cases], [is_right for _, is_right in cases]
    ours = expected_calibration_error(
        torch.tensor(confidence, dtype=torch.float64), torch.tensor(right, dtype=torch.float64), bins
    )
    assert ours == pytest.approx(ece_by_hand(confidence, right, bins), abs=1e-12)


def test_calibration_error_of_a_few_pictures() -> None:
    right = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    confidence = torch.tensor([0.71, 0.72, 0.95, 1.0], dtype=torch.float64)
    # Bins (10/15, 11/15] and (14/15, 1]: half the pictures each.
    expected = 0.5 * abs(0.5 - 0.715) + 0.5 * abs(1 - 0.975)
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)
    assert expected_calibration_error(torch.ones(3), torch.ones(3)) == 0
    assert expected_calibration_error(torch.ones(3), torch.zeros(3)) == 1


def test_errors_of_opposite_sign_cancel_within_a_bin_only() -> None:
    right = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert expected_calibration_error(torch.tensor([0.5, 0.5], dtype=torch.float64), right) == 0
    assert expected_calibration_error(torch.tensor([0.6, 0.4], dtype=torch.float64), right) == pytest.approx(0.4)


@given(seed=st.integers(0, 2**32 - 1), num_images=st.integers(1, 40), num_classes=st.integers(2, 8))
def test_scores_by_hand(seed: int, num_images: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (num_images, num_classes))
    labels = rng.integers(0, num_classes, num_images)
    names = [f"class {label}" for label in range(num_classes)]

    hits: dict[str, list[bool]] = {}
    confidence, right = [], []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        best = max(range(num_classes), key=row.__getitem__)
        confidence.append(math.exp(row[best]) / sum(math.exp(value) for value in row))
        right.append(best == label)
        hits.setdefault(names[label], []).append(best == label)

    scores = score(torch.from_numpy(logits), torch.from_numpy(labels), names)
    assert scores.images == num_images
    assert scores.accuracy == pytest.approx(100 * sum(right) / num_images)
    assert scores.ece == pytest.approx(100 * ece_by_hand(confidence, right, 15), abs=1e-9)
    assert scores.per_class == pytest.approx({name: 100 * sum(of) / len(of) for name, of in hits.items()})


def test_classes_without_pictures_have_no_accuracy() -> None:
    logits = torch.tensor([[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    scores = score(logits, torch.tensor([0, 2]), ["a", "b", "c"])
    assert scores.per_class == {"a": 100.0, "c": 0.0}
    assert scores.accuracy == 50.0


def test_large_logits_in_single_precision() -> None:
    logits = torch.tensor([[300.0, 100.0], [100.0, 300.0], [300.0, 100.0]])
    scores = score(logits, torch.tensor([0, 1, 1]), ["a", "b"])
    assert scores.accuracy == pytest.approx(200 / 3)
    assert scores.ece == pytest.approx(100 / 3)


def test_logits_that_are_no_numbers_are_told(clip: CLIP) -> None:
    emoji = read_dataset("emoji")
    pictures = PictureSet(emoji.folder, emoji.test[:2])
    clip.image.proj.data.fill_(float("nan"))
    method = method_class("zeroshot")(clip, method_class("zeroshot").Config(), clip.tokenize(["a", "b"]))

    def tell(precision: str) -> str:
        with pytest.raises(UserError, match="logits that are not finite") as caught:
            evaluate(method, pictures, ["a", "b"], ["a", "b"], TestTransform(48), Meter(clip.device), precision)
        return str(caught.value)

    assert tell("fp32").endswith(
        "nothing was trained, so the weights of backbone 'clip-emoji' are too large: use others"
    )
    assert tell("half").endswith("nothing was trained, so use another train.precision than half")
    clip.logit_scale.requires_grad_(True)
    assert tell("fp32").endswith("training diverged, lower train.lr")
    assert tell("half").endswith("training diverged, lower train.lr or use another train.precision than half")


def test_examples_are_evenly_spaced_and_the_same_for_every_method(tmp_path: Path) -> None:
    pictures = PictureSet(tmp_path, [Picture(f"{number}.png", number % 3) for number in range(100)])
    logits = torch.eye(3)[torch.arange(100) % 3].mul(10)
    logits[0] = torch.tensor([0.0, 0.0, math.log(8)])
    found = predictions(logits, pictures, ["cat", "dog", "cat"])
    assert len(found) == EXAMPLES == 12
    # Classes that share a name are told apart, as in the accuracies of classes.
    assert found[0] == Prediction(path="0.png", label="cat (label 0)", predicted="cat (label 2)", confidence=0.8)
    assert [example.path for example in found] == [f"{number}.png" for number in range(0, 100, 9)]
    assert [example.path for example in predictions(-logits, pictures, ["cat", "dog", "cat"])] == [
        example.path for example in found
    ]
    few = PictureSet(tmp_path, pictures.pictures[:2])
    assert [example.path for example in predictions(logits[:2], few, ["a", "b", "c"])] == ["0.png", "1.png"]
