"""Estimates in several processes are those of one, in the order of the questions, with refusals as answers."""

import pytest

from harness.estimate import side_by_side
from harness.estimate.side_by_side import FEWEST, Question, answers
from harness.experiment.grid import all_runs, load_experiment
from harness.experiment.recipes import EXPERIMENTS


def questions() -> list[Question]:
    changes = {"methods": ["zeroshot", "clip_adapter", "linear_probe"], "seeds": [1], "recipe": "official"}
    specs = list(all_runs(load_experiment(EXPERIMENTS / "bench.yaml", changes)))
    asked = [Question(spec, 3, "cpu", 2**25 if spec.method == "clip_adapter" else None) for spec in specs]
    wrong = specs[0].model_copy(update={"backbone": "convnext_base"})
    return [*asked[:1], Question(wrong, 3, "cpu", None), *asked[1:]]


def test_estimates_of_several_processes_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = questions()
    assert len(asked) >= FEWEST
    expected = [side_by_side.answer(question) for question in asked]
    assert [bool(answer.refusal) for answer in expected] == [False, True, False, False]
    assert len({answer.estimate.peak_bytes for answer in expected if answer.estimate}) == 3
    # Whoever answers here does so in this process.
    monkeypatch.setattr(side_by_side, "answer", lambda question: None)
    assert list(answers(asked, processes=1)) == [None] * len(asked)
    monkeypatch.undo()
    assert list(answers(asked, processes=2)) == expected
