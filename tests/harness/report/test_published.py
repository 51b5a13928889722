"""Ours beside published numbers: sums by hand, and the rules of what is compared."""

import statistics

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.experiment.protocols import PROTOCOLS
from harness.report.published import (
    compare,
    comparison_table,
    read_published,
    summarise,
)
from tests.made_up_published import BACKBONE, Pairs, base_to_new, numbers, row

# Base and new accuracy of seeds 1, 2.
SKIP = {"one": [(80.0, 60.0), (84.0, 60.0)], "two": [(40.0, 20.0), (44.0, 20.0)]}


# Ours.


def test_base_and_new_are_means_with_sample_deviation() -> None:
    found = summarise(base_to_new(SKIP), "base_to_new", 2)
    assert list(found["dataset"]) == ["one"] * 3 + ["two"] * 3 + ["average"] * 3
    assert list(found["metric"]) == ["base", "new", "H"] * 3
    base = row(found, "one", "base")
    # 80 and 84: the sample deviation is 4 / sqrt(2); that of the population would be 2.
    assert (base["ours"], base["std"], base["seeds"]) == (82.0, pytest.approx(2.8284271), 2)
    assert (row(found, "one", "new")["ours"], row(found, "one", "new")["std"]) == (60.0, 0.0)


def test_h_is_that_of_the_means_and_its_deviation_that_of_the_seeds() -> None:
    h = row(summarise(base_to_new({"one": [(90.0, 30.0), (50.0, 50.0)]}), "base_to_new", 1), "one", "H")
    # 2 x 70 x 40 / 110; the seeds' H are 45 and 50, whose mean is 47.5.
    assert h["ours"] == pytest.approx(50.9090909)
    assert h["std"] == pytest.approx(5 / 2**0.5)


def test_h_of_the_average_is_that_of_the_averages() -> None:
    found = summarise(base_to_new(SKIP), "base_to_new", 2)
    assert (row(found, "average", "base")["ours"], row(found, "average", "new")["ours"]) == (62.0, 40.0)
    # 2 x 62 x 40 / 102; the mean of the data sets' H, 69.30 and 27.10, would be 48.20.
    assert row(found, "average", "H")["ours"] == pytest.approx(48.6274510)
    # The seeds' averages are 60, 64 of base and 40 of new: H is 48 and 49.23.
    assert row(found, "average", "base")["std"] == pytest.approx(2.8284271)
    assert row(found, "average", "H")["std"] == pytest.approx((5120 / 104 - 48) / 2**0.5)


def test_an_average_needs_all_data_sets_and_seeds() -> None:
    assert "average" in set(summarise(base_to_new(SKIP), "base_to_new", 2)["dataset"])
    missing = base_to_new({**SKIP, "two": SKIP["two"][:1]})
    for runs, num_datasets in ((base_to_new(SKIP), 3), (missing, 2), (base_to_new({"one": SKIP["one"]}), 1)):
        found = summarise(runs, "base_to_new", num_datasets)
        assert set(found["dataset"]) == set(runs["dataset"])
    # Of the data set that lacks a seed, what is there.
    assert row(summarise(missing, "base_to_new", 2), "two", "base")["seeds"] == 1


def test_methods_and_precisions_are_apart() -> None:
    runs = pd.concat(
        [
            base_to_new(SKIP),
            base_to_new({"one": [(10.0, 10.0)]}, precision="half"),
            base_to_new({"one": [(30.0, 30.0)]}, method="coop"),
        ]
    )
    found = summarise(runs, "base_to_new", 2)
    seen = found[found["metric"] == "base"][["dataset", "method", "precision", "ours"]]
    assert seen.values.tolist() == [
        ["one", "skip", "fp32", 82.0],
        ["two", "skip", "fp32", 42.0],
        ["average", "skip", "fp32", 62.0],
        ["one", "skip", "half", 10.0],
        ["one", "coop", "fp32", 30.0],
    ]


