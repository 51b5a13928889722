"""Our accuracies compared with published ones, as far as both exist for the same backbone and shots."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from harness.errors import UserError
from harness.experiment.protocols import PROTOCOLS, Layout, find_protocol
from harness.report.footnotes import PUBLISHED_MARK
from harness.report.marks import marked
from harness.report.method_table import evaluations_in
from harness.report.paper_tables import whole_table
from harness.report.published_rows import PUBLISHED, Kind, PublishedAccuracy, is_backbone, kind_text, read_rows
from harness.report.runs import FIXED, groups, in_order, protocol_of
from harness.report.statistics import signed, units_of
from harness.report.table import AVERAGE, COSTS, Cell, Table
from harness.results.folder import DONE
from harness.results.metrics import ACCURACY

# Tables show published columns beside runs of this number of shots.
TABLE_SHOTS = 16
NONE, OURS, ALL = "none", "ours", "all"
DOUBT_MARK = "?"
NUMBER = ["dataset", "method", "metric"]


def read_published(protocol: str, folder: Path = PUBLISHED) -> pd.DataFrame:
    """Published accuracies of a protocol, in percent: the columns of `PublishedAccuracy`.

    Raises:
        UserError: there are none for this protocol, or a row of the file is wrong.
    """
    name = find_protocol(protocol).published
    if name is None:
        known = ", ".join(other.name for other in PROTOCOLS.values() if other.published)
        raise UserError(f"there are no published numbers for protocol '{protocol}': only for {known}")
    file = folder / f"{name}.csv"
    rows = read_rows(file, PublishedAccuracy)
    if others := sorted(set(rows["protocol"]) - {protocol}):
        raise UserError(f"'{file}' has rows of protocol '{others[0]}': it is the file of '{protocol}'")
    about = find_protocol(protocol)
    parts = about.layout == Layout.PARTS
    metrics = {*(part.name for part in about.parts), about.headline} if parts else {ACCURACY}
    if unknown := sorted(set(rows["metric"]) - metrics):
        raise UserError(f"'{file}' has the metric '{unknown[0]}': use {', '.join(sorted(metrics))}")
    return rows


def summarise(runs: pd.DataFrame, protocol: str, num_datasets: int) -> pd.DataFrame:
    """Our numbers in the form of the published ones.

    Args:
        runs: finished runs of one experiment, as `results_frame` gives them.
        protocol: of the runs.
        num_datasets: number of training data sets that an average must cover.

    Returns:
        Columns dataset, method, precision, backbone, shots, metric, ours (mean over seeds), std (sample, NaN for one
        seed), seeds and mark (of a number that chose on too much).
    """
    rows = []
    keys = ("method", "precision", "backbone", "shots")
    for values, group in groups(runs[is_published_setting(runs)], *keys):
        for cell in whole_table(group.assign(label=group["method"], state=DONE, protocol=protocol)).cells:
            found = dataset_and_metric(cell, protocol, group, num_datasets)
            lacks_seeds = AVERAGE in (cell.block, cell.row) and cell.seeds < units_of(group).nunique()
            if cell.mean is not None and found and not lacks_seeds:
                number = {"ours": cell.mean, "std": cell.std, "seeds": cell.seeds, "mark": cell.mark}
                run = dict(zip(keys, values, strict=True))
                rows.append({"dataset": found[0], **run, "metric": found[1], **number})
    return pd.DataFrame(rows).astype({"std": float})


def is_published_setting(runs: pd.DataFrame) -> pd.Series:
    """Which runs have k clean shots of every class, as published numbers do."""
    return runs["tail"].eq("") & runs["label_noise"].eq(0)


def dataset_and_metric(cell: Cell, protocol: str, runs: pd.DataFrame, num_datasets: int) -> tuple[str, str] | None:
    """What published tables call a cell of ours; None for costs and for averages over other data sets."""
    if cell.block == COSTS:
        return None
    about = find_protocol(protocol)
    if about.layout != Layout.TARGETS:
        metric = cell.row if about.layout == Layout.PARTS else ACCURACY
        return (cell.block, metric) if cell.block != AVERAGE or runs["dataset"].nunique() == num_datasets else None
    if cell.row != AVERAGE:
        return cell.row, ACCURACY
    # The name of the average tells the number of data sets.
    average = about.published_average or ""
    return (average, ACCURACY) if f"_{len(evaluations_in(runs)) - 1}_" in average else None


def datasets_in(published: pd.DataFrame) -> set[str]:
    """The data sets of published numbers, averages left out."""
    return {str(name) for name in published["dataset"] if not str(name).startswith(AVERAGE)}


@dataclass(frozen=True)
class Comparison:
    """Our numbers and published ones side by side.

    Attributes:
        rows: the columns of `summarise`, then variant, published, error, kind, doubt, source and note of the published
            number, difference (ours - published) and within (whether the difference is within the sample standard
            deviation of our seeds; None for a single seed). Only numbers that both have, for the same backbone and
            shots.
        left_out: methods of ours that were published for other backbones or shots only, one sentence each.
    """

    rows: pd.DataFrame
    left_out: list[str]


def compare(runs: pd.DataFrame, published: pd.DataFrame, protocol: str, num_datasets: int) -> Comparison:
    """Our numbers beside all published ones of the same protocol, backbone and shots.

    A published number without training images (0 shots) stands beside ours at any number of shots.

    Raises:
        UserError: no number of ours has a published counterpart.
    """
    ours = summarise(runs, protocol, num_datasets)
    if datasets_in(published) != set(runs["dataset"]):
        ours = ours[ours["dataset"] != AVERAGE]
    theirs = published.rename(columns={"value": "published", "shots": "their_shots", "backbone": "their_backbone"})
    merged = ours.merge(theirs.drop(columns="protocol"), on=NUMBER)
    if merged.empty:
        raise UserError(
            f"no published number fits: ours are of {', '.join(in_order(ours['dataset']))}, "
            f"published of {', '.join(in_order(published['dataset']))}"
            + (
                ""
                if set(ours["method"]) & set(published["method"])
                else f"; none of {', '.join(in_order(ours['method']))}"
            )
        )
    same_backbone = [is_backbone(*pair) for pair in zip(merged["backbone"], merged["their_backbone"], strict=True)]
    same_shots = merged["their_shots"].eq(0) | merged["their_shots"].eq(merged["shots"])
    fits = same_shots.astype(bool) & pd.Series(same_backbone, index=merged.index, dtype=bool)
    left_out = other_settings(merged, fits)
    if not fits.any():
        raise UserError(f"no published number fits. {' '.join(left_out)}")
    rows = merged[fits].drop(columns=["their_shots", "their_backbone"]).reset_index(drop=True)
    rows["difference"] = rows["ours"] - rows["published"]
    rows["within"] = (rows["difference"].abs() <= rows["std"]).where(rows["std"].notna(), None)
    return Comparison(rows, left_out)


def other_settings(merged: pd.DataFrame, fits: pd.Series) -> list[str]:
    """Which methods were published for other backbones or shots only, and for which."""
    sentences = []
    for (method, backbone), group in groups(merged, "method", "backbone"):
        lacking = [shots for shots, part in groups(group, "shots") if not fits[part.index].any()]
        if lacking:
            known = [
                f"{name} at {', '.join(str(shots) for shots in sorted(set(part['their_shots'])))} shots"
                for name, part in groups(group, "their_backbone")
            ]
            sentences.append(
                f"Not compared: {method} with {backbone} at {', '.join(map(str, lacking))} shots; "
                f"published with {'; '.join(known)}."
            )
    return sentences


def comparison_table(compared: pd.DataFrame) -> pd.DataFrame:
    """The rows of a comparison as text cells; `source` is a number of `comparison_notes`."""

    def cells(column: str, show: Callable[[float], str]) -> pd.Series:
        return compared[column].map(lambda value: "-" if pd.isna(value) else show(value))

    table = {name: compared[name].astype(str) for name in ("dataset", "method")}
    for name in ("backbone", "shots"):
        if compared[name].nunique() > 1:
            table[name] = compared[name].astype(str)
    numbers = source_numbers(compared)
    return pd.DataFrame(
        {
            **table,
            "precision": compared["precision"],
            "metric": compared["metric"],
            "published": [published_text(row) for _, row in compared.iterrows()],
            "ours": list(map(marked, cells("ours", "{:.2f}".format), compared["mark"])),
            "± std": cells("std", "{:.2f}".format),
            "seeds": compared["seeds"].astype(str),
            "difference": cells("difference", lambda value: signed(value, 2)),
            "within ± std": cells("within", lambda value: "yes" if value else "no"),
            "kind": compared["kind"].map(kind_text),
            "source": [f"[{numbers[key]}]" for key in sources_of(compared)],
        }
    )


def published_text(row: pd.Series) -> str:
    """A published number with the error of a digitised one and the mark of a doubtful one."""
    error = "" if pd.isna(row["error"]) else f" ±{row['error']:.2f}"
    return f"{row['published']:.2f}{DOUBT_MARK if row['doubt'] else ''}{error}"


def sources_of(compared: pd.DataFrame) -> list[tuple[str, str]]:
    """Source and remarks of every row."""
    return [
        (source, "; ".join(text for text in (variant, note) if text))
        for source, variant, note in zip(compared["source"], compared["variant"], compared["note"], strict=True)
    ]


def source_numbers(compared: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Source and remarks -> number, in the order of the rows."""
    return {key: number for number, key in enumerate(dict.fromkeys(sources_of(compared)), start=1)}


