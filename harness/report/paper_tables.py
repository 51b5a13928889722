"""The layouts of a paper's tables as data: the place of every cell, and its mean, deviation and rank."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pandas as pd

from harness.experiment.protocols import Layout, Protocol, find_protocol
from harness.report.cells import (
    NO_SEEDS,
    Values,
    averaged,
    by_seed,
    cost_cells,
    pairs_of,
    ranked,
    summary,
    summary_cells,
    table_of,
)
from harness.report.method_table import evaluations_in
from harness.report.runs import FIXED, groups, in_order, leaderboard, protocol_of
from harness.report.table import AVERAGE, COSTS, SOURCE, TARGETS, Cell, Table
from harness.report.track_tables import place_of
from harness.results.metrics import ACCURACY, TARGET_ACCURACY, SummaryMetric, summary_metrics
from harness.text import counted


def paper_tables(runs: pd.DataFrame) -> list[Table]:
    """The tables of some runs: one for every protocol, backbone, leaderboard, and number of shots or source data set.

    Args:
        runs: as `experiment_runs` or `folder_runs` gives them; with those of `with_tracks`, every track has its tables.

    Raises:
        UserError: a protocol is unknown.
    """
    runs = runs.assign(leaderboard=[leaderboard(tuned) for tuned in runs["tuned"]])
    if "track" in runs:
        of_tracks = sorted(groups(runs, "track"), key=lambda item: place_of(str(item[0])))
        return [of_track(table, str(track)) for track, part in of_tracks for table in tables_of(part, runs)]
    return tables_of(runs, runs)


def of_track(table: Table, track: str) -> Table:
    """A table that says of which track its runs are."""
    return replace(table, name=file_name((table.name, track)), title=f"{table.title}, track: {track}", track=track)


def tables_of(runs: pd.DataFrame, every: pd.DataFrame) -> list[Table]:
    """The tables of some runs, those of a leaderboard each; `every` run decides whether names need the backbone."""
    one_backbone = every["backbone"].nunique() == 1
    found = []
    for (protocol, backbone, board), group in groups(runs, "protocol", "backbone", "leaderboard"):
        layout = protocol_of(group).layout
        for words, part in parts_of(layout, group):
            # File names leave out what is usual: the only backbone, and recipes that are not tuned.
            parts = [protocol, *words, "" if one_backbone else backbone, "" if board == FIXED else board]
            title = [protocol, where(layout, part), backbone, "" if board == FIXED else f"leaderboard: {board}"]
            table = whole_table(part)
            name, title_text = file_name(parts), ", ".join(word for word in title if word)
            found.append(replace(table, name=name, title=title_text, leaderboard=board))
    return found


def parts_of(layout: Layout, runs: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """The runs of one protocol in parts, one per table, each with words for the table's name."""
    if layout == Layout.SHOTS:
        yield (), runs
    elif layout == Layout.PARTS:
        for shots, part in groups(runs.sort_values("shots", kind="stable"), "shots"):
            yield (f"{shots}shot",), part
    else:
        for (source, shots), part in groups(runs, "dataset", "shots"):
            yield (source, f"{shots}shot"), part


def where(layout: Layout, runs: pd.DataFrame) -> str:
    """Data set and shots for the title of a table, as far as all of its runs share them."""
    dataset = str(runs["dataset"].iloc[0]) if runs["dataset"].nunique() == 1 else ""
    shots = counted(int(runs["shots"].iloc[0]), "shot") if runs["shots"].nunique() == 1 else ""
    trained = "trained on " if layout == Layout.TARGETS else ""
    return ", ".join(part for part in (f"{trained}{dataset}" if dataset else "", shots) if part)


def file_name(words: Iterable[str]) -> str:
    """Words as a file name; data sets and backbones may be paths."""
    return "-".join(re.sub(r"[^\w.+]+", "-", str(word)).strip("-") for word in words if word)


