"""Published numbers of other shots, backbones and sources: never mixed with ours, and told apart."""

import pandas as pd
import pytest

from harness.errors import UserError
from harness.report.published import compare, comparison_notes, comparison_table
from tests.made_up_published import BACKBONE, base_to_new, frame, numbers, published_row

# Base and new accuracy of seeds 1, 2.
SKIP = {"one": [(80.0, 60.0), (84.0, 60.0)]}


def few_shot(accuracies: dict[int, float], backbone: str = BACKBONE, method: str = "gda") -> pd.DataFrame:
    """Runs on one data set: shots -> accuracy."""
    usual = {"dataset": "one", "method": method, "precision": "fp32", "backbone": backbone, "seed": 1}
    return pd.DataFrame(
        [
            {**usual, "tail": "", "label_noise": 0.0, "shots": shots, "accuracy.all": value}
            for shots, value in accuracies.items()
        ]
    )


def test_few_shot_accuracies_stand_beside_those_of_the_same_shots() -> None:
    published = frame(
        *(published_row("one", "gda", "accuracy", 50.0 + shots, shots=shots, protocol="few_shot") for shots in (1, 16)),
        published_row("one", "zeroshot", "accuracy", 40.0, shots=0, protocol="few_shot"),
    )
    runs = pd.concat([few_shot({1: 60.0, 4: 61.0, 16: 62.0}), few_shot({1: 41.0, 4: 41.0}, method="zeroshot")])
    found = compare(runs, published, "few_shot", 1)
    seen = found.rows[["method", "shots", "published", "ours"]].values.tolist()
    # What needs no training image stands beside ours at any number of shots.
    assert seen == [
        ["gda", 1, 51.0, 60.0],
        ["gda", 16, 66.0, 62.0],
        ["zeroshot", 1, 40.0, 41.0],
        ["zeroshot", 4, 40.0, 41.0],
    ]
    assert found.left_out == [f"Not compared: gda with {BACKBONE} at 4 shots; published with ViT-B/16 at 1, 16 shots."]
    assert list(comparison_table(found.rows)["shots"]) == ["1", "16", "1", "4"]


def test_backbones_are_not_mixed() -> None:
    published = frame(
        published_row("one", "gda", "accuracy", 50.0, backbone="RN50", protocol="few_shot"),
        published_row("one", "gda", "accuracy", 70.0, protocol="few_shot"),
    )
    for backbone, value in ((BACKBONE, 70.0), (f"{BACKBONE}:/x/weights.pt", 70.0), ("RN50-quickgelu:openai", 50.0)):
        found = compare(few_shot({16: 60.0}, backbone), published, "few_shot", 1)
        assert (list(found.rows["published"]), found.left_out) == ([value], [])
    for backbone in ("ViT-B-32-quickgelu", "ViT-B-16-SigLIP", f"{BACKBONE}:dfn2b", f"{BACKBONE}:random"):
        with pytest.raises(UserError) as caught:
            compare(few_shot({16: 60.0}, backbone), published, "few_shot", 1)
        assert str(caught.value) == (
            f"no published number fits. Not compared: gda with {backbone} at 16 shots; "
            "published with RN50 at 16 shots; ViT-B/16 at 16 shots."
        )


def test_several_values_of_one_method_have_a_row_and_a_source_each() -> None:
    published = frame(
        published_row("one", "skip", "base", 81.0),
        published_row("one", "skip", "base", 82.5, variant="re-run by others", kind="rerun", source="another paper"),
        published_row("one", "skip", "base", 82.0, kind="digitised", error=0.1, source="a figure", note="3 seeds"),
        published_row("one", "skip", "new", 59.0, doubt="its rows give 58"),
    )
    rows = compare(base_to_new({"one": SKIP["one"]}), published, "base_to_new", 1).rows
    table = comparison_table(rows)
    assert table[["published", "kind", "source"]].values.tolist() == [
        ["81.00", "printed", "[1]"],
        ["82.50", "re-run", "[2]"],
        ["82.00 ±0.10", "digitised", "[3]"],
        ["59.00?", "printed", "[1]"],
    ]
    assert comparison_notes(rows) == [
        "[1] a paper",
        "[2] another paper (re-run by others)",
        "[3] a figure (3 seeds)",
        "? one skip new 59.00: its rows give 58",
    ]


def test_a_method_that_nobody_published_is_named() -> None:
    published = numbers({("one", "skip", "base"): 80.0})
    with pytest.raises(UserError, match=r"; none of mine$"):
        compare(base_to_new({"one": [(80.0, 60.0)]}, method="mine"), published, "base_to_new", 1)


@pytest.mark.parametrize("value", [80.0 + 0.0049, 80.0 - 1e-9])
def test_a_difference_that_rounds_to_zero_has_no_negative_sign(value: float) -> None:
    found = compare(base_to_new({"one": [(80.0, 60.0)]}), numbers({("one", "skip", "base"): value}), "base_to_new", 1)
    assert list(comparison_table(found.rows)["difference"]) == ["+0.00"]
