"""Scores that are known elsewhere."""

import numpy as np

from harness.report.published_rows import PUBLISHED, PublishedAccuracy, read_rows
from harness.statistics.scores import Scores

# Demšar (JMLR 7, 2006), table 6: areas under the curve of four variants of C4.5 on 14 data sets. Two of them are
# printed as 0.975 on data set 13, and ranked second and third, so that they differ beyond what is printed.
VARIANTS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AREAS = (
    (0.763, 0.768, 0.771, 0.798),
    (0.599, 0.591, 0.590, 0.569),
    (0.954, 0.971, 0.968, 0.967),
    (0.628, 0.661, 0.654, 0.657),
    (0.882, 0.888, 0.886, 0.898),
    (0.936, 0.931, 0.916, 0.931),
    (0.661, 0.668, 0.609, 0.685),
    (0.583, 0.583, 0.563, 0.625),
    (0.775, 0.838, 0.866, 0.875),
    (1.000, 1.000, 1.000, 1.000),
    (0.940, 0.962, 0.965, 0.962),
    (0.619, 0.666, 0.614, 0.669),
    (0.972, 0.981, 0.9751, 0.975),
    (0.957, 0.978, 0.946, 0.970),
)
SOURCES = ("Skip Tuning, arXiv:2412.11509v2", "CoCoOp, arXiv:2203.05557")


def demsar() -> Scores:
    """The example that Demšar works by hand."""
    return Scores(VARIANTS, tuple(f"data set {number}" for number in range(1, 15)), np.array(AREAS).T)


def published() -> Scores:
    """Harmonic means of published base and new accuracies: 11 methods on 11 data sets."""
    rows = read_rows(PUBLISHED / "base_to_new.csv", PublishedAccuracy)
    rows = rows[(rows["dataset"] != "average") & rows["source"].isin(SOURCES)]
    rows = rows[(rows["source"] == SOURCES[0]) | (rows["method"] == "zeroshot")]
    base, new = (
        rows[rows["metric"] == part].pivot_table(index="method", columns="dataset", values="value")
        for part in ("base", "new")
    )
    means = 2 * base * new / (base + new)
    return Scores(tuple(means.index), tuple(means.columns), means.to_numpy(), seeds=3)


def scores_of(*rows: tuple[float, ...], seeds: int | None = None) -> Scores:
    """Scores of methods a, b, ... on data sets u1, u2, ..."""
    units = tuple(f"u{number}" for number in range(1, len(rows[0]) + 1))
    return Scores(tuple("abcdefghijklmnop"[: len(rows)]), units, np.array(rows), seeds)


def turned(scores: Scores, seed: int) -> Scores:
    """The same scores with methods and data sets in another order."""
    generator = np.random.default_rng(seed)
    methods, units = (generator.permutation(list(names)) for names in (scores.methods, scores.units))
    return scores.select([str(name) for name in methods], [str(name) for name in units])
