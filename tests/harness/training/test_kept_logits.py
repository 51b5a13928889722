"""A run keeps the logits of its evaluations: the recorded numbers follow from them, and nothing else changes."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.errors import NoSpaceError, UserError
from harness.experiment.spec import RunSpec
from harness.results.folder import RunFolder
from harness.results.logits import is_logits_file, logits_file, read_logits, read_validation_logits
from harness.results.record import Evaluation
from harness.training.events import Event, Notice
from harness.training.kept_logits import LogitsKeeper
from harness.training.run import Run

Make = Callable[..., RunSpec]


def execute(spec: RunSpec, results: Path) -> tuple[RunFolder, list[str]]:
    """Compute a run; returns its folder and what it said."""
    events: list[Event] = []
    Run(spec, results, events.append).execute()
    return RunFolder(results, spec.id), [event.text for event in events if isinstance(event, Notice)]


def numbers_in(folder: RunFolder) -> list[Any]:
    content = json.loads(folder.result_file.read_text())
    return [content["id"], content["evaluations"], content["method_facts"]]


def test_the_recorded_numbers_follow_from_kept_logits(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("zeroshot", "runtime.keep_validation_logits=true")
    folder, said = execute(spec, tmp_path)
    assert not [line for line in said if "logits" in line]
    for evaluation in folder.read_result().evaluations:
        kept = read_logits(folder, evaluation)
        assert kept is not None
        right = kept.logits.argmax(axis=1) == kept.labels
        assert 100 * right.mean() == evaluation.accuracy
        assert list(kept.facts.class_names) == list(evaluation.per_class)
        for label, accuracy in enumerate(evaluation.per_class.values()):
            assert 100 * right[kept.labels == label].mean() == pytest.approx(accuracy)
    validation = read_validation_logits(folder)
    assert validation is not None
    # Four validation images of each of the 23 base classes.
    assert (validation.rounded.shape, validation.facts.splits) == ((92, 23), ("val",))

    # The same run without: another folder, the same id and numbers.
    other, _ = execute(make_spec("zeroshot", "runtime.keep_logits_mib=0"), tmp_path / "other")
    assert numbers_in(other) == numbers_in(folder)
    assert not [path for path in other.path.iterdir() if is_logits_file(path.name)]


@pytest.fixture
def keeper(make_spec: Make, tmp_path: Path) -> Callable[..., tuple[LogitsKeeper, list[str]]]:
    """make(mib): a keeper, and what it says."""

    def make(mib: int) -> tuple[LogitsKeeper, list[str]]:
        spec = make_spec("zeroshot", f"runtime.keep_logits_mib={mib}")
        folder = RunFolder(tmp_path, spec.id)
        folder.create()
        said: list[str] = []
        return LogitsKeeper(folder, spec, said.append), said

    return make


def keep(keeper: LogitsKeeper, name: str, images: int, classes: int = 100) -> bool:
    """Keep made-up logits; returns whether they are there."""
    evaluation = Evaluation(name=name, dataset="emoji", accuracy=1.0, images=images)
    logits = torch.arange(images * classes, dtype=torch.float32).reshape(images, classes)
    names = [str(number) for number in range(classes)]
    keeper.keep(evaluation, names, logits, torch.zeros(images, dtype=torch.long), torch.tensor(0.0))
    return read_logits(keeper.folder, evaluation) is not None


def test_what_does_not_fit_is_not_kept_and_said(keeper: Callable[..., tuple[LogitsKeeper, list[str]]]) -> None:
    mine, said = keeper(1)
    # 212 bytes an image: 3000 fit into a MiB, another 3000 do not, and 1000 still do.
    assert keep(mine, "first", 3000)
    assert said == []
    assert not keep(mine, "second", 3000)
    assert said == ["logits of 'second' are not kept: they take 0.6 MiB, and 0.4 are left of runtime.keep_logits_mib=1"]
    assert keep(mine, "third", 1000)
    none, said = keeper(0)
    # What an earlier start left is gone: it may be of other files.
    assert not [path for path in none.folder.path.iterdir() if is_logits_file(path.name)]
    assert not keep(none, "first", 3)
    assert said == []


def test_a_full_disk_costs_the_logits_and_not_the_run(
    keeper: Callable[..., tuple[LogitsKeeper, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, said = keeper(1)

    def full(name: str, data: bytes) -> None:
        raise NoSpaceError(f"'{name}' cannot be written: no space")

    monkeypatch.setattr(mine.folder, "write", full)
    assert not keep(mine, "first", 3)
    assert said == [f"logits of 'first' are not kept: '{logits_file('first')}' cannot be written: no space"]


def test_data_without_validation_images_is_no_error(
    make_spec: Make, keeper: Callable[..., tuple[LogitsKeeper, list[str]]]
) -> None:
    mine, said = keeper(1)
    mine.spec = make_spec("zeroshot", "runtime.keep_validation_logits=true")

    def none(data: object, split: str) -> None:
        assert split == "val"
        raise UserError("there are none")

    data = SimpleNamespace(validation_pictures=none)
    for pictures in ([], ["some"]):
        splits = SimpleNamespace(val=[], train=pictures)
        setup = SimpleNamespace(method=None, data=SimpleNamespace(splits=splits))
        mine.keep_validation(data, setup, 0, None)  # type: ignore[arg-type]
    assert said == [
        "no logits of validation images are kept: data set 'emoji' has none",
        "no logits of validation images are kept: there are none",
    ]