def summaries_of(protocol: Protocol, source: str, names: Sequence[str]) -> list[SummaryMetric]:
    """The metrics that tables show and that sum up evaluations of these names, the protocol's headline metric last.

    Args:
        protocol: of the runs.
        source: the training data set.
        names: of the evaluations.
    """
    shown = [metric for metric in summary_metrics() if metric.in_tables]
    defined = [metric for metric in shown if metric.of_accuracies(source, dict.fromkeys(names, 1.0)) is not None]
    return sorted(defined, key=lambda metric: metric.name == protocol.headline)


def by_parts(runs: pd.DataFrame) -> Table:
    """Data set x (evaluations and the metrics that sum them up), then their average, then costs.

    These metrics are taken of the mean accuracies over seeds; for the average over data sets, of the averages.
    """
    protocol = protocol_of(runs)
    names = [part.name for part in protocol.parts]
    values: Values = {}
    for (label, dataset), group in groups(runs, "label", "dataset"):
        values |= {(label, dataset, name): by_seed(group, f"{ACCURACY}.{name}") for name in names}
    datasets, labels = in_order(runs["dataset"]), in_order(runs["label"])
    blocks = datasets + ([AVERAGE] if len(datasets) > 1 else [])
    for label in labels:
        values |= {(label, AVERAGE, name): averaged(values, label, name, datasets) for name in names}
    cells = []
    for block in blocks:
        for name in names:
            cells += [summary(runs, block, name, label, values.get((label, block, name), NO_SEEDS)) for label in labels]
        for metric in summaries_of(protocol, block, names):
            parts = [(block, name) for name in names]
            cells += summary_cells(runs, values, metric, (block, metric.title), block, parts)
    rows = list(dict.fromkeys(cell.row for cell in cells))
    pairs = {(blocks[-1], row): pairs_of(runs, values, [(name, row) for name in datasets]) for row in rows}
    return table_of(runs, ("data set", ""), [*cells, *cost_cells(runs)], pairs)


def by_shots(runs: pd.DataFrame) -> Table:
    """Data set x shots, then their average, then the costs at the largest number of shots."""
    part = protocol_of(runs).parts[0]
    values: Values = {}
    for (label, dataset, shots), group in groups(runs, "label", "dataset", "shots"):
        values[label, dataset, str(shots)] = by_seed(group, f"{ACCURACY}.{part.name}")
    datasets, labels = in_order(runs["dataset"]), in_order(runs["label"])
    shots_in_order = [str(shots) for shots in sorted(runs["shots"].unique())]
    blocks = datasets + ([AVERAGE] if len(datasets) > 1 else [])
    for label in labels:
        for row in shots_in_order:
            values[label, AVERAGE, row] = averaged(values, label, row, datasets)
    cells = [
        summary(
            runs[runs["shots"] == int(row)],
            block,
            row,
            label,
            values.get((label, block, row), NO_SEEDS),
            parts=[part.name],
        )
        for block in blocks
        for row in shots_in_order
        for label in labels
    ]
    most = runs["shots"].max()
    costs = cost_cells(
        runs[runs["shots"] == most], f" at {counted(int(most), 'shot')}" if len(shots_in_order) > 1 else ""
    )
    pairs = {
        (blocks[-1], row): pairs_of(runs[runs["shots"] == int(row)], values, [(name, row) for name in datasets])
        for row in shots_in_order
    }
    return table_of(runs, ("data set", "shots"), [*cells, *costs], pairs)


