"""Reliability diagrams as data: accuracy against confidence, from the logits that runs kept."""

from collections.abc import Sequence

from harness.report.figures import RELIABILITY, Figure, Panel, Series
from harness.report.footnotes import variant_key
from harness.report.marks import marked, marks_by_label
from harness.report.paper_tables import file_name
from harness.report.rescore_table import Rescored, bin_lines, pooled_bins
from harness.report.run_notes import marks_note
from harness.report.runs import groups, in_order
from harness.report.table import Table
from harness.results.folder import DONE
from harness.text import counted

NOTE = (
    "Points: images by their confidence, the probability of the predicted class, in equal bins. Dashed: where "
    "predictions are as often right as they are confident; below it they are too confident. Bars: share of the images "
    "in each bin."
)


def reliability_figures(tables: Sequence[Table], rescored: Rescored) -> list[Figure]:
    """A reliability diagram for every data set, number of shots and evaluation, one panel for each method.

    Args:
        tables: as `paper_tables` gives them.
        rescored: what the logits of their runs say; runs that kept none are not drawn.
    """
    found = []
    for table in tables:
        lines = bin_lines(table.runs, rescored)
        if lines.empty:
            continue
        marks = marks_by_label(table.runs)
        key = tuple(f"{label}: {settings}" for label, settings in variant_key(table.runs).items())
        labels = in_order(table.runs["label"])
        for (dataset, shots, evaluation), group in groups(pooled_bins(lines), "dataset", "shots", "evaluation"):
            panels = []
            for label in labels:
                bins = group[group["method"] == label]
                if bins.empty:
                    continue
                images = bins["images"].sum()
                series = Series(
                    label,
                    tuple(100 * bins["confidence"]),
                    tuple(100 * bins["right"]),
                    words=tuple(counted(int(count), "image") for count in bins["images"]),
                    bars=tuple(
                        (100 * low, 100 * high, 100 * count / images)
                        for low, high, count in zip(bins["low"], bins["high"], bins["images"], strict=True)
                    ),
                )
                title = f"{marked(label, marks.get(label, ''))}, {counted(int(images), 'image')}"
                panels.append(Panel(title, (series,)))
            where = str(dataset) if evaluation in ("all", dataset) else f"{dataset}, {evaluation}"
            found.append(
                Figure(
                    file_name((table.name, "reliability", str(dataset), f"{shots}shot", str(evaluation))),
                    f"Reliability ({where}, {counted(int(shots), 'shot')})",
                    RELIABILITY,
                    "confidence (%)",
                    "images right (%)",
                    tuple(panels),
                    note=NOTE + (" All seeds together." if table.runs["seed"].nunique() > 1 else ""),
                    key=key,
                    marks=tuple(marks_note(table.runs[table.runs["state"] == DONE])),
                )
            )
    return found
