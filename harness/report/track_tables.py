"""Runs with their tracks, so that tables, figures and the page rank only what may be compared."""

from pathlib import Path

import pandas as pd

from harness.report.marks import LAX_MARK
from harness.report.tracks import CHOSE, Placement, Track, placement_of
from harness.results.folder import DONE
from harness.results.index import results_of

NOT_COMPUTED = "not computed yet"
ORDER = [track.title for track in Track]


def with_tracks(runs: pd.DataFrame, results: Path) -> pd.DataFrame:
    """Runs with columns `track` (the heading they are ranked under), `about_track` and `track_reasons`.

    A run that is not complete has the track of the complete ones of its label; runs as published are marked, so that
    they are not ranked.

    Args:
        runs: as `experiment_runs` or `folder_runs` gives them.
        results: the results folder.

    Raises:
        DamagedError: a result cannot be read.
    """
    done = list(runs.loc[runs["state"] == DONE, "id"])
    found: dict[str, Placement] = {result.id: placement_of(result) for result in results_of(results, done)}
    # A method may be in one track with 16 shots and in another with one: the runs nearest to a missing one decide.
    keys = list(
        runs[["label", "protocol", "backbone", "shots", "tail", "label_noise"]].itertuples(index=False, name=None)
    )
    of_group = {key: found[str(run_id)] for key, run_id in zip(keys, runs["id"], strict=True) if run_id in found}
    placed = [found.get(str(run_id)) or of_group.get(key) for key, run_id in zip(keys, runs["id"], strict=True)]
    marks = runs["mark"] if "mark" in runs else pd.Series("", index=runs.index)
    unranked = [one is not None and not one.track.is_ranked for one in placed]
    return runs.assign(
        track=[one.title if one else NOT_COMPUTED for one in placed],
        about_track=[one.track.about if one else "" for one in placed],
        track_reasons=pd.Series([one.reasons if one else () for one in placed], index=runs.index, dtype=object),
        mark=[mark if mark or not lax else LAX_MARK for mark, lax in zip(marks.fillna(""), unranked, strict=True)],
    )


def place_of(track: str) -> tuple[int, str]:
    """What tables of tracks are sorted by: the cleanest first."""
    name = track.partition(",")[0]
    return ORDER.index(name) if name in ORDER else len(ORDER), track


def track_notes(runs: pd.DataFrame) -> list[str]:
    """What belongs to the track of a table, and why its runs are in no cleaner one; empty without tracks."""
    if "track" not in runs or not runs["track"].iloc[0]:
        return []
    about = next(filter(None, runs["about_track"]), "")
    notes = [f"Track {runs['track'].iloc[0]}{': ' if about else ''}{about}."]
    marks = any(mark == LAX_MARK for mark in runs["mark"])
    reasons: dict[str, dict[str, None]] = {}
    for label, several in zip(runs["label"], runs["track_reasons"], strict=True):
        # What clean runs chose themselves stands in a note of its own.
        for reason in several if marks else [reason for reason in several if not reason.startswith(CHOSE)]:
            reasons.setdefault(reason, {})[str(label)] = None
    each = [f"{', '.join(labels)}: {reason}" for reason, labels in reasons.items()]
    return [*notes, *([f"{f'{LAX_MARK}: ' if marks else ''}{'; '.join(each)}."] if each else [])]
