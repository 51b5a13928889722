"""Fewer validation images a class than were asked for: the true number is told, and all of them are marked as all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.report.marks import choices_of, mark_of
from harness.results.record import parse_result
from tests.made_up_results import result_json


@pytest.mark.parametrize(
    ("facts", "mark", "images"),
    [
        ({"most": 1}, "", "1 validation image a class"),
        ({"most": 1, "whole": True}, "", "1 validation image a class"),
        ({"shots": 100, "most": 30}, "¶", "30 validation images a class"),
        ({"shots": 100, "most": 30, "whole": True}, "¶", "all validation images"),
        ({"shots": 100, "most": 2}, "", "2 validation images a class"),
        ({"shots": 100}, "¶", "100 validation images a class"),
    ],
)
def test_the_true_number_is_told(
    facts: dict[str, Any], mark: str, images: str, plan_runs: Callable[..., list[RunSpec]]
) -> None:
    (spec,) = plan_runs("few_shot", methods=["skip"], seeds=[1], shots=[2])
    selection = {"chosen": {"alpha": 1.5}, "accuracy": 70.0, "candidates": 9, "images": 180, **facts}
    content = result_json(spec, {"all": 50.0}, {}, selection=selection)
    result = parse_result(json.dumps(content), Path("made up"))
    assert [choice.images for choice in choices_of(result)] == [images]
    assert mark_of(result, "official") == mark
