"""Our numbers compared with published ones, as far as both exist."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from harness.errors import UserError
from harness.experiment.protocols import PROTOCOLS, Layout, find_protocol
from harness.report.footnotes import PUBLISHED_MARK
from harness.report.marks import marked
from harness.report.method_table import evaluations_in
from harness.report.paper_tables import whole_table
from harness.report.runs import FIXED, groups, protocol_of
from harness.report.table import AVERAGE, COSTS, Cell, Table
from harness.results.folder import DONE

PUBLISHED = Path(__file__).parent / "published_numbers"
PUBLISHED_SHOTS = 16
# All published numbers were measured with this model and OpenAI's weights.
PUBLISHED_BACKBONE = "ViT-B-16"
NONE, OURS, ALL = "none", "ours", "all"


def read_published(protocol: str, folder: Path = PUBLISHED) -> pd.DataFrame:
    """Published accuracies of a protocol: columns dataset, method, metric, value (percent), source.

    Raises:
        UserError: there are none for this protocol.
    """
    name = find_protocol(protocol).published
    if name is None:
        known = ", ".join(other.name for other in PROTOCOLS.values() if other.published)
        raise UserError(f"there are no published numbers for protocol '{protocol}': only for {known}")
    rows = pd.read_csv(folder / f"{name}.csv")
    return rows[rows["dataset"] != "cost"].reset_index(drop=True)


def summarise(runs: pd.DataFrame, protocol: str, num_datasets: int) -> pd.DataFrame:
    """Our numbers in the form of the published ones.

    Args:
        runs: finished runs of one experiment, as `results_frame` gives them.
        protocol: of the runs.
        num_datasets: number of training data sets that an average must cover.

    Returns:
        Columns dataset, method, precision, metric, ours (mean over seeds), std (sample, NaN for one seed), seeds and
        mark (of a number that chose on too much).
    """
    rows = []
    for (method, precision), group in groups(runs, "method", "precision"):
        for cell in whole_table(group.assign(label=method, state=DONE, protocol=protocol)).cells:
            found = dataset_and_metric(cell, protocol, group, num_datasets)
            lacks_seeds = AVERAGE in (cell.block, cell.row) and cell.seeds < group["seed"].nunique()
            if cell.mean is not None and found and not lacks_seeds:
                number = {"ours": cell.mean, "std": cell.std, "seeds": cell.seeds, "mark": cell.mark}
                rows.append(
                    {"dataset": found[0], "method": method, "precision": precision, "metric": found[1], **number}
                )
    return pd.DataFrame(rows).astype({"std": float})


def dataset_and_metric(cell: Cell, protocol: str, runs: pd.DataFrame, num_datasets: int) -> tuple[str, str] | None:
    """What published tables call a cell of ours; None for costs and for averages over other data sets."""
    if cell.block == COSTS:
        return None
    about = find_protocol(protocol)
    if about.layout == Layout.PARTS:
        return (cell.block, cell.row) if cell.block != AVERAGE or runs["dataset"].nunique() == num_datasets else None
    if cell.row != AVERAGE:
        return cell.row, "accuracy"
    # The name of the average tells the number of data sets.
    average = about.published_average or ""
    return (average, "accuracy") if f"_{len(evaluations_in(runs)) - 1}_" in average else None


def compare(runs: pd.DataFrame, published: pd.DataFrame, protocol: str, num_datasets: int) -> pd.DataFrame:
    """Our numbers and published ones side by side.

    Returns:
        The columns of `summarise`, then published, difference (ours - published), within (whether the difference is
        within the sample standard deviation of our seeds; None for a single seed) and source; only rows that both have.

    Raises:
        UserError: no number of ours has a published counterpart.
    """
    runs = runs[runs["shots"] == PUBLISHED_SHOTS]
    if runs.empty:
        raise UserError(f"published numbers are for {PUBLISHED_SHOTS} shots, and no finished run is: use --shots 16")
    ours = summarise(runs, protocol, num_datasets)
    if set(published["dataset"]) - {AVERAGE} != set(runs["dataset"]):
        ours = ours[ours["dataset"] != AVERAGE]
    merged = ours.merge(published.rename(columns={"value": "published"}), on=["dataset", "method", "metric"])
    if merged.empty:
        raise UserError(
            f"no published number fits: ours are of {', '.join(ours['dataset'].unique())}, "
            f"published of {', '.join(published['dataset'].unique())}"
        )
    merged["difference"] = merged["ours"] - merged["published"]
    merged["within"] = (merged["difference"].abs() <= merged["std"]).where(merged["std"].notna(), None)
    return merged


def comparison_table(compared: pd.DataFrame) -> pd.DataFrame:
    """The comparison as text cells."""

    def cells(column: str, show: Callable[[float], str]) -> pd.Series:
        return compared[column].map(lambda value: "-" if pd.isna(value) else show(value))

    return pd.DataFrame(
        {
            "dataset": compared["dataset"],
            "method": compared["method"],
            "precision": compared["precision"],
            "metric": compared["metric"],
            "published": cells("published", "{:.2f}".format),
            "ours": list(map(marked, cells("ours", "{:.2f}".format), compared["mark"])),
            "± std": cells("std", "{:.2f}".format),
            "seeds": compared["seeds"].astype(str),
            "difference": cells("difference", "{:+.2f}".format),
            "within ± std": cells("within", lambda value: "yes" if value else "no"),
        }
    )


def with_published(table: Table, which: str = OURS) -> Table:
    """The table with columns of published numbers, if data sets, backbone and shots are the same.

    Args:
        table: of one protocol.
        which: published methods to show: `none`, `ours` (those that are in the table) or `all`.
    """
    runs = table.runs
    protocol = protocol_of(runs)
    comparable = protocol.published is not None and set(runs["shots"]) == {PUBLISHED_SHOTS}
    comparable = comparable and all(str(name).startswith(PUBLISHED_BACKBONE) for name in runs["backbone"])
    if which == NONE or not comparable or table.leaderboard != FIXED:
        return table
    published = read_published(protocol.name)
    if which == OURS:
        published = published[published["method"].isin(set(runs["method"]))]
    num_datasets = published["dataset"].nunique() - 1
    keys = zip(published["dataset"], published["metric"], published["method"], strict=True)
    numbers = dict(zip(keys, published["value"].astype(float), strict=True))
    columns = [f"{method}{PUBLISHED_MARK}" for method in published["method"].unique()]
    found, used = [], False
    for block, row in table.rows:
        found += [cell for cell in table.cells if (cell.block, cell.row) == (block, row)]
        key = dataset_and_metric(Cell(block, row, "", None), protocol.name, runs, num_datasets)
        for column in columns:
            value = numbers.get((*key, column.removesuffix(PUBLISHED_MARK))) if key else None
            used = used or value is not None
            found.append(Cell(block, row, column, value, published=True))
    sources = tuple(sorted(set(published["source"])))
    return replace(table, cells=tuple(found), sources=sources) if used else table
