"""Published costs beside ours: what is set side by side, and that what differs is named."""

from typing import Any

import pandas as pd
import pytest

from harness.errors import UserError
from harness.report.published_costs import compare_costs
from harness.report.published_rows import PublishedCost, frame_of

RUN = {"method": "coop", "shots": 16, "backbone": "ViT-B-16-quickgelu", "precision": "half", "device": "our card"}


def cost(value: float, **fields: Any) -> PublishedCost:
    usual = {"backbone": "ViT-B/16", "dataset": "dtd", "method": "coop", "metric": "train_time", "unit": "s"}
    return PublishedCost.model_validate(
        {**usual, "kind": "printed", "source": "a paper", "value": value, **fields},
    )


def frame(*rows: PublishedCost) -> pd.DataFrame:
    return frame_of(rows, PublishedCost)


def runs(**seconds: float) -> pd.DataFrame:
    """One run on each data set: its seconds of training."""
    rows = [{**RUN, "dataset": name, "seed": 1, "steps_seconds": value} for name, value in seconds.items()]
    return pd.DataFrame(rows).assign(**{"train.seconds": 1.0})


def test_both_sides_name_hardware_and_precision() -> None:
    table = compare_costs(
        runs(dtd=12.0),
        frame(cost(300, precision="fp32", hardware="their card", batch="32", classes=24), cost(2, source="another")),
        "base_to_new",
        set(),
    )
    assert list(table["published"]) == ["300 s", "2 s"]
    assert list(table["published on"]) == [
        "their card, fp32, batch 32, 24 classes",
        "hardware not stated, precision not stated",
    ]
    assert set(table["ours on"]) == {"our card, half"}
    assert set(table["ours"]) == {"12.0 (train s)"}
    assert list(table["source"]) == ["[1]", "[2]"]


@pytest.mark.parametrize(
    "other",
    [{"shots": 4}, {"backbone": "RN50"}, {"protocol": "few_shot"}, {"dataset": "eurosat"}, {"method": "maple"}],
)
def test_costs_of_other_settings_are_not_mixed(other: dict[str, Any]) -> None:
    table = compare_costs(runs(dtd=12.0), frame(cost(300, **other), cost(5, shots=16)), "base_to_new", set())
    assert list(table["published"]) == ["5 s"]
    with pytest.raises(UserError, match="no published cost fits: ours are of dtd with ViT-B-16-quickgelu, "):
        compare_costs(runs(dtd=12.0), frame(cost(300, **other)), "base_to_new", set())


def test_an_average_needs_the_same_data_sets() -> None:
    published = frame(cost(300, dataset="average"), cost(7))
    both = compare_costs(runs(dtd=10.0, eurosat=20.0), published, "base_to_new", {"dtd", "eurosat"})
    assert both[["dataset", "ours"]].values.tolist() == [["dtd", "10.0 (train s)"], ["average", "15.0 (train s)"]]
    assert list(compare_costs(runs(dtd=10.0), published, "base_to_new", {"dtd", "eurosat"})["dataset"]) == ["dtd"]