def by_targets(runs: pd.DataFrame) -> Table:
    """The training data set, every target, the metrics that sum them up, such as the average, and costs."""
    source = str(runs["dataset"].iloc[0])
    names = evaluations_in(runs)
    targets, labels = [name for name in names if name != source], in_order(runs["label"])
    values: Values = {}
    for label, group in groups(runs, "label"):
        for name in (source, *targets):
            block = SOURCE if name == source else TARGETS
            values[label, block, name] = by_seed(group, f"{ACCURACY}.{name}")
    of_targets = [(TARGETS, name) for name in targets]
    rows = [(SOURCE, source), *of_targets]
    cells = [summary(runs, *row, label, values[(label, *row)]) for row in rows for label in labels]
    for metric in summaries_of(protocol_of(runs), source, names):
        row = (TARGETS, AVERAGE if metric.name == TARGET_ACCURACY else metric.title)
        # The average over a single target is that target.
        if row[1] != AVERAGE or len(targets) > 1:
            cells += summary_cells(runs, values, metric, row, source, rows)
    last = (cells[-1].block, cells[-1].row)
    pairs = {
        last: pairs_of(runs, values, of_targets if last in (*of_targets, (TARGETS, AVERAGE)) else [last]),
        rows[0]: pairs_of(runs, values, [rows[0]]),
    }
    return table_of(runs, ("", "data set"), [*cells, *cost_cells(runs)], pairs)


def ablations(runs: pd.DataFrame, axes: Sequence[str]) -> list[Table]:
    """Ablations of some runs: one for every protocol, and number of shots or source data set.

    Args:
        runs: as `grid_runs` or `axis_runs` give them.
        axes: the settings that were varied.
    """
    parts = [
        (ablation(part, axes), words)
        for protocol, group in groups(runs, "protocol")
        for words, part in parts_of(find_protocol(str(protocol)).layout, group)
    ]
    # Several tables need several names.
    return [replace(table, name=file_name((table.name, *words))) if len(parts) > 1 else table for table, words in parts]


def ablation(runs: pd.DataFrame, axes: Sequence[str]) -> Table:
    """The values of some settings as rows, one block per method, with accuracies and costs as columns.

    Args:
        runs: as `grid_runs` or `axis_runs` give them: of one protocol.
        axes: the settings, such as skip.depth; with several, every combination of values has a row.
    """
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    costs: set[str] = set()
    for (method, value), group in groups(runs, "method", "axis"):
        row = rows.setdefault((str(method), str(value)), {})
        table = whole_table(group)
        wanted = summary_rows(table)
        for part in table.cells:
            if (part.block, part.row) in wanted:
                costs |= {part.row} if part.block == COSTS else set()
                row[part.row] = replace(part, block=str(method), row=str(value), column=part.row, rank=0, worse=False)
    # A method that does not train lacks the columns of training.
    columns = list(dict.fromkeys(column for row in sorted(rows.values(), key=len, reverse=True) for column in row))
    cells = [row.get(column, Cell(*names, column, None)) for names, row in rows.items() for column in columns]
    protocol, shots = str(runs["protocol"].iloc[0]), in_order(runs["shots"])
    header = ", ".join(axes)
    noun = "shot" if shots == ["1"] else "shots"
    return Table(
        name=file_name(("ablation", *axes, protocol)),
        title=f"{header}, {protocol}, {', '.join(in_order(runs['dataset']))}, {', '.join(shots)} {noun}",
        headers=("method", header),
        cells=ranked(cells, by_column=True, unranked=costs),
        runs=runs,
        tests={},
        by_column=True,
        costs=frozenset(costs),
        row_names=dict(zip(runs["axis"], runs["row"], strict=True)) if "row" in runs else {},
    )


def whole_table(runs: pd.DataFrame) -> Table:
    """The one table of runs of one protocol."""
    return MAKERS[protocol_of(runs).layout](runs)


MAKERS = {Layout.PARTS: by_parts, Layout.SHOTS: by_shots, Layout.TARGETS: by_targets}


def summary_rows(table: Table) -> set[tuple[str, str]]:
    """(block, row) of the rows that say the most: those of the average or of the only data set, and the costs."""
    last = [block for block, _ in table.rows if block != COSTS][-1]
    if last != TARGETS:
        return {row for row in table.rows if row[0] in (last, COSTS)}
    summed = {AVERAGE, *(metric.title for metric in summary_metrics())}
    return {row for row in table.rows if row[0] in (SOURCE, COSTS) or row[1] in summed}
