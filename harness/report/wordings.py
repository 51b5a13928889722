"""How far the wording of prompts moves the methods of a table: runs that differ only in `data.templates` as one row."""

import json
from collections import defaultdict
from typing import Any

import pandas as pd

from harness.experiment.protocols import find_protocol
from harness.report.rounding import headline_scores
from harness.report.runs import labelled
from harness.report.statistics import units_of
from harness.report.table import COSTS, UNMEASURED, Cell
from harness.results.folder import DONE
from harness.results.metrics import METRICS

KEY, TEMPLATES = "data.templates", "templates"
SPREAD, NUMBER, SHOWN = "templates.spread", "templates.number", "templates.shown"
USUAL = "zeroshot"
SAME = ("protocol", "backbone", "dataset", "tail", "shots", "method", "precision", "tuned")


def with_wordings(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of one wording of each setting, with how far the means of all of its wordings lie apart.

    The wording that is kept is the default (`data.templates=zeroshot`) if it is among them, else the first. Only seeds
    and samples that every wording has count.

    Args:
        runs: as `experiment_runs` or `folder_runs` gives them.

    Returns:
        The same columns, and `templates.spread` (points; NaN for one wording), `templates.number` of the wordings, and
        `templates.shown`, the one that is kept.
    """
    places: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(runs.to_dict("records")):
        others = {key: value for key, value in row["settings"].items() if key != KEY}
        key = (*(row[name] for name in SAME), json.dumps(others, sort_keys=True, default=str))
        places[key].append(place)
    kept = []
    for several in places.values():
        group = runs.iloc[several]
        wordings: dict[str, list[int]] = defaultdict(list)
        for place, settings in enumerate(group["settings"]):
            wordings[in_words(settings.get(KEY))].append(place)
        parts = {wording: group.iloc[own] for wording, own in wordings.items()}
        shown = USUAL if USUAL in parts else next(iter(parts))
        means = means_of(list(parts.values()))
        spread = max(means) - min(means) if len(means) > 1 else float("nan")
        own = parts[shown].copy()
        own[[SPREAD, NUMBER, SHOWN]] = spread, len(means), shown
        kept.append(own)
    return labelled(pd.concat(kept).sort_index().reset_index(drop=True))


def in_words(templates: object) -> str:
    """Templates as text; a list of one is that one."""
    return ", ".join(map(str, templates)) if isinstance(templates, list | tuple) else str(templates)


def means_of(wordings: list[pd.DataFrame]) -> list[float]:
    """The mean headline metric of each wording with complete runs, over the seeds and samples that all of them have."""
    scores = []
    for runs in wordings:
        done = runs[runs["state"] == DONE]
        if not done.empty:
            found = headline_scores(done).set_axis(units_of(done))
            scores.append(found[~found.index.duplicated()])
    common = set.intersection(*(set(found.index) for found in scores)) if scores else set()
    return [float(found[list(common)].mean()) for found in scores] if common else []


def wording_cells(runs: pd.DataFrame, where: str = "") -> list[Cell]:
    """The rows of a table that say how far wordings lie apart, the most of all data sets, and how many there are.

    Args:
        runs: of the table, in the form of `with_wordings`; without its columns there are no cells.
        where: added to the rows' names.
    """
    if SPREAD not in runs:
        return []
    spreads, numbers = [], []
    for label, own in runs.groupby("label", sort=False):
        spread = own[SPREAD].max()
        known = (float(spread), DONE) if spread == spread else (None, UNMEASURED)
        spreads.append(Cell(COSTS, f"{title_of(runs)}{where}", str(label), known[0], state=known[1]))
        numbers.append(Cell(COSTS, f"{TEMPLATES}{where}", str(label), float(own[NUMBER].max()), digits=0))
    return [*spreads, *numbers]


def title_of(runs: pd.DataFrame) -> str:
    """The name of the row: the metric, and what moves it."""
    return f"{METRICS[find_protocol(str(runs['protocol'].iloc[0])).headline].title} over templates"


def wording_notes(runs: pd.DataFrame) -> list[str]:
    """What the rows mean, and whose numbers the others are."""
    if SPREAD not in runs or runs.empty:
        return []
    shown = ", ".join(f"data.templates={wording}" for wording in dict.fromkeys(runs[SHOWN]))
    return [
        f"{title_of(runs)}: highest minus lowest mean over the wordings of the prompts, in points, over the seeds that "
        f"all have; a dash: one wording; {TEMPLATES}: their number. All other numbers: {shown}."
    ]
