"""The report of an experiment: one HTML page that opens from disk and needs nothing else."""

import base64
import html
import io
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import yaml

from harness.errors import UserError
from harness.machine.costs import PHASES, PhaseCosts
from harness.machine.units import MIB
from harness.report.figures import paper_figures
from harness.report.method_table import cost_metrics, evaluations_in, shown_values
from harness.report.render import to_html, to_latex
from harness.report.runs import in_order
from harness.report.table import Table
from harness.results.folder import DAMAGED, DONE, FAILED, RunFolder
from harness.results.metrics import ACCURACY, Metric, summary_metrics
from harness.results.record import Prediction, Result

ASSETS = Path(__file__).parent / "assets"
# A page stays below 2 MB: runs are described one after the other until this much is used.
PAGE_BYTES = 1_900_000
PICTURE_BYTES = 500_000
PICTURE_SIZE = 48  # pixels
MOST_ACCURACIES = 12
MOST_LOSSES = 60
NO_SPEC = {"seed", "wandb", "runtime"}
LEFT_OUT = "This page is kept below 2 MB: what is left of this run stands in the files above."


def page(title: str, tables: Sequence[Table], runs: pd.DataFrame, results: Path, folder: Path) -> str:
    """The page.

    Args:
        title: of the experiment.
        tables: as `paper_tables` gives them, with published numbers or without.
        runs: as `experiment_runs` or `folder_runs` gives them.
        results: the results folder.
        folder: where the page will lie, for links to the files of runs.
    """
    figures = [asdict(figure) for figure in paper_figures(tables, results)]
    plain = [label for label in in_order(runs["label"]) if "(" not in label]
    data: dict[str, Any] = {
        # Plain methods first, as in plots: their variants take what colours are left.
        "names": [*plain, *(label for label in in_order(runs["label"]) if label not in plain)],
        "latex": [to_latex(table) for table in tables],
        "figures": figures,
        "runs": run_rows(runs),
        "folder": Path(os.path.relpath(results / "runs", folder)).as_posix(),
        "left_out": LEFT_OUT,
    }
    body = "\n".join(to_html(table, extra=copy_button(number)) for number, table in enumerate(tables))
    used = len(dumped(data)) + len(body.encode()) + sum(path.stat().st_size for path in ASSETS.iterdir())
    details = describe_runs(runs, results, PAGE_BYTES - used)
    described, done = len(details["details"]), len(runs)
    note = "A run opens on its name." + (f" {described} of {done} runs are described here." if described < done else "")
    return Template((ASSETS / "page.html").read_text()).substitute(
        title=html.escape(title),
        style=(ASSETS / "page.css").read_text(),
        script=(ASSETS / "page.js").read_text(),
        summary=summary(runs),
        tables=body,
        runs_note=note,
        data=dumped({**data, **details}),
    )


def dumped(data: dict[str, Any]) -> str:
    """JSON inside a script element, which a text in it cannot end."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def copy_button(number: int) -> str:
    """The button that copies a table as LaTeX."""
    return f'<button type="button" data-latex="{number}">Copy as LaTeX</button>'


def summary(runs: pd.DataFrame) -> str:
    """What was run, in a few words and numbers."""
    states = Counter(runs["state"])
    known = runs[runs["state"] == DONE]
    trained = [pd.to_numeric(known[f"{phase}.seconds"]).sum() for phase in PHASES if f"{phase}.seconds" in known]
    facts = {
        "runs": ", ".join(f"{count} {state}" for state, count in states.items()),
        "protocols": ", ".join(in_order(runs["protocol"])),
        "methods": str(runs["method"].nunique()),
        "data sets": ", ".join(in_order(runs["dataset"]))
        if runs["dataset"].nunique() < 4
        else str(runs["dataset"].nunique()),
        "seeds": ", ".join(map(str, sorted(runs["seed"].unique())))
        if runs["seed"].nunique() < 6
        else str(runs["seed"].nunique()),
        "backbone": ", ".join(in_order(runs["backbone"])),
        "device": ", ".join(in_order(known["device"])),
        "time of all runs": duration(sum(trained)),
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{items}</dl>'


def duration(seconds: float) -> str:
    """Seconds for people."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{seconds:.0f} s"


def run_rows(runs: pd.DataFrame) -> dict[str, Any]:
    """The table of runs: columns with their names, and rows of values; repeated words are numbers of a list."""
    columns: list[dict[str, Any]] = []
    values: list[list[Any]] = []

    def words(name: str, column: pd.Series) -> None:
        known = in_order(column)
        columns.append({"name": name, "words": known})
        values.append([known.index(str(value)) for value in column] if len(known) < 500 else [*map(str, column)])

    def numbers(name: str, column: pd.Series, digits: int) -> None:
        columns.append({"name": name, "digits": digits})
        values.append([rounded(value, digits) for value in column])

    words("method", runs["label"])
    if runs["protocol"].nunique() > 1:
        words("protocol", runs["protocol"])
    words("data set", runs["dataset"])
    for name in ("shots", "seed"):
        columns.append({"name": name})
        values.append([int(value) for value in runs[name]])
    words("state", runs["state"])
    for name in evaluations_in(runs)[:MOST_ACCURACIES]:
        numbers(name, runs[f"{ACCURACY}.{name}"], 2)
    for metric in shown_metrics(runs):
        numbers(metric.title, shown_values(metric, runs), metric.digits)
    columns.append({"name": "id"})
    values.append(list(runs["id"]))
    return {"columns": columns, "rows": [list(row) for row in zip(*values, strict=True)]}


def shown_metrics(runs: pd.DataFrame) -> list[Metric]:
    """Metrics of whole runs that tables show and that some of the runs have."""
    metrics: list[Metric] = [metric for metric in summary_metrics() if metric.in_tables]
    return [metric for metric in (*metrics, *cost_metrics()) if shown_values(metric, runs).notna().any()]


