"""Made-up runs and published numbers, for tests of what sets them side by side."""

from typing import Any

import pandas as pd

from harness.report.published_rows import PublishedAccuracy, frame_of

BACKBONE = "ViT-B-16-quickgelu"
Pairs = list[tuple[float, float]]


def base_to_new(scores: dict[str, Pairs], method: str = "skip", **fields: Any) -> pd.DataFrame:
    """Runs on some data sets, as `results_frame` gives them."""
    rows = [
        {
            "dataset": dataset,
            "method": method,
            "precision": "fp32",
            "backbone": BACKBONE,
            "shots": 16,
            "tail": "",
            "label_noise": 0.0,
            "seed": seed,
            "accuracy.base": base,
            "accuracy.new": new,
            **fields,
        }
        for dataset, pairs in scores.items()
        for seed, (base, new) in enumerate(pairs, start=1)
    ]
    return pd.DataFrame(rows)


def published_row(dataset: str, method: str, metric: str, value: float, **fields: Any) -> PublishedAccuracy:
    usual = {"protocol": "base_to_new", "backbone": "ViT-B/16", "shots": 16, "kind": "printed", "source": "a paper"}
    given = {"dataset": dataset, "method": method, "metric": metric, "value": value}
    return PublishedAccuracy.model_validate(usual | given | fields)


def frame(*rows: PublishedAccuracy) -> pd.DataFrame:
    return frame_of(rows, PublishedAccuracy)


def numbers(rows: dict[tuple[str, str, str], float], **fields: Any) -> pd.DataFrame:
    """Published numbers: data set, method, metric -> value."""
    return frame(*(published_row(*key, value, **fields) for key, value in rows.items()))


def row(found: pd.DataFrame, dataset: str, metric: str, method: str = "skip") -> pd.Series:
    (line,) = (
        line
        for _, line in found.iterrows()
        if (line["dataset"], line["method"], line["metric"]) == (dataset, method, metric)
    )
    return line
