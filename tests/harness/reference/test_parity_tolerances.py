"""The rules by which a quantity is within its tolerance: docs/parity.md."""

from pathlib import Path

import pytest
import torch

from harness.reference.parity.subject import view_of
from harness.reference.parity.tolerances import percentile_99, tolerance_of, weight_tolerances
from harness.reference.parity.vectors import Vectors, group_of


def vectors_of(golden: Path, name: str, noise: dict[str, float], q99: dict[str, float]) -> Vectors:
    """The vectors of a file with other noise."""
    vectors = Vectors(golden / f"{name}.json")
    known = {"kernel_noise_max_abs": noise, "kernel_noise_q99": q99}
    vectors.about = vectors.about.model_copy(update=known)
    return vectors


def test_one_percent_of_the_elements_may_be_further_off() -> None:
    errors = torch.zeros(250)
    errors[:2] = 5.0
    assert percentile_99(errors) == 0
    errors[:3] = 5.0
    assert percentile_99(errors) == 5
    assert percentile_99(torch.tensor([0.0, float("nan")])) == float("inf")
    # Of fewer than a hundred elements none may.
    assert percentile_99(torch.tensor([0.0] * 98 + [1.0])) == 1


def test_the_noise_is_that_of_the_tensor_or_else_of_its_group(golden: Path) -> None:
    vectors = vectors_of(golden, "gda", {"const": 1.0, "const.b": 0.25, "train_logits": 2.0}, {})
    assert [vectors.noise(name) for name in ("const.b", "const.other", "train_logits_b12", "cache.x")] == [
        0.25,
        1,
        2,
        0,
    ]
    assert [group_of(name) for name in ("train_logits_b12", "const.b", "best.b2x")] == [
        "train_logits",
        "const.b",
        "best.b2x",
    ]


@pytest.mark.parametrize(("optimizer", "every"), [("SGD", 1e-7 + 4e-3), ("Adam", 2 * 0.1 * 5), ("AdamW", 2 * 0.1 * 5)])
def test_adam_may_step_the_other_way_where_sgd_may_not(optimizer: str, every: float, golden: Path) -> None:
    vectors = vectors_of(golden, "taskres", {"after": 1e-3}, {"after": 1e-5})
    trains = vectors.about.optimizer.model_copy(update={"name": optimizer, "lr": 0.1})
    hyper = vectors.about.hyper.model_copy(update={"optimizer": trains})
    vectors.about = vectors.about.model_copy(update={"hyper": hyper})
    assert weight_tolerances(vectors, "after", ["after.x"], 5) == pytest.approx((every, 1e-7 + 4e-5))


def test_files_of_the_first_form_keep_their_rules(golden: Path) -> None:
    vectors = Vectors(golden / "coop.json")
    assert vectors.is_first_form
    noise = vectors.about.kernel_noise_max_abs["after"]
    assert weight_tolerances(vectors, "after", ["after.x"], 3) == pytest.approx((1e-7 + 4 * noise, None))
    assert tolerance_of(vectors, "train_logits_b0", torch.ones(2)) == (1e-4, 1e-4)


def test_what_follows_from_an_inverse_is_compared_with_its_largest_entry(golden: Path) -> None:
    vectors = vectors_of(golden, "gda", {}, {})
    theirs = torch.tensor([-50.0, 1.0])
    assert tolerance_of(vectors, "const.W", theirs) == pytest.approx((1e-5 + 5e-2, 0))
    assert tolerance_of(vectors, "search_logits_6", theirs, largest_factor=1.0) == pytest.approx((1e-4 + 5e-2, 0))
    assert tolerance_of(vectors, "search_logits_0", theirs, largest_factor=0.9) == pytest.approx((1e-4, 1e-4))
    assert tolerance_of(vectors, "const.new_W", theirs) == pytest.approx((1e-5, 1e-4))


def test_classifiers_of_a_solver_that_stops_early(golden: Path) -> None:
    vectors = vectors_of(golden, "linear_probe", {}, {})
    for name in ("final.coef", "fixed_C100.intercept"):
        assert tolerance_of(vectors, name, torch.ones(2)) == pytest.approx((1e-5, 2e-2))
    for name in ("fixed_C100.eval_logits", "eval_logits_base"):
        assert tolerance_of(vectors, name, torch.ones(2)) == pytest.approx((1e-4, 2e-2))
    for name in ("search_C", "search_val_accuracy", "final.C", "final.test_accuracy"):
        assert tolerance_of(vectors, name, torch.ones(2)) == (0, 1e-6)
    assert tolerance_of(vectors, "tokens.base", torch.ones(2, dtype=torch.int64)) == (0, 0)


def test_views_turn_counter_clockwise_and_are_mirrored_from_the_fifth_on() -> None:
    image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    assert view_of(image, 0).flatten().tolist() == [0, 1, 2, 3]
    assert view_of(image, 1).flatten().tolist() == [1, 3, 0, 2]
    assert view_of(image, 4).flatten().tolist() == [1, 0, 3, 2]
    assert view_of(image, 5).flatten().tolist() == [3, 1, 2, 0]
