"""Tidy rows as the frame of runs that tables are made of, with the runs of a suite that are not complete."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from harness.board.tidy import REFUSED, WHY_SEPARATOR, TidyRow
from harness.machine.costs import TRAIN
from harness.report.display_names import display_name
from harness.report.marks import LAX_MARK
from harness.report.tracks import Track
from harness.results.folder import DONE
from harness.results.frame import spec_row
from harness.results.index import StoredRun
from harness.results.metrics import run_metrics

Place = tuple[Any, ...]
PHASE_SECONDS = {metric.phases[0]: metric.name for metric in run_metrics() if len(metric.phases) == 1}
"""Phase -> the metric of its seconds."""
REFUSAL = "the method cannot take part in it"
UNKNOWN = ("", "")
"""Name of the track and its heading, of a run that is not complete: they are computed from results."""


def runs_frame(rows: Iterable[TidyRow], incomplete: Sequence[StoredRun] = ()) -> pd.DataFrame:
    """The runs behind some rows, one row each, in the form of `harness.report.runs.experiment_runs`.

    Args:
        rows: of tidy files.
        incomplete: runs of the suite that have no result, so that tables show them as missing or failed.

    Returns:
        The columns that tables read (id, method, dataset, shots, seed, state, `accuracy.<evaluation>`, metrics of runs,
        `<phase>.seconds`, template, versions, refusals, label, ...), those of
        `harness.report.track_tables.with_tracks`, track_name, and minor (version). A run that is not complete has the
        track of its method's complete runs under the same protocol; if there are none, it is empty.
    """
    by_run: dict[str, list[TidyRow]] = {}
    for row in rows:
        by_run.setdefault(row.run, []).append(row)
    found = [run_cells(own) for own in by_run.values()]
    placed: dict[Place, set[tuple[str, str]]] = {}
    for run in found:
        for place in places_of(run):
            placed.setdefault(place, set()).add((run["track_name"], run["track"]))
    for stored in incomplete:
        if stored.spec is not None:
            cells = {"id": stored.id, **spec_row(stored.spec), "state": stored.state, "reason": stored.reason}
            known = next((placed[place] for place in places_of(cells) if place in placed), {UNKNOWN})
            found += [{**cells, "settings": {}, **track_cells(*pair)} for pair in sorted(known)]
    return labelled(pd.DataFrame(found))


def places_of(run: Mapping[str, Any]) -> list[Place]:
    """What decides the track of a run, the most exact first: settings may be chosen for each number of shots."""
    method = (run["protocol"], run["method"])
    return [(*method, run["shots"]), method]


def track_cells(name: str, heading: str, why: str = "") -> dict[str, Any]:
    """What the cells of a run say of its track."""
    track = Track(name) if name else None
    return {
        "track_name": name,
        "track": heading,
        "about_track": track.about if track else "",
        "track_reasons": tuple(filter(None, why.split(WHY_SEPARATOR))),
        "mark": LAX_MARK if track and not track.is_ranked else "",
    }


def run_cells(rows: Sequence[TidyRow]) -> dict[str, Any]:
    """The cells of one run."""
    first = rows[0]
    values = {f"{row.metric}.{row.evaluation}" if row.evaluation else row.metric: row.value for row in rows}
    values = {name: value for name, value in values.items() if value is not None}
    seconds = {f"{phase}.seconds": values.get(metric, 0.0) for phase, metric in PHASE_SECONDS.items()}
    tested = [(f"{row.evaluated} ({row.evaluation})", row.pictures) for row in rows if row.pictures]
    return {
        "id": first.run,
        "name": f"{first.method}-{first.dataset}-{first.shots}shot-seed{first.seed}",
        "method": first.method,
        "dataset": first.dataset,
        "backbone": first.backbone,
        "protocol": first.protocol,
        "shots": first.shots,
        "tail": first.tail,
        "label_noise": first.label_noise,
        "seed": first.seed,
        "sample_seed": first.sample_seed,
        "sample_hash": first.sample or None,
        "recipe": first.recipe,
        "tuned": "",
        "precision": first.precision,
        "device": first.device,
        "state": DONE,
        "reason": "",
        **track_cells(first.track, first.heading, first.why),
        # What tables ask of the settings: whether anything is trained.
        "settings": {} if PHASE_SECONDS[TRAIN] in values else {"train.epochs": 0},
        "template": ", ".join(dict.fromkeys(row.template for row in rows if row.template)),
        "versions": f"SkipBench {first.version or '?'}",
        "minor": first.minor_version,
        "threads": first.threads,
        "tested_on": tuple(dict.fromkeys(tested)),
        "refusals": tuple((row.evaluation, REFUSAL) for row in rows if row.metric == REFUSED),
        **values,
        **seconds,
    }


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with the column `label`: the method's display name, with recipe, precision or conditions where one
    track has several of them.
    """
    if runs.empty:
        return runs
    titles = {method: display_name(str(method)) for method in runs["method"].unique()}
    labels = runs["method"].map(titles)
    for column in ("recipe", "precision", "tail", "label_noise"):
        group = runs.groupby(["track", "protocol", "method"], sort=False)
        several = group[column].transform(lambda values: len(set(values.dropna()))) > 1
        labels = labels.where(~several, labels + " (" + runs[column].astype(str) + ")")
    return runs.assign(label=labels)
