"""The published numbers themselves: each there once, and consistent but for cells that are named."""

import re
import statistics

import pandas as pd
import pytest

from harness.data.catalog import DATASETS
from harness.experiment.grid import load_experiment
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_names
from harness.report.published import PUBLISHED, read_published

PAPER = EXPERIMENTS / "paper" / "base_to_new.yaml"
COLUMNS = ["dataset", "method", "metric", "value", "source"]
PUBLISHED_PROTOCOLS = [protocol.name for protocol in PROTOCOLS.values() if protocol.published]
# Name of the average over the target data sets, which says over how many.
TARGET_AVERAGES = {"cross_dataset": "average_10_targets", "domain_generalization": "average_4_imagenet_variants"}

# What the README names: the cell, its printed value, and the value that its neighbours fit.
NAMED = {
    ("caltech101", "coop", "new"): (89.31, 89.81),
    ("dtd", "promptsrc", "H"): (71.15, 71.75),
    ("sun397", "cocoop", "H"): (78.57, 78.27),
}


@pytest.mark.parametrize("protocol", PUBLISHED_PROTOCOLS)
def test_a_published_file_holds_each_number_once(protocol: str) -> None:
    rows = pd.read_csv(PUBLISHED / f"{protocol}.csv")
    assert list(rows.columns) == COLUMNS
    assert not rows.isna().any(axis=None)
    assert not rows.duplicated(["dataset", "method", "metric"]).any()
    assert all(re.search(r"arXiv:\d{4}\.\d{5}", source) for source in rows["source"])
    accuracies = rows[rows["dataset"] != "cost"]
    assert accuracies["value"].between(5, 100).all()
    # Every method has every number.
    assert (accuracies.groupby("method").size() == len(accuracies) / accuracies["method"].nunique()).all()
    assert {"skip", "coop", "cocoop", "maple"} <= set(accuracies["method"]) & set(method_names())


def test_published_data_sets_are_those_of_the_experiments() -> None:
    rows = read_published("base_to_new")
    assert set(rows["dataset"]) == {*load_experiment(PAPER).datasets, "average"}
    assert set(rows["metric"]) == {"base", "new", "H"}
    for protocol, average in TARGET_AVERAGES.items():
        rows = read_published(protocol)
        assert set(rows["dataset"]) == {"imagenet", average}
        assert set(rows["metric"]) == {"accuracy"}
        # As many as the name says.
        assert int(average.split("_")[1]) == len(PROTOCOLS[protocol].targets["imagenet"])
        assert set(PROTOCOLS[protocol].targets["imagenet"]) < set(DATASETS)


@pytest.fixture(scope="module")
def printed() -> pd.DataFrame:
    """Published base, new and H, a row for each data set and method."""
    return read_published("base_to_new").pivot(index=["dataset", "method"], columns="metric", values="value")


def test_published_h_is_that_of_base_and_new_but_for_the_named_cells(printed: pd.DataFrame) -> None:
    h = 2 * printed["base"] * printed["new"] / (printed["base"] + printed["new"])
    strange = printed.index[(h - printed["H"]).abs() > 0.02]
    assert set(strange) == {(dataset, method) for dataset, method, _ in NAMED}
    readme = " ".join((PUBLISHED / "README.md").read_text().split())
    for (dataset, method, metric), (value, fitting) in NAMED.items():
        cells = printed.loc[(dataset, method)].to_dict()
        assert cells[metric] == value
        assert f"{dataset}, {method}, {metric} is {value}" in readme
        assert str(fitting) in readme
        cells[metric] = fitting
        assert statistics.harmonic_mean([cells["base"], cells["new"]]) == pytest.approx(cells["H"], abs=0.02)


def test_published_averages_are_means_over_the_eleven_data_sets(printed: pd.DataFrame) -> None:
    own = printed.drop("average")
    for (dataset, method, metric), (_, fitting) in NAMED.items():
        own.loc[(dataset, method), metric] = fitting
    assert len(own) == 11 * len(printed.loc["average"])
    distance = (own.groupby("method").mean() - printed.loc["average"]).abs()
    assert (distance[["base", "new"]] < 0.02).all(axis=None)
    # The average's H is of the averages, and no mean of H.
    assert (distance["H"] > 0.1).all()
    # Only one of the named cells is base or new; with its printed value the average does not fit.
    as_printed = printed.drop("average").groupby("method")["new"].mean() - printed.loc["average", "new"]
    assert list(as_printed.index[as_printed.abs() > 0.02]) == ["coop"]
