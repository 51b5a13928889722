"""What given k-shot samples are called in tables, so that those of one source are one variant and others are not."""

from collections import defaultdict
from typing import Any

import pandas as pd

from harness.data.sample_source import pattern_of

INDEX = "data.index"


def with_sources(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with `sample_source`, and the setting `data.index`, the same for all files that one pattern gives.

    A file that runs of several seeds share is no file of a pattern: it keeps the seed in its name.

    Args:
        runs: with the columns of `harness.results.frame.spec_row` and `settings`.
    """
    if "sample_index" not in runs or not (runs["sample_index"] != "").any():
        return runs
    columns = ("sample_index", "dataset", "shots", "sample_seed")
    rows = list(zip(*(runs[column] for column in columns), strict=True))
    seeds: dict[Any, set[int]] = defaultdict(set)
    for *cell, seed in rows:
        seeds[tuple(cell)].add(seed)
    sources, settings = list(runs["sample_source"]), list(runs["settings"])
    for place, (index, dataset, shots, seed) in enumerate(rows):
        if index:
            shared = len(seeds[index, dataset, shots]) > 1
            name = pattern_of(index, dataset, shots, None if shared else seed)
            sources[place] = f"{INDEX}={name}"
            settings[place] = {**settings[place], INDEX: name}
    return runs.assign(sample_source=sources, settings=settings)
