"""Our numbers beside those of papers, as far as both exist."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from harness.errors import UserError
from harness.report.tables import h_of_seeds, harmonic_mean

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
PUBLISHED_SHOTS = 16
BASE_TO_NEW = "base_to_new"
AVERAGE = "average"
# Published averages over target data sets: protocol -> name of the row.
TARGET_AVERAGES = {
    "cross_dataset": "average_10_targets",
    "domain_generalization": "average_4_imagenet_variants",
}


def read_published(protocol: str, folder: Path = PUBLISHED) -> pd.DataFrame:
    """Published accuracies of a protocol: columns dataset, method, metric, value (percent), source.

    Raises:
        UserError: there are none for this protocol.
    """
    path = folder / f"{protocol}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.csv")))
        raise UserError(f"there are no published numbers for protocol '{protocol}' in '{folder}': only for {known}")
    rows = pd.read_csv(path)
    return rows[rows["dataset"] != "cost"].reset_index(drop=True)


def summarise(runs: pd.DataFrame, protocol: str, num_datasets: int) -> pd.DataFrame:
    """Our numbers in the form of the published ones.

    Args:
        runs: finished runs of one experiment, as `results_frame` gives them.
        protocol: theirs.
        num_datasets: how many training data sets an average must be over.

    Returns:
        Columns dataset, method, precision, metric, ours (mean over seeds), std (sample, NaN for one seed) and seeds.
    """
    rows = []
    for (method, precision), group in runs.groupby(["method", "precision"], sort=False):
        table = (
            summarise_base_to_new(group, num_datasets)
            if protocol == BASE_TO_NEW
            else summarise_targets(group, protocol)
        )
        rows.append(table.assign(method=str(method), precision=str(precision)))
    return pd.concat(rows, ignore_index=True)


def summarise_base_to_new(runs: pd.DataFrame, num_datasets: int) -> pd.DataFrame:
    """Base, new and H of every data set of one method, and of their average if no data set is missing."""
    base, new = (
        runs.pivot_table(index="seed", columns="dataset", values=f"accuracy.{name}") for name in ("base", "new")
    )
    found = [rows_of(dataset, base[dataset], new[dataset]) for dataset in runs["dataset"].unique()]
    if num_datasets > 1 and base.shape[1] == num_datasets and not base.isna().any(axis=None):
        found.append(rows_of(AVERAGE, base.mean(axis=1), new.mean(axis=1)))
    return pd.concat(found, ignore_index=True)


def rows_of(dataset: str, base: pd.Series, new: pd.Series) -> pd.DataFrame:
    """Three rows from the accuracies of each seed; H is that of the means, its deviation that of the seeds' H."""
    h = h_of_seeds(pd.DataFrame({"accuracy.base": base, "accuracy.new": new}))
    rows = [one_row(dataset, "base", base), one_row(dataset, "new", new), one_row(dataset, "H", h)]
    rows[2]["ours"] = harmonic_mean(base.mean(), new.mean())
    return pd.DataFrame(rows)


def summarise_targets(runs: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Accuracy on the training data set, on every target, and their average, of one method."""
    columns = [name for name in map(str, runs) if name.startswith("accuracy.") and runs[name].notna().all()]
    seeds = runs.set_index("seed")
    source = runs["dataset"].iloc[0]
    targets = [column for column in columns if column != f"accuracy.{source}"]
    rows = [one_row(column.removeprefix("accuracy."), "accuracy", seeds[column]) for column in columns]
    # The name says over how many data sets the average is.
    if protocol in TARGET_AVERAGES and f"_{len(targets)}_" in TARGET_AVERAGES[protocol]:
        rows.append(one_row(TARGET_AVERAGES[protocol], "accuracy", seeds[targets].mean(axis=1)))
    return pd.DataFrame(rows)


def one_row(dataset: str, metric: str, seeds: pd.Series) -> dict[str, object]:
    """A number with its spread over seeds."""
    values = seeds.dropna()
    return {
        "dataset": dataset,
        "metric": metric,
        "ours": values.mean(),
        "std": values.std(ddof=1),
        "seeds": len(values),
    }


def compare(runs: pd.DataFrame, published: pd.DataFrame, protocol: str, num_datasets: int) -> pd.DataFrame:
    """Ours and theirs side by side.

    Returns:
        The columns of `summarise`, then published, difference (ours - published), within (of the sample standard
        deviation of our seeds; None for a single seed) and source; only rows that both have.

    Raises:
        UserError: no number has a counterpart.
    """
    runs = runs[runs["shots"] == PUBLISHED_SHOTS]
    if runs.empty:
        raise UserError(f"published numbers are of {PUBLISHED_SHOTS} shots, and no finished run is: use --shots 16")
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
    """Text cells for people."""

    def cells(column: str, show: Callable[[float], str]) -> pd.Series:
        return compared[column].map(lambda value: "-" if pd.isna(value) else show(value))

    return pd.DataFrame(
        {
            "dataset": compared["dataset"],
            "method": compared["method"],
            "precision": compared["precision"],
            "metric": compared["metric"],
            "published": cells("published", "{:.2f}".format),
            "ours": cells("ours", "{:.2f}".format),
            "± std": cells("std", "{:.2f}".format),
            "seeds": compared["seeds"].astype(str),
            "difference": cells("difference", "{:+.2f}".format),
            "within ± std": cells("within", lambda value: "yes" if value else "no"),
        }
    )
