"""Numbers over seeds and data sets: averages, ranks, and paired tests against the best method."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.statistics.wilcoxon import MOST_EXACT, holm, mean_ranks, normal_p

# The smallest p of a two-sided signed-rank test on n pairs is 2 / 2^n: fewer than six pairs cannot reach p < 0.05.
FEWEST_PAIRS = 6
SIGNIFICANCE = 0.05
# Equal means over different seeds may differ in their last bits.
SAME_DIGITS = 9


def with_spread(mean: float, seeds: pd.Series, digits: int) -> str:
    """A mean and the sample standard deviation over its seeds, such as `59.2 ± 0.4`; for one seed only the number."""
    spread = f" ± {seeds.std(ddof=1):.{digits}f}" if len(seeds) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def units_of(runs: pd.DataFrame) -> pd.Series:
    """What the values of methods are paired by: the seed of each run with that of its k-shot sample, and its source.

    The seed alone where samples are not known.
    """
    if "sample_seed" not in runs:
        return runs["seed"]
    units = runs["seed"].astype(str) + "/" + runs["sample_seed"].astype(str)
    if "sample_source" not in runs:
        return units
    sources = runs["sample_source"].fillna("").astype(str)
    return units.where(sources == "", units + "/" + sources)


def signed(value: float, digits: int) -> str:
    """A difference with its sign, rounded; zero is `+0.0`, also where a negative number rounds to it."""
    # The sum of a negative zero and zero is zero.
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def average_of_seeds(wide: pd.DataFrame, datasets: Sequence[str]) -> pd.Series:
    """Mean over data sets, seed by seed.

    Args:
        wide: one row per seed, one column per data set.
        datasets: data sets that the average must cover.

    Returns:
        One value per seed that has every data set; empty if a data set is missing altogether, because averages over
        different data sets cannot be compared.
    """
    if not datasets or not set(datasets) <= set(wide.columns):
        return pd.Series(dtype=float)
    return wide[list(datasets)].dropna().mean(axis=1)


def ranks(values: Sequence[float]) -> list[int]:
    """1 for the highest unrounded value, 2 for the next one, 0 for all others; equal values share their rank.

    Fewer than two values are not ranked; NaN has no rank.
    """
    exact = [round(value, SAME_DIGITS) for value in values]
    known = sorted({value for value in exact if value == value}, reverse=True)
    if sum(value == value for value in exact) < 2:
        return [0] * len(values)
    places = {value: place for place, value in enumerate(known[:2], start=1)}
    return [places.get(value, 0) for value in exact]


@dataclass(frozen=True)
class PairedTest:
    """One method against the best one.

    Attributes:
        best: name of the best method of the row.
        other: name of the method that is compared with it.
        pairs: number of values that both have (seeds x data sets).
        p: p-value of the two-sided Wilcoxon signed-rank test, with Holm's correction for the number of methods; None
            for fewer than six pairs, which cannot be significant.
    """

    best: str
    other: str
    pairs: int
    p: float | None

    @property
    def worse(self) -> bool:
        """Whether the best method is significantly better than this one (corrected p < 0.05)."""
        return self.p is not None and self.p < SIGNIFICANCE


def paired_tests(values: pd.DataFrame, best: str) -> list[PairedTest]:
    """Every method against the best one, by Wilcoxon's signed-rank test (Demšar, JMLR 2006) with Holm's correction.

    Args:
        values: one row per pair (data set and seed), one column per method; NaN where a method has no value.
        best: the method with the highest mean.

    Returns:
        One test for every other method that has values.
    """
    known = values.dropna(axis=1, how="all")
    found: list[tuple[str, int, float | None]] = []
    for other in known.columns.drop(best):
        both = known[[best, other]].dropna()
        found.append((str(other), len(both), signed_rank_p(both[best] - both[other])))
    corrected = holm([p for _, _, p in found if p is not None])
    return [PairedTest(best, other, pairs, corrected.pop(0) if p is not None else None) for other, pairs, p in found]


def signed_rank_p(differences: pd.Series) -> float | None:
    """p-value of the two-sided Wilcoxon signed-rank test; None for fewer than six pairs, 1 if nothing differs."""
    if len(differences) < FEWEST_PAIRS:
        return None
    if not differences.any():
        return 1.0
    if len(differences) > MOST_EXACT:
        moved = differences[differences != 0].to_numpy(dtype=np.float64)
        sizes = mean_ranks(np.abs(moved))
        return normal_p(sizes, float(sizes[moved > 0].sum()))
    # Imported here because it takes a second, and most tables have too few pairs for a test.
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences).pvalue)
