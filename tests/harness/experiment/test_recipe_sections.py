"""Which sections of a recipe apply under a protocol."""

from pathlib import Path

import pytest

from harness.experiment import recipes
from harness.experiment.recipes import recipe_settings

RECIPE = """
official:
  all: {train: {epochs: 1, lr: 1.0e-3}}
  few_shot: {train: {epochs: 2, momentum: 0.5}}
  few_shot_validation: {train: {momentum: 0.7}}
  few_shot/4shot: {train: {epochs: 4}}
  few_shot/emoji: {train: {lr: 2.0e-3}}
"""


@pytest.fixture(autouse=True)
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method `mine` with sections for few-shot and for one of the protocols that validate it."""
    (tmp_path / "mine.yaml").write_text(RECIPE)
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)


@pytest.mark.parametrize(
    ("protocol", "shots", "dataset", "expected"),
    [
        ("few_shot", 4, "emoji", {"epochs": 4, "lr": 2.0e-3, "momentum": 0.5}),
        ("few_shot_validation", 4, "emoji", {"epochs": 4, "lr": 2.0e-3, "momentum": 0.7}),
        ("few_shot_held_out", 1, "other", {"epochs": 2, "lr": 1.0e-3, "momentum": 0.5}),
        ("base_to_new_validation", 4, "emoji", {"epochs": 1, "lr": 1.0e-3}),
    ],
)
def test_settings_are_chosen_with_the_sections_of_the_protocol_they_are_for(
    protocol: str, shots: int, dataset: str, expected: dict[str, float]
) -> None:
    assert recipe_settings("mine", "official", protocol, dataset, shots) == {"train": expected}
