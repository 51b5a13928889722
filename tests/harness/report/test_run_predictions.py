"""What the page holds of kept logits: predictions, bins, names of disputed pictures; bounded, and never of others."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.experiment.spec import RunSpec
from harness.report.run_predictions import packed, predicted
from harness.results.folder import RunFolder
from harness.results.logits import logits_file
from harness.results.record import Result
from tests.harness.report.kept import keep, of_test_images

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def unpacked(text: str) -> list[int]:
    return [int(number) for number in np.frombuffer(base64.b64decode(text), "<u2")]


@pytest.fixture
def runs(tmp_path: Path, plan_runs: Plan, fill: Fill) -> list[tuple[RunFolder, Result]]:
    """Two runs with the logits of their base classes: the second one takes the first three images for another class."""
    specs = plan_runs("base_to_new", methods=["coop", "skip"], seeds=[1])
    fill(tmp_path, specs)
    names, labels, pictures = of_test_images("emoji", "base")
    found = []
    for number, spec in enumerate(specs):
        folder = RunFolder(tmp_path, spec.id)
        result = folder.read_result()
        base = result.evaluations[0].model_copy(update={"pictures_hash": pictures, "images": len(labels)})
        result = result.model_copy(update={"evaluations": (base, *result.evaluations[1:])})
        said = [(label + number) % len(names) if place < 3 else label for place, label in enumerate(labels)]
        keep(folder, base, names, labels, said)
        found.append((folder, result))
    return found


def test_predictions_of_the_same_images_share_their_labels(runs: list[tuple[RunFolder, Result]]) -> None:
    damage: list[str] = []
    found = predicted(runs, 10**6, damage)
    names, labels, _ = of_test_images("emoji", "base")
    (own,) = found.data["sets"]
    assert (own["names"], unpacked(own["labels"])) == (names, labels)
    first, second = (found.data["runs"][result.id] for _, result in runs)
    # Of the new classes no logits were kept.
    assert (list(first), first["base"]["set"], second["base"]["set"]) == (["base"], 0, 0)
    assert unpacked(first["base"]["predicted"]) == labels
    differing = [place for place, label in enumerate(unpacked(second["base"]["predicted"])) if label != labels[place]]
    assert differing == [0, 1, 2]
    # One bin: all images have the same confidence; three are wrong.
    ((confidence, right, images),) = second["base"]["bins"]
    assert confidence == pytest.approx(100 / (1 + (len(names) - 1) * np.exp(-2.0)), abs=0.1)
    assert (right, images) == (pytest.approx(100 * (1 - 3 / len(labels)), abs=0.1), len(labels))
    assert (found.data["left_out"], damage) == (0, [])


def test_disputed_images_are_named_where_the_data_set_is_here(runs: list[tuple[RunFolder, Result]]) -> None:
    found = predicted(runs, 10**6, [])
    (own,) = found.data["sets"]
    assert sorted(own["pictures"]) == ["0", "1", "2"]
    assert set(found.pictures.items()) == {(path, "emoji") for path in own["pictures"].values()}


@pytest.mark.parametrize("change", [{"pictures_hash": "of others"}, {"dataset": "nowhere"}, {"splits": ("val",)}])
def test_no_other_images_are_named(change: dict[str, Any], runs: list[tuple[RunFolder, Result]]) -> None:
    names, labels, _ = of_test_images("emoji", "base")
    for folder, result in runs:
        item = result.evaluations[0].model_copy(update=change)
        said = labels if folder is runs[0][0] else [0 for _ in labels]
        keep(folder, item, names, labels, said)
    changed = [
        (folder, result.model_copy(update={"evaluations": (result.evaluations[0].model_copy(update=change),)}))
        for folder, result in runs
    ]
    found = predicted(changed, 10**6, [])
    assert len(found.data["runs"]) == 2
    assert [own["pictures"] for own in found.data["sets"]] == [{}]
    assert found.pictures == {}


def test_what_has_no_room_is_counted(runs: list[tuple[RunFolder, Result]]) -> None:
    budget = predicted(runs[:1], 10**6, []).size + 100
    found = predicted(runs, budget, [])
    assert (len(found.data["runs"]), found.data["left_out"]) == (1, 1)
    assert found.size <= budget
    # Nothing is disputed among one run.
    assert found.pictures == {}
    none = predicted(runs, 0, [])
    assert (none.data["sets"], none.data["runs"], none.data["left_out"]) == ([], {}, 2)


def test_damaged_logits_are_told(runs: list[tuple[RunFolder, Result]]) -> None:
    folder = runs[0][0]
    (folder.path / logits_file("base")).write_bytes(b"no logits")
    damage: list[str] = []
    found = predicted(runs, 10**6, damage)
    assert list(found.data["runs"]) == [runs[1][1].id]
    assert [str(folder.path) in line for line in damage] == [True]


def test_numbers_are_packed_in_two_bytes() -> None:
    assert base64.b64decode(packed(np.array([1, 258]))) == bytes([1, 0, 2, 1])
    assert unpacked(packed(np.array([0, 65_535]))) == [0, 65_535]
