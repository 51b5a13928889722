"""Finished runs that share all settings and seeds, as after a change of files or folders that settings name."""

from pathlib import Path

import pandas as pd

from harness.results.folder import DONE, RunFolder

SAME = ["protocol", "backbone", "tuned", "label", "exact", "dataset", "tail", "shots", "seed", "sample_seed", "axis"]
MOST_NAMED = 4


def newest_of_each(runs: pd.DataFrame, results: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Of finished runs that share all settings and seeds the one that was written last, and the ids of the others.

    A cell of a table can hold only one of them: they are no seeds of one another.

    Args:
        runs: in the form of `experiment_runs` or `axis_runs`.
        results: the results folder.
    """
    finished = runs[runs["state"] == DONE]
    older: list[str] = []
    same = [column for column in SAME if column in runs]
    for _, group in finished[finished.duplicated(same, keep=False)].groupby(same, dropna=False, sort=False):
        ids = [str(run_id) for run_id in group["id"]]
        newest = max(ids, key=lambda run_id: RunFolder(results, run_id).result_file.stat().st_mtime_ns)
        older += [run_id for run_id in ids if run_id != newest]
    return runs[~runs["id"].isin(older)], tuple(older)


def older_in_words(older: tuple[str, ...]) -> str:
    """Which runs are left out, as a sentence; empty if none are."""
    if not older:
        return ""
    runs, are = ("earlier run", "is") if len(older) == 1 else ("earlier runs", "are")
    named = f"{', '.join(older[:MOST_NAMED])}{', ...' if len(older) > MOST_NAMED else ''}"
    return (
        f"{len(older):,} {runs} with the settings and seeds of a later one {are} left out, as after a change of files "
        f"that settings name: {named}."
    )
