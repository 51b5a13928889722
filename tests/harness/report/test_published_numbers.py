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
from harness.report.published import datasets_in, read_published
from harness.report.published_costs import read_costs
from harness.report.published_rows import PUBLISHED

PAPER = EXPERIMENTS / "paper" / "base_to_new.yaml"
PUBLISHED_PROTOCOLS = [protocol.name for protocol in PROTOCOLS.values() if protocol.published]
# Name of the average over the target data sets, which says over how many.
TARGET_AVERAGES = {"cross_dataset": "average_10_targets", "domain_generalization": "average_4_imagenet_variants"}

# What the README names: the cell, its printed value, and the value that its neighbours fit.
NAMED = {
    ("caltech101", "coop", "new"): (89.31, 89.81),
    ("dtd", "promptsrc", "H"): (71.15, 71.75),
    ("sun397", "cocoop", "H"): (78.57, 78.27),
}


def seed_paper(protocol: str) -> pd.DataFrame:
    """The numbers of the tables that the project began with."""
    rows = read_published(protocol)
    return rows[rows["source"].str.contains("2412.11509|2203.05557")]


@pytest.mark.parametrize("protocol", ["base_to_new", "cross_dataset", "domain_generalization"])
def test_every_method_of_the_first_tables_has_every_number(protocol: str) -> None:
    rows = seed_paper(protocol)
    assert rows["value"].between(5, 100).all()
    assert (rows.groupby("method").size() == len(rows) / rows["method"].nunique()).all()
    assert {"skip", "coop", "cocoop", "maple"} <= set(rows["method"]) & set(method_names())


def test_published_data_sets_are_those_of_the_experiments() -> None:
    eleven = set(load_experiment(PAPER).datasets)
    for protocol, averages in (("base_to_new", {"average"}), ("few_shot", {"average", "average_8"})):
        rows = read_published(protocol)
        assert datasets_in(rows) == eleven
        assert set(rows["dataset"]) - eleven == averages
    for protocol, average in TARGET_AVERAGES.items():
        rows = read_published(protocol)
        assert set(rows["dataset"]) == {"imagenet", average}
        # As many as the name says.
        assert int(average.split("_")[1]) == len(PROTOCOLS[protocol].targets["imagenet"])
        assert set(PROTOCOLS[protocol].targets["imagenet"]) < set(DATASETS)
    costs = read_costs()
    assert {name for name in costs["dataset"] if name and not name.startswith("average")} <= eleven


def all_numbers() -> pd.DataFrame:
    return pd.concat([*map(read_published, PUBLISHED_PROTOCOLS), read_costs()])


def test_methods_have_our_names_where_we_have_them() -> None:
    """A paper's name of a method of ours would never be found: every name is ours or is written as papers do."""
    names = set(all_numbers()["method"])
    assert {"kgcoop", "prograd", "promptsrc", "tcp", "dept", "coprompt", "clip_lora", "ivlp", "mma", "mmrl"} <= names
    known = {name.replace("_", "") for name in method_names()}
    written_by_papers = {name for name in names if name not in method_names()}
    assert not {name for name in written_by_papers if re.sub("[^a-z0-9+]", "", name.lower()) in known}
    assert all(re.search("[A-Z]", name) for name in written_by_papers)


def test_what_was_measured_from_a_figure_is_marked() -> None:
    rows = pd.concat(map(read_published, PUBLISHED_PROTOCOLS))
    digitised = rows["kind"] == "digitised"
    assert digitised.sum() == 582
    assert (rows["error"].notna() == digitised).all()
    assert not digitised[~rows["source"].str.contains("figure")].any()


def test_a_method_without_training_images_has_no_number_with_them() -> None:
    """Such numbers stand beside ours at any number of shots, which would be wrong for a method that trains."""
    rows = pd.concat(map(read_published, PUBLISHED_PROTOCOLS))
    assert not set(rows.loc[rows["shots"] == 0, "method"]) & set(rows.loc[rows["shots"] > 0, "method"])


def test_sources_and_notes_name_what_a_reader_can_find() -> None:
    rows = all_numbers()
    assert not rows["source"].str.contains("http|;$").any()
    assert (rows["source"].str.len() > 3).all()


@pytest.fixture(scope="module")
def printed() -> pd.DataFrame:
    """Base, new and H of the first tables, a row for each data set and method."""
    return seed_paper("base_to_new").pivot(index=["dataset", "method"], columns="metric", values="value")


def test_triples_that_do_not_fit_are_marked_as_doubtful() -> None:
    rows = read_published("base_to_new")
    # H of an average may be a mean of H; what is second hand is marked by its kind.
    rows = rows[(rows["dataset"] != "average") & (rows["kind"] != "second_hand")]
    keys = ["dataset", "method", "variant", "source", "shots"]
    wide = rows.pivot(index=keys, columns="metric", values="value")
    strange = (2 * wide["base"] * wide["new"] / (wide["base"] + wide["new"]) - wide["H"]).abs() > 0.06
    doubtful = {tuple(key) for key in rows.loc[rows["doubt"] != "", keys].itertuples(index=False)}
    assert set(wide.index[strange]) - doubtful == set()


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
