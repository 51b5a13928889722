"""What kept logits say, as tables: means over seeds for a paper, and one line per run, class, confusion or bin."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.experiment.protocols import Layout
from harness.report.cells import NO_SEEDS, Values, averaged, by_seed, summary
from harness.report.paper_tables import file_name, where
from harness.report.runs import FIXED, groups, in_order, leaderboard
from harness.report.table import AVERAGE, Cell, Table
from harness.rescore.metrics import VALIDATION_NEEDED, RescoreMetric
from harness.rescore.run import RescoredRun
from harness.results.folder import DONE
from harness.results.metrics import ACCURACY, CALIBRATION_BINS, ECE
from harness.text import counted

RUNS, CLASSES, CONFUSIONS, RELIABILITY = DETAILS = ("runs", "classes", "confusions", "reliability")
MOST_CONFUSIONS = 10
# What tells apart the lines that are pooled over seeds.
GROUP = ["dataset", "shots", "method", "evaluation"]
Rescored = Mapping[str, RescoredRun]
"""Id of a run -> what its logits say."""


def rescore_tables(runs: pd.DataFrame, rescored: Rescored, metrics: Sequence[RescoreMetric]) -> list[Table]:
    """Data set x (metric of an evaluation), means over seeds: one table for protocol, backbone, leaderboard and shots.

    Args:
        runs: as `experiment_runs` or `folder_runs` gives them.
        rescored: what is known of them.
        metrics: the rows; those that no run has are left out.
    """
    frame = with_values(runs, rescored, metrics)
    frame = frame.assign(leaderboard=[leaderboard(tuned) for tuned in frame["tuned"]])
    one_backbone = frame["backbone"].nunique() == 1
    found = []
    for (protocol, backbone, board, shots), part in groups(frame, "protocol", "backbone", "leaderboard", "shots"):
        cells = cells_of(part, metrics)
        if not cells:
            continue
        words = [protocol, f"{shots}shot", "" if one_backbone else backbone, "" if board == FIXED else board]
        title = ["rescored", protocol, where(Layout.PARTS, part), backbone, "" if board == FIXED else board]
        found.append(
            Table(
                file_name(("rescore", *words)),
                ", ".join(word for word in title if word),
                ("data set", ""),
                tuple(cells),
                part,
                {},
                leaderboard=board,
                notes=tuple(notes_of(part, rescored, metrics)),
            )
        )
    return found


def notes_of(runs: pd.DataFrame, rescored: Rescored, metrics: Sequence[RescoreMetric]) -> list[str]:
    """What a reader of the table must know beside the footnotes of all tables."""
    known = [rescored[run_id] for run_id in runs["id"] if run_id in rescored]
    notes = ["From logits that the runs kept, rounded to float16."]
    if any(metric.name.startswith(ECE) or metric.name.endswith(ECE) for metric in metrics):
        notes.append(f"Calibration errors: {CALIBRATION_BINS} bins, percent.")
    images = sorted({run.temperature.images for run in known if run.temperature})
    if images and any(metric.needs == VALIDATION_NEEDED for metric in metrics):
        number = " to ".join(f"{count:,}" for count in dict.fromkeys((images[0], images[-1])))
        notes.append(
            f"Temperature: fitted on the logits of {number} validation images of the training classes, never on test "
            "images."
        )
    return notes


def with_values(runs: pd.DataFrame, rescored: Rescored, metrics: Sequence[RescoreMetric]) -> pd.DataFrame:
    """The runs with a column `rescore.<metric>.<evaluation>` for every value."""
    rows = [
        {
            column_of(metric, name): evaluation.values.get(metric.name)
            for name, evaluation in (rescored[run_id].evaluations.items() if run_id in rescored else ())
            for metric in metrics
        }
        for run_id in runs["id"]
    ]
    return pd.concat([runs.reset_index(drop=True), pd.DataFrame(rows, dtype=float)], axis=1)


def column_of(metric: RescoreMetric, evaluation: str) -> str:
    """The column of a metric of an evaluation."""
    return f"rescore.{metric.name}.{evaluation}"


def evaluations_of(runs: pd.DataFrame) -> list[str]:
    """Names of the evaluations that some runs have values of."""
    return in_order(str(name).split(".", 2)[2] for name in runs.columns if str(name).startswith("rescore."))


def cells_of(runs: pd.DataFrame, metrics: Sequence[RescoreMetric]) -> list[Cell]:
    """The cells of one table, row by row."""
    datasets, labels = in_order(runs["dataset"]), in_order(runs["label"])
    cells = []
    for block in datasets + ([AVERAGE] if len(datasets) > 1 else []):
        for metric in metrics:
            for name in evaluations_of(runs):
                column, row = column_of(metric, name), f"{metric.title} {name}"
                # A row that no run has, such as the temperature where no validation logits were kept, says nothing.
                if column not in runs or runs[column].isna().all():
                    continue
                values: Values = {}
                for (label, dataset), group in groups(runs, "label", "dataset"):
                    values[label, dataset, row] = by_seed(group, column)
                for label in labels:
                    if block == AVERAGE:
                        values[label, block, row] = averaged(values, label, row, datasets)
                    seeds = values.get((label, block, row), NO_SEEDS)
                    cells.append(summary(runs, block, row, label, seeds, metric.digits, [name]))
    return cells


def about_runs(runs: pd.DataFrame, rescored: Rescored) -> list[tuple[dict[str, object], RescoredRun]]:
    """Of each rescored run what tells it apart, and what its logits say."""
    keys = ["id", "protocol", "backbone", "dataset", "shots", "label", "seed"]
    rows = runs.loc[runs["state"] == DONE, keys].to_dict("records")
    found = [{"method" if key == "label" else str(key): value for key, value in row.items()} for row in rows]
    return [(row, rescored[str(row["id"])]) for row in found if row["id"] in rescored]


def run_lines(runs: pd.DataFrame, rescored: Rescored, metrics: Sequence[RescoreMetric]) -> pd.DataFrame:
    """One line per run, evaluation and metric, unrounded: for programs.

    Returns:
        Columns id, protocol, backbone, dataset, shots, method, seed, evaluation, metric, unit, value, low and high (of
        the bootstrap interval of the accuracy), images.
    """
    lines = []
    for about, run in about_runs(runs, rescored):
        for name, evaluation in run.evaluations.items():
            for metric in metrics:
                if (value := evaluation.values.get(metric.name)) is not None:
                    low, high = evaluation.interval if metric.name == ACCURACY else (None, None)
                    what = {"evaluation": name, "metric": metric.name, "unit": metric.unit, "value": value}
                    lines.append({**about, **what, "low": low, "high": high, "images": int(evaluation.confusion.sum())})
    return pd.DataFrame(lines)


def run_table(runs: pd.DataFrame, rescored: Rescored, metrics: Sequence[RescoreMetric]) -> pd.DataFrame:
    """Text cells, one row per run and evaluation, with the interval of the accuracy over images."""
    rows = []
    for about, run in about_runs(runs, rescored):
        for name, evaluation in run.evaluations.items():
            numbers = {
                metric.title: f"{evaluation.values[metric.name]:.{metric.digits}f}"
                for metric in metrics
                if metric.name in evaluation.values
            }
            interval = "{:.2f}..{:.2f}".format(*evaluation.interval)
            shown = {key: str(about[key]) for key in ("dataset", "method", "shots", "seed")}
            rows.append({**shown, "evaluation": name, **numbers, "95 % interval": interval})
    return pd.DataFrame(rows).fillna("-")


def class_lines(runs: pd.DataFrame, rescored: Rescored) -> pd.DataFrame:
    """One line per run, evaluation and class that has images: its number of images and of right ones, and percent."""
    lines = []
    for about, run in about_runs(runs, rescored):
        for name, evaluation in run.evaluations.items():
            images, right = evaluation.confusion.sum(axis=1), evaluation.confusion.diagonal()
            for label in np.flatnonzero(images):
                number, hits = int(images[label]), int(right[label])
                what = {"evaluation": name, "label": int(label), "class": evaluation.class_names[label]}
                lines.append({**about, **what, "images": number, "right": hits, "percent": 100 * hits / number})
    return pd.DataFrame(lines)


def class_table(lines: pd.DataFrame) -> pd.DataFrame:
    """Text cells: classes of evaluations as rows, methods as columns, percent right, means over seeds."""
    keys = ["dataset", "shots", "evaluation", "label", "class"]
    wide = lines.pivot_table(index=keys, columns="method", values="percent", sort=False)
    text = wide.map(lambda value: "-" if value != value else f"{value:.1f}").reset_index()
    return text.drop(columns=["label"]).astype(str).rename_axis(columns=None)


def confusion_lines(runs: pd.DataFrame, rescored: Rescored) -> pd.DataFrame:
    """One line per run, evaluation, class and class that some of its images were taken for, itself included."""
    lines = []
    for about, run in about_runs(runs, rescored):
        for name, evaluation in run.evaluations.items():
            names = evaluation.class_names
            for label, predicted in np.argwhere(evaluation.confusion):
                count = int(evaluation.confusion[label, predicted])
                what = {"evaluation": name, "label": int(label), "class": names[label], "predicted": names[predicted]}
                lines.append({**about, **what, "predicted_label": int(predicted), "images": count})
    return pd.DataFrame(lines)


def confusion_table(lines: pd.DataFrame) -> pd.DataFrame:
    """Text cells: the classes that are confused the most by method and evaluation, all of its seeds together."""
    totals = lines.groupby([*GROUP, "label"], sort=False)["images"].sum().rename("of")
    wrong = lines[lines["label"] != lines["predicted_label"]]
    pairs = wrong.groupby([*GROUP, "label", "class", "predicted", "predicted_label"], sort=False)["images"].sum()
    counts = pairs.reset_index().join(totals, on=[*GROUP, "label"])
    counts = counts.sort_values("images", ascending=False, kind="stable")
    most = in_line_order(counts.groupby(GROUP, sort=False).head(MOST_CONFUSIONS), lines)
    text = most[[*GROUP, "class", "predicted"]].astype(str)
    return text.assign(images=[f"{one} of {whole}" for one, whole in zip(most["images"], most["of"], strict=True)])


def in_line_order(found: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """Rows with their groups in the order in which lines have them; within a group their order stays."""
    order = {key: place for place, key in enumerate(dict.fromkeys(zip(*(lines[key] for key in GROUP), strict=True)))}
    places = pd.Series([order[key] for key in zip(*(found[key] for key in GROUP), strict=True)], index=found.index)
    return found.loc[places.sort_values(kind="stable").index]


def bin_lines(runs: pd.DataFrame, rescored: Rescored) -> pd.DataFrame:
    """One line per run, evaluation and bin of confidence: the reliability table; shares from 0 to 1."""
    lines = []
    for about, run in about_runs(runs, rescored):
        for name, evaluation in run.evaluations.items():
            for one in evaluation.bins:
                what = {"evaluation": name, "low": one.low, "high": one.high, "images": one.images}
                lines.append({**about, **what, "confidence": one.confidence, "right": one.accuracy})
    return pd.DataFrame(lines)


def pooled_bins(lines: pd.DataFrame) -> pd.DataFrame:
    """The bins of each method and evaluation with the images of all of its seeds together; those that hold any."""
    known = lines[lines["images"] > 0]
    weighted = known.assign(**{name: known["images"] * known[name] for name in ("confidence", "right")})
    sums = weighted.groupby([*GROUP, "low", "high"], sort=False)[["images", "confidence", "right"]].sum().reset_index()
    means = sums.assign(**{name: sums[name] / sums["images"] for name in ("confidence", "right")})
    return in_line_order(means.sort_values("low", kind="stable"), lines)


def bin_table(lines: pd.DataFrame) -> pd.DataFrame:
    """Text cells: `pooled_bins`, shares in percent."""
    found = pooled_bins(lines)
    text = found[GROUP].astype(str)
    return text.assign(
        bin=[f"{low:.2f}..{high:.2f}" for low, high in zip(found["low"], found["high"], strict=True)],
        images=[f"{count:,}" for count in found["images"]],
        confidence=[f"{100 * value:.1f}" for value in found["confidence"]],
        right=[f"{100 * value:.1f}" for value in found["right"]],
    )


@dataclass(frozen=True)
class Detail:
    """What is shown beside the means, if it is asked for.

    Attributes:
        name: of its file.
        title: for people.
        lines: unrounded, for programs.
        table: text cells.
    """

    name: str
    title: str
    lines: pd.DataFrame
    table: pd.DataFrame


def details(
    runs: pd.DataFrame, rescored: Rescored, metrics: Sequence[RescoreMetric], names: Collection[str]
) -> list[Detail]:
    """The details of these names, among DETAILS."""
    found = []
    if RUNS in names:
        lines, table = run_lines(runs, rescored, metrics), run_table(runs, rescored, metrics)
        found.append(Detail(RUNS, "Runs, with the 95 % bootstrap interval of the accuracy over images", lines, table))
    if CLASSES in names:
        lines = class_lines(runs, rescored)
        found.append(Detail(CLASSES, "Percent right of every class, means over seeds", lines, class_table(lines)))
    if CONFUSIONS in names:
        lines = confusion_lines(runs, rescored)
        found.append(Detail(CONFUSIONS, "Most frequent confusions, all seeds together", lines, confusion_table(lines)))
    if RELIABILITY in names:
        lines = bin_lines(runs, rescored)
        title = "Confidence and images right, percent, by bins of confidence, all seeds together"
        found.append(Detail(RELIABILITY, title, lines, bin_table(lines)))
    return found


def not_kept_note(rescored: Rescored) -> str:
    """Which runs kept no logits of some evaluation; empty if all did."""
    lacking = [run.id for run in rescored.values() if run.not_kept]
    if not lacking:
        return ""
    runs = counted(len(lacking), "run")
    return (
        f"{runs} kept no logits of some evaluations, the first is {lacking[0]}: `skipbench rerun ID` computes a run "
        "again, and keeps them if they fit into runtime.keep_logits_mib."
    )
