"""Importance: for the better values of every objective, by its own direction, and never by chance without a word."""

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from harness.tune import figures
from harness.tune.figures import draw_figures
from harness.tune.importance import FEWEST_TRIALS, importances
from harness.tune.sweep import Sweep

BOUNDS = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1), "c": IntDistribution(0, 6)}
Value = Callable[[dict[str, float]], float]


def a_study(number: int, *values: Value, directions: tuple[str, ...]) -> optuna.Study:
    """A study of random trials, with objectives of their settings."""
    study, chance = optuna.create_study(directions=list(directions)), random.Random(1)
    for _ in range(number):
        point = {"a": chance.random(), "b": chance.random(), "c": chance.randint(0, 6)}
        study.add_trial(
            create_trial(values=[value(point) for value in values], params=point, distributions=dict(BOUNDS))
        )
    return study


def a_sweep(*objectives: str) -> Sweep:
    space = {key: {"float": [0.0, 1.0]} for key in BOUNDS}
    return Sweep.model_validate({"method": "skip", "objectives": list(objectives), "space": space})


def best_by_a_worst_by_b(point: dict[str, float]) -> float:
    """High where `a` is, low where `b` is low, and the same everywhere else."""
    return 50 + 100 * max(0.0, point["a"] - 0.75) - 100 * max(0.0, 0.25 - point["b"])


def test_every_objective_is_taken_in_its_own_direction() -> None:
    values = (best_by_a_worst_by_b, lambda point: 30 - 2 * point["c"], lambda point: -best_by_a_worst_by_b(point))
    study = a_study(30, *values, directions=("maximize", "minimize", "minimize"))
    found = importances(study, a_sweep("H", "train_memory", "train_seconds"))
    for metric, key in {"H": "a", "train_memory": "c", "train_seconds": "a"}.items():
        assert next(iter(found[metric].shares)) == key, metric
        assert found[metric].shares[key] > 0.75
        assert key not in found[metric].by_chance
        assert found[metric].by_chance == BOUNDS.keys() - {key}
        assert sum(found[metric].shares.values()) == pytest.approx(1)
    line = found["train_memory"].told("train_memory")
    assert line.startswith("Importance for train_memory (the best 17% of 30 trials compared with all): c 0.")
    assert line.count("(may be chance)") == 2
    worst = a_study(30, best_by_a_worst_by_b, directions=("minimize",))
    assert next(iter(importances(worst, a_sweep("train_memory"))["train_memory"].shares)) == "b"


def test_a_setting_that_does_nothing_is_marked_even_if_it_follows_another() -> None:
    """A sampler that draws settings together makes `a` large wherever `c` is."""
    study, chance = optuna.create_study(direction="minimize"), random.Random(2)
    for _ in range(40):
        depth = chance.randint(0, 6)
        point = {"a": min(1.0, max(0.0, depth / 6 + chance.gauss(0, 0.05))), "c": depth}
        study.add_trial(
            create_trial(values=[20 - depth], params=point, distributions={key: BOUNDS[key] for key in point})
        )
    found = importances(study, a_sweep("train_memory"))["train_memory"]
    assert found.by_chance == {"a"}
    assert "a 0." in found.told("train_memory")


def test_too_few_trials_are_told_and_no_share_is_given() -> None:
    few = a_study(FEWEST_TRIALS - 1, best_by_a_worst_by_b, directions=("maximize",))
    (found,) = importances(few, a_sweep("H")).values()
    assert not found.shares
    assert found.told("H") == "Importance for H: not given: 19 complete trials, at least 20 are needed"
    same = a_study(30, lambda point: 3.0, directions=("maximize",))
    assert "all trials have the same value" in importances(same, a_sweep("H"))["H"].told("H")
    alone = Sweep.model_validate({"method": "skip", "objectives": ["H"], "space": {"a": {"float": [0.0, 1.0]}}})
    assert importances(few, alone) == {}


def test_a_figure_of_importance_and_no_warning_of_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FORMATS", ("svg",))
    values = (best_by_a_worst_by_b, lambda point: 7.0)
    study, sweep = a_study(24, *values, directions=("maximize", "minimize")), a_sweep("H", "train_memory")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_figures(study, sweep, importances(study, sweep), study.best_trials[:1], tmp_path)
    assert (tmp_path / "importance-H.svg").is_file()
    assert not (tmp_path / "importance-train_memory.svg").exists()
