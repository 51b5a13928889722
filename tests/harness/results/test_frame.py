"""Finished runs as a table."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.experiment.tuned import TunedSpec
from harness.results.folder import RunFolder
from harness.results.frame import result_row, results_frame, spec_row
from tests.made_up_results import a_result

MakeSpec = Callable[..., RunSpec]
PHASES = {
    "train": {"seconds": 2.5, "images": 10, "peak_tensor_bytes": 3 * 2**20},
    "evaluate": {"seconds": 1.0, "images": 7},
}


def finish(root: Path, spec: RunSpec, accuracies: dict[str, float]) -> str:
    run = RunFolder(root, spec.id)
    run.create()
    run.prepare(spec)
    costs = {"phases": PHASES, "trainable_parameters": 5, "checkpoint_bytes": 99, "alone": True}
    run.finish(a_result(spec, accuracies, {}, costs=costs))
    return spec.id


def test_results_as_a_table(tmp_path: Path, make_spec: MakeSpec) -> None:
    b = finish(tmp_path, make_spec("skip"), {"base": 80.0, "new": 60.0})
    a = finish(tmp_path, make_spec("zeroshot", seed=2), {"base": 50.0, "new": 55.0})
    everything = "evaluate=[{name: all, dataset: emoji}]"
    c = finish(tmp_path, make_spec("finetune", everything), {"all": 70.0})
    RunFolder(tmp_path, "unfinished").create()

    frame = results_frame(tmp_path)
    assert list(frame["id"]) == sorted([a, b, c])
    row = frame.set_index("id").loc[b]
    expected = {
        "name": "skip-emoji-16shot-seed1",
        "method": "skip",
        "dataset": "emoji",
        "backbone": "clip-emoji",
        "protocol": "base_to_new",
        "shots": 16,
        "seed": 1,
        "recipe": "official",
        "precision": "fp32",
        "cache": "fresh",
        "device": "cpu",
        "accuracy.base": 80.0,
        "accuracy.new": 60.0,
        "accuracy": 70.0,
        "H": 2 * 80 * 60 / 140,
        "ece.base": 3.0,
        "steps_seconds": 2.5,
        "steps_memory": 3.0,
        "train.seconds": 2.5,
        "train.images_per_second": 4.0,
        "evaluate.images": 7,
        "alone": True,
        "trainable_parameters": 5,
        "checkpoint_bytes": 99,
    }
    assert {key: row[key] for key in expected} == expected
    assert frame.set_index("id")["accuracy.all"].isna().to_dict() == {a: True, b: True, c: False}
    assert frame.set_index("id")["H"].isna().to_dict() == {a: False, b: False, c: True}

    chosen = results_frame(tmp_path, [c, "unfinished", "unknown", a])
    assert list(chosen["id"]) == [c, a]


def test_no_results_are_an_empty_table(tmp_path: Path) -> None:
    assert results_frame(tmp_path).empty
    assert results_frame(tmp_path / "gone").empty


def test_a_damaged_result_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs" / "abc").mkdir(parents=True)
    (tmp_path / "runs" / "abc" / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"abc/result\.json' is not the result of a run"):
        results_frame(tmp_path)


def test_a_run_is_described_alike_before_and_after_it(make_spec: MakeSpec) -> None:
    about = TunedSpec(study="skip-emoji-1", trials=50, data="base_to_new_validation of emoji", seeds=(1, 2))
    spec = make_spec("skip").model_copy(update={"tuned": about})
    planned = spec_row(spec)
    assert planned["tuned"] == "50 trials on base_to_new_validation of emoji, seeds 1,2 (study skip-emoji-1)"
    assert spec_row(make_spec("skip"))["tuned"] == ""
    finished = result_row(a_result(spec, {"base": 1.0}, PHASES))
    assert {key: finished[key] for key in planned} == planned
