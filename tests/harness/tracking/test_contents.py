"""What trackers are told of a run: rows, commands that repeat it, names, media of limited size."""

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.cli.grid import GridOptions, Words, read_grid
from harness.experiment.spec import RunSpec
from harness.results.epochs import EpochRecord, StepRecord
from harness.results.folder import RunFolder
from harness.results.logits import KeptLogits, LogitsFacts, logits_file
from harness.tracking import media
from harness.tracking.contents import repeat_command, rows_of, summary_of
from harness.tracking.media import Confusions, lowest, media_of
from harness.tracking.settings import tracking_of
from tests.made_up_results import a_result

Make = Callable[..., RunSpec]


def test_rows_of_a_record_of_an_earlier_version_are_its_epochs() -> None:
    rows = rows_of([EpochRecord(epoch=number, loss=1.0, lr=0.1) for number in range(3)])
    assert [(row.axis, row.number) for row in rows] == [("epoch", 0), ("epoch", 1), ("epoch", 2)]


def test_steps_come_before_their_epoch_so_that_later_epochs_move_no_row() -> None:
    steps = (StepRecord(4, 2.0, 0.1, 0.01), StepRecord(5, 1.0, 0.1, 0.01))
    records = [
        EpochRecord(epoch=0, loss=1.5, lr=0.1, step_records=steps, seconds={"validate": 0.5}, accuracies={"val": 50.0}),
        EpochRecord(epoch=1, loss=1.0, lr=0.1, step_records=(StepRecord(9, 0.5, 0.1, 0.01),)),
    ]
    rows = rows_of(records)
    assert [(row.axis, row.number) for row in rows] == [
        ("step", 4), ("step", 5), ("epoch", 0), ("step", 9), ("epoch", 1)
    ]  # fmt: skip
    assert rows[:3] == rows_of(records[:1])
    assert rows[0].values == {"step/loss": 2.0, "step/lr": 0.1, "step/lr_image": 0.01}
    assert (rows[2].values["seconds/validate"], rows[2].values["validation/val"]) == (0.5, 50.0)
    assert None not in rows[2].values.values()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("zeroshot", []),
        ("skip", ["skip.depth=4", "train.lr=0.003", "train.validate_every=2", "data.sample_seed=9"]),
        ("coop", ["coop.n_ctx=4", "train.precision=bf16", "data.crop_scale=[[0.5,1.0]]"]),
    ],
)
def test_the_command_in_the_notes_repeats_the_run(method: str, words: list[str], make_spec: Make) -> None:
    spec = make_spec(method, *words, shots=4, seed=3)
    name, command, *rest = shlex.split(repeat_command(spec))
    assert (name, command) == ("skipbench", "bench")
    settings = tuple(word for word in rest[1:] if not word.startswith("--") and "=" in word)
    options = [word for word in rest[1:] if word not in settings]
    given = {key.removeprefix("--"): value for key, value in zip(options[::2], options[1::2], strict=True)}
    planned = read_grid(Words(rest[0], settings), GridOptions(**given))[1]
    assert [item.spec.id for item in planned] == [spec.id]


def test_a_run_that_no_short_command_gives_is_repeated_by_its_spec(make_spec: Make) -> None:
    spec = make_spec("skip", "evaluate=[{name: own, dataset: emoji, classes: base, splits: [val]}]")
    assert repeat_command(spec) == "skipbench run spec.yaml"


def test_names_tell_runs_apart_and_say_the_trial(make_spec: Make) -> None:
    spec = make_spec("skip", "skip.depth=4")
    tracked = spec.model_copy(update={"tracking": spec.tracking.model_copy(update={"trial": 12})})
    assert tracked.id == spec.id
    asked = tracking_of(tracked, {})
    assert asked.name == "skip-emoji-16shot-seed1 trial-12 depth=4"
    assert "trial-12" in asked.tags
    assert tracking_of(spec, {}).name == "skip-emoji-16shot-seed1 depth=4"


def test_the_summary_has_the_headline_of_the_protocol(make_spec: Make) -> None:
    spec = make_spec("skip")
    phases = {"train": {"seconds": 2.0, "images": 10, "peak_tensor_bytes": 3 * 2**20}}
    summary = summary_of(a_result(spec, {"base": 60.0, "new": 40.0}, phases))
    assert summary["headline"] == summary["accuracy/H"] == 48.0
    assert (summary["costs/train/peak_mib"], summary["costs/train/images_per_second"]) == (3.0, 5.0)
    unknown = a_result(spec.model_copy(update={"protocol": "gone"}), {"base": 60.0}, {})
    assert "headline" not in summary_of(unknown)


def test_media_are_of_the_first_seed_unless_asked_for(make_spec: Make, tmp_path: Path) -> None:
    for seed, words, expected in ((1, [], True), (2, [], False), (2, ["tracking.media=true"], True),
                                  (1, ["tracking.media=false"], False)):  # fmt: skip
        spec = make_spec("skip", *words, seed=seed)
        result = a_result(spec, {"base": 50.0, "new": 50.0}, {})
        evaluations = tuple(one.model_copy(update={"per_class": {"a": 1.0}}) for one in result.evaluations)
        per_class = result.model_copy(update={"evaluations": evaluations})
        found = media_of(RunFolder(tmp_path, spec.id), per_class)
        assert bool(found.classes) is expected


def test_confusions_come_from_kept_logits_and_what_is_damaged_is_left_out(make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec("skip")
    result = a_result(spec, {"base": 50.0, "new": 50.0}, {})
    folder = RunFolder(tmp_path, spec.id)
    folder.create()
    about = {"evaluation": "base", "dataset": "emoji", "classes": "base", "splits": ("test",)}
    facts = LogitsFacts(run=spec.id, class_names=("a", "b"), **about)
    logits = np.array([[1, 0], [0, 1], [1, 0], [2, 0]], np.float32)
    folder.write(logits_file("base"), KeptLogits.of(facts, logits, np.array([0, 0, 1, 1])).to_bytes())
    folder.write(logits_file("new"), b"no tensors")
    folder.write("predictions.json", b"{")
    found = media_of(folder, result)
    assert found.predictions == {}
    assert found.confusions.keys() == {"base"}
    assert found.confusions["base"].pairs() == [("b", "a", 2), ("a", "b", 1)]


def test_media_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MOST_PAIRS", 2)
    monkeypatch.setattr(media, "MOST_CLASSES", 2)
    monkeypatch.setattr(media, "LARGEST_MATRIX", 3)
    found = Confusions(("a", "b", "c", "d"), [0, 0, 1, 2, 3], [1, 1, 0, 2, 0])
    assert found.pairs() == [("a", "b", 2), ("b", "a", 1)]
    assert not found.is_small
    assert lowest({"a": 3.0, "b": 1.0, "c": 2.0}) == [("b", 1.0), ("c", 2.0)]
    assert lowest({"a": 3.0, "b": 1.0}) == [("a", 3.0), ("b", 1.0)]