def rounded(value: Any, digits: int) -> float | None:
    """A number with as many digits as it is shown with; None for none."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def describe_runs(runs: pd.DataFrame, results: Path, budget: int) -> dict[str, Any]:
    """What the page tells of single runs, as far as there is room; what many runs share is there once.

    Args:
        runs: which.
        results: the results folder.
        budget: bytes of JSON.

    Returns:
        details (run id -> what it is, with numbers of lists), specs, classes (lists of names), pictures (path -> data
        URL).
    """
    specs, classes = Shared(), Shared()
    details: dict[str, Any] = {}
    wanted: dict[str, str] = {}
    budget -= PICTURE_BYTES
    for run_id, state, reason in zip(runs["id"], runs["state"], runs["reason"], strict=True):
        if state in (FAILED, DAMAGED):
            details[run_id] = {"reason": reason, "seed": 0, "spec": specs.place("")}
        if state != DONE:
            continue
        folder = RunFolder(results, run_id)
        result = folder.read_result()
        detail = describe(folder, result, specs, classes)
        budget -= len(dumped(detail)) + len(run_id) + 6 + specs.grown() + classes.grown()
        if budget < 0:
            break
        details[run_id] = detail
        for item in result.evaluations:
            for example in detail["examples"].get(item.name, ()):
                wanted.setdefault(example[0], item.dataset)
    root = os.environ.get("DATA")
    pictures = thumbnails(wanted, root, PICTURE_BYTES + max(budget, 0))
    return {"details": details, "specs": specs.values, "classes": classes.values, "pictures": pictures}


class Shared:
    """A list of values that are there once, however many runs share them."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}
        self._new = 0

    def place(self, value: Any) -> int:
        """Number of a value in the list."""
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
            self._new += len(key.encode()) + 1
        return self._places[key]

    def grown(self) -> int:
        """Bytes by which the list grew since the last question."""
        grown, self._new = self._new, 0
        return grown


def describe(folder: RunFolder, result: Result, specs: Shared, classes: Shared) -> dict[str, Any]:
    """One run: spec, costs, curve, accuracy of classes, predictions."""
    spec = {key: value for key, value in result.spec.settings().items() if key not in NO_SPEC}
    losses = [(one.epoch + 1, float(f"{one.loss:.4g}")) for one in folder.read_metrics() if math.isfinite(one.loss)]
    step = max(1, math.ceil(len(losses) / MOST_LOSSES))
    return {
        "seed": result.spec.seed,
        "spec": specs.place(yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=100)),
        "costs": [phase_row(name, costs) for name, costs in result.costs.phases.items()],
        "facts": facts(result),
        "losses": losses[::step],
        "classes": {
            item.name: {
                "names": classes.place(list(item.per_class)),
                "values": [rounded(value, 1) for value in item.per_class.values()],
            }
            for item in result.evaluations
            if item.per_class
        },
        "examples": {name: [example(one) for one in some] for name, some in folder.read_predictions().items()},
        "url": read_url(folder.path / "wandb.json"),
    }


def example(prediction: Prediction) -> list[Any]:
    """A prediction: path, class, predicted class, confidence."""
    return [prediction.path, prediction.label, prediction.predicted, round(prediction.confidence, 2)]


def phase_row(name: str, costs: PhaseCosts) -> list[Any]:
    """A phase: seconds, images/s, peak MiB."""
    peak = costs.peak_bytes
    speed = rounded(costs.images_per_second, 0)
    return [name, rounded(costs.seconds, 2), speed, rounded(peak / MIB, 1) if peak else None]


def facts(result: Result) -> str:
    """Sizes and the machine, in a sentence."""
    costs, machine = result.costs, result.environment
    parts = [f"{costs.trainable_parameters:,} of {costs.total_parameters:,} parameters trained"]
    if costs.train_flops_per_image:
        parts.append(f"{costs.train_flops_per_image / 1e9:.3g} GFLOP an image in training")
    parts += [f"{machine.processor or ''} {machine.device}".strip(), f"torch {machine.torch or '?'}"]
    return ", ".join(parts) + "."


def read_url(path: Path) -> str | None:
    """Where W&B shows a run; None for an offline one."""
    try:
        url = json.loads(path.read_text()).get("url")
    except (OSError, ValueError, AttributeError):
        return None
    return url if isinstance(url, str) else None


def thumbnails(wanted: dict[str, str], data_root: str | None, budget: int) -> dict[str, str]:
    """Small pictures as data URLs, as far as the data sets are here and there is room.

    Args:
        wanted: path of a picture -> its data set.
        data_root: folder of the data sets.
        budget: bytes.
    """
    if not wanted:
        return {}
    # Not at the top: pictures are the only thing here that needs it.
    from harness.data.datasets import read_dataset

    folders: dict[str, Path | None] = {}
    found: dict[str, str] = {}
    for path, dataset in wanted.items():
        if dataset not in folders:
            try:
                folders[dataset] = read_dataset(dataset, data_root).folder
            except UserError:  # not on this machine
                folders[dataset] = None
        folder = folders[dataset]
        picture = thumbnail(folder, path) if folder else None
        budget -= len(path) + len(picture or "") + 6
        if budget < 0:
            break
        if picture:
            found[path] = picture
    return found


def thumbnail(folder: Path, path: str) -> str | None:
    """A picture as a small data URL; None if it cannot be read."""
    from harness.data.pictures import read_picture

    try:
        image = read_picture(folder, path)
    except UserError:
        return None
    image.thumbnail((2 * PICTURE_SIZE, 2 * PICTURE_SIZE))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=55)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