def comparison_notes(compared: pd.DataFrame) -> list[str]:
    """The sources behind a comparison, and why some of their numbers are doubtful; one line each."""
    sources = [
        f"[{number}] {source}" + (f" ({remark})" if remark else "")
        for (source, remark), number in source_numbers(compared).items()
    ]
    doubtful = compared[compared["doubt"] != ""]
    doubts = [
        f"{DOUBT_MARK} {row['dataset']} {row['method']} {row['metric']} {row['published']:.2f}: {row['doubt']}"
        for _, row in doubtful.drop_duplicates([*NUMBER, "source", "variant"]).iterrows()
    ]
    return [*sources, *doubts]


def with_published(table: Table, which: str = OURS) -> Table:
    """The table with columns of published numbers, if data sets, backbone and shots are the same.

    Of each method one series of numbers is shown, as `one_series` chooses; `compare` shows all. Tables over several
    numbers of shots have no such columns.

    Args:
        table: of one protocol.
        which: published methods to show: `none`, `ours` (those that are in the table) or `all`.
    """
    runs = table.runs
    protocol = protocol_of(runs)
    comparable = (
        protocol.published is not None and set(runs["shots"]) == {TABLE_SHOTS} and is_published_setting(runs).all()
    )
    if which == NONE or not comparable or protocol.layout == Layout.SHOTS or table.leaderboard != FIXED:
        return table
    published = read_published(protocol.name)
    num_datasets = len(datasets_in(published))
    backbones = [
        name for name in set(published["backbone"]) if all(is_backbone(str(b), name) for b in runs["backbone"])
    ]
    published = published[published["backbone"].isin(backbones) & published["shots"].isin([0, TABLE_SHOTS])]
    if which == OURS:
        published = published[published["method"].isin(set(runs["method"]))]
    published = one_series(published)
    titles = [
        f"{method} ({variant}){PUBLISHED_MARK}" if variant else f"{method}{PUBLISHED_MARK}"
        for method, variant in zip(published["method"], published["variant"], strict=True)
    ]
    keys = zip(published["dataset"], published["metric"], titles, strict=True)
    numbers = dict(zip(keys, published["value"].astype(float), strict=True))
    columns = in_order(titles)
    found, used = [], False
    for block, row in table.rows:
        found += [cell for cell in table.cells if (cell.block, cell.row) == (block, row)]
        key = dataset_and_metric(Cell(block, row, "", None), protocol.name, runs, num_datasets)
        for column in columns:
            value = numbers.get((*key, column)) if key else None
            used = used or value is not None
            found.append(Cell(block, row, column, value, published=True))
    sources = tuple(sorted(set(published["source"])))
    return replace(table, cells=tuple(found), sources=sources) if used else table


def one_series(published: pd.DataFrame) -> pd.DataFrame:
    """Of each method the series with the most numbers among those printed in one source; no other kind is shown."""
    found = []
    for _, own in groups(published[published["kind"] == Kind.PRINTED], "method"):
        series = [part for _, part in groups(own, "source", "variant")]
        found.append(max(series, key=len))
    return pd.concat(found) if found else published.iloc[:0]