@given(
    st.lists(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=2, max_size=2), min_size=2, max_size=5)
)
@settings(deadline=None, max_examples=50)
def test_the_average_is_taken_seed_by_seed(scores: list[Pairs]) -> None:
    found = summarise(base_to_new({f"set{n}": pairs for n, pairs in enumerate(scores)}), "base_to_new", len(scores))
    of_seeds = [statistics.mean(pairs[seed][0] for pairs in scores) for seed in (0, 1)]
    base, new, h = (row(found, "average", metric) for metric in ("base", "new", "H"))
    assert base["ours"] == pytest.approx(statistics.mean(of_seeds))
    assert base["std"] == pytest.approx(statistics.stdev(of_seeds), abs=1e-9)
    assert h["ours"] == pytest.approx(statistics.harmonic_mean([base["ours"], new["ours"]]))


def on_targets(protocol: str, seeds: list[list[float]], targets: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Runs on ImageNet: for each seed the accuracies on it and on the targets."""
    names = ("imagenet", *(targets or PROTOCOLS[protocol].targets["imagenet"]))
    rows = [
        {
            "dataset": "imagenet",
            "method": "skip",
            "precision": "fp32",
            "backbone": BACKBONE,
            "shots": 16,
            "tail": "",
            "label_noise": 0.0,
            "seed": seed,
            **{f"accuracy.{name}": value for name, value in zip(names, values, strict=True)},
        }
        for seed, values in enumerate(seeds, start=1)
    ]
    return pd.DataFrame(rows)


SEEDS_OF_TARGETS = {
    # The targets' means are 55, 57 and 5.5, 7.5: without ImageNet.
    "cross_dataset": [[70.0, *(10.0 * n for n in range(1, 11))], [72.0, *(10.0 * n + 2 for n in range(1, 11))]],
    "domain_generalization": [[70.0, 1.0, 4.0, 7.0, 10.0], [72.0, 3.0, 6.0, 9.0, 12.0]],
}


@pytest.mark.parametrize(
    ("protocol", "name", "average"),
    [
        ("cross_dataset", "average_10_targets", 56.0),
        ("domain_generalization", "average_4_imagenet_variants", 6.5),
    ],
)
def test_the_average_of_targets_has_the_published_name(protocol: str, name: str, average: float) -> None:
    found = summarise(on_targets(protocol, SEEDS_OF_TARGETS[protocol]), protocol, 1)
    targets = PROTOCOLS[protocol].targets["imagenet"]
    assert list(found["dataset"]) == ["imagenet", *targets, name]
    assert set(found["metric"]) == {"accuracy"}
    assert row(found, "imagenet", "accuracy")["ours"] == 71.0
    assert row(found, name, "accuracy")["ours"] == average
    assert list(found["std"]) == pytest.approx([2**0.5] * (len(targets) + 2))
    compared = compare(on_targets(protocol, SEEDS_OF_TARGETS[protocol]), read_published(protocol), protocol, 1).rows
    assert list(compared["dataset"]) == ["imagenet", name]


# Theirs beside ours.


def test_the_difference_is_ours_less_theirs_and_within_is_by_the_deviation_of_our_seeds() -> None:
    runs = base_to_new({"one": [(80.0, 60.0), (84.0, 60.0)]})
    # Our base is 82 with a deviation of 2.83, our new 60 with none.
    for base, new, within in ((84.8, 60.0, [True, True]), (84.9, 60.1, [False, False]), (79.2, 59.9, [True, False])):
        published = numbers({("one", "skip", "base"): base, ("one", "skip", "new"): new})
        found = compare(runs, published, "base_to_new", 1).rows
        assert list(found["published"]) == [base, new]
        assert list(found["difference"]) == pytest.approx([82 - base, 60 - new])
        assert [bool(value) for value in found["within"]] == within
        assert list(found["source"]) == ["a paper"] * 2


def test_a_single_seed_is_neither_within_nor_without() -> None:
    found = compare(
        base_to_new({"one": [(80.0, 60.0)]}), numbers({("one", "skip", "base"): 80.0}), "base_to_new", 1
    ).rows
    assert found["std"].isna().all()
    assert [value is None or value != value for value in found["within"]] == [True]
    cells = comparison_table(found).iloc[0]
    assert (cells["difference"], cells["± std"], cells["within ± std"], cells["seeds"]) == ("+0.00", "-", "-", "1")


def test_seeds_are_judged_row_by_row() -> None:
    runs = pd.concat([base_to_new(SKIP), base_to_new({"one": [(81.0, 60.0)]}, method="zeroshot")])
    published = numbers({("one", name, "base"): 81.0 for name in ("skip", "zeroshot", "coop")})
    table = comparison_table(compare(runs, published, "base_to_new", 2).rows)
    assert table[["method", "within ± std"]].values.tolist() == [["skip", "yes"], ["zeroshot", "-"]]


def test_the_table_is_text_with_two_digits() -> None:
    published = numbers({("one", "skip", "base"): 85.123, ("one", "skip", "H"): 60.0})
    table = comparison_table(compare(base_to_new(SKIP), published, "base_to_new", 2).rows)
    assert list(table.columns) == [
        "dataset",
        "method",
        "precision",
        "metric",
        "published",
        "ours",
        "± std",
        "seeds",
        "difference",
        "within ± std",
        "kind",
        "source",
    ]
    assert table.iloc[0].tolist()[:10] == ["one", "skip", "fp32", "base", "85.12", "82.00", "2.83", "2", "-3.12", "no"]
    assert table.iloc[1].tolist()[3:6] == ["H", "60.00", "69.30"]


def test_only_what_both_have_is_compared() -> None:
    published = numbers({("two", "skip", "new"): 1.0, ("two", "coop", "new"): 2.0, ("three", "skip", "new"): 3.0})
    found = compare(base_to_new(SKIP), published, "base_to_new", 2).rows
    assert found[["dataset", "method", "metric"]].values.tolist() == [["two", "skip", "new"]]


def test_no_counterpart_is_an_error_of_one_line() -> None:
    published = numbers({("three", "skip", "base"): 1.0, ("one", "coop", "base"): 1.0})
    with pytest.raises(UserError) as caught:
        compare(base_to_new(SKIP), published, "base_to_new", 2)
    assert str(caught.value) == "no published number fits: ours are of one, two, published of three, one"


def test_a_protocol_without_published_numbers_is_an_error() -> None:
    with pytest.raises(UserError) as caught:
        read_published("few_shot_validation")
    assert "protocol 'few_shot_validation'" in str(caught.value)
    assert str(caught.value).endswith("only for base_to_new, few_shot, cross_dataset, domain_generalization")


def test_an_average_is_compared_only_with_one_over_the_same_data_sets() -> None:
    runs = base_to_new({"dtd": SKIP["one"], "eurosat": SKIP["two"]})
    assert set(compare(runs, read_published("base_to_new"), "base_to_new", 2).rows["dataset"]) == {"dtd", "eurosat"}


def test_an_average_of_targets_is_compared_only_with_one_over_the_same_targets() -> None:
    runs = on_targets("cross_dataset", [[70.0, 50.0, 40.0]], ("dtd", "eurosat"))
    assert set(compare(runs, read_published("cross_dataset"), "cross_dataset", 1).rows["dataset"]) == {"imagenet"}


def test_runs_of_other_shots_are_not_mixed() -> None:
    runs = pd.concat([base_to_new({"one": [(80.0, 60.0)]}), base_to_new({"one": [(40.0, 20.0)]}, shots=1)])
    found = compare(runs, numbers({("one", "skip", "base"): 80.0}), "base_to_new", 1)
    assert list(found.rows["ours"]) == [80.0]
    assert found.left_out == [f"Not compared: skip with {BACKBONE} at 1 shots; published with ViT-B/16 at 16 shots."]
