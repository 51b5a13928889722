"""Tidy rows for tests, made up."""

from typing import Any

from harness.board.tidy import TidyRow

DATASETS = tuple(f"set{number}" for number in range(6))
BUDGET = {"track": "equal budget", "heading": "equal budget, 6 trials"}
FREE = {"track": "training-free", "heading": "training-free"}


def row(**changes: Any) -> TidyRow:
    """One number of one run."""
    known: dict[str, Any] = {
        "suite": "s", "protocol": "few_shot", "dataset": "emoji", "shots": 4, "seed": 1, "sample": "a",
        "sample_seed": changes.get("seed", 1),
        "method": "skip", "recipe": "official", "track": "validation-free", "heading": "validation-free",
        "backbone": "b", "weights": "w", "precision": "fp32", "evaluation": "all", "evaluated": "emoji",
        "pictures": "p", "template": "a {}.", "metric": "accuracy", "value": 50.0, "unit": "%", "run": "1",
        "version": "0.2.0",
    }  # fmt: skip
    return TidyRow(**{**known, **changes})


def base_to_new() -> list[TidyRow]:
    """Three methods that had the same budget, and one that trains nothing, on six data sets with two seeds each.

    On every data set skip is ahead of maple, and maple of coop; only zeroshot has one seed.
    """
    found = []
    ahead = {"zeroshot": 0.0, "coop": 2.0, "maple": 5.0, "skip": 9.0}
    for method, points in ahead.items():
        track = FREE if method == "zeroshot" else BUDGET
        for place, dataset in enumerate(DATASETS):
            for seed in (1,) if method == "zeroshot" else (1, 2):
                about: dict[str, Any] = {
                    **track, "protocol": "base_to_new", "shots": 16, "method": method, "dataset": dataset, "seed": seed,
                    "sample": f"{dataset}{seed}", "run": f"{method}-{dataset}-{seed}", "device": "cpu", "threads": 1,
                }  # fmt: skip
                for part, more in (("base", 0.0), ("new", 4.0)):
                    value = 50.0 + place + points + more + seed / 10
                    found.append(row(**about, evaluation=part, evaluated=dataset, value=value))
                if method != "zeroshot":
                    whole = {**about, "evaluation": "", "evaluated": "", "pictures": "", "template": ""}
                    for metric, unit, value in (("train_seconds", "s", 1 + points), ("steps_seconds", "s", 1 + points)):
                        found.append(row(**whole, metric=metric, unit=unit, value=value))
    return found
