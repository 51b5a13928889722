"""A run that was interrupted goes on from what it saved, if that is to be believed; otherwise it starts anew."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec
from harness.results.folder import RunFolder
from harness.training.events import Event, Notice, TrainingProgress
from harness.training.run import Run

Make = Callable[..., RunSpec]
# A handful of pictures: this is about saving.
EVALUATE_LITTLE = "evaluate=[{name: base, dataset: emoji, classes: base.base, splits: [val]}]"


@pytest.mark.parametrize("damage", ["bit", "metrics", "seed", "momentum"])
def test_a_run_whose_progress_is_not_to_be_believed_starts_anew(damage: str, make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec(
        "clip_adapter", "train.epochs=2", "train.batch_size=4", "runtime.threads=1", EVALUATE_LITTLE, shots=1
    )
    told: list[str] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 1:
            raise KeyboardInterrupt

    def note(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path, interrupt).execute()
    folder = RunFolder(tmp_path, spec.id)
    file = folder.path / "progress.safetensors"
    if damage == "bit":
        content = bytearray(file.read_bytes())
        content[-1] ^= 64
        file.write_bytes(content)
        reason = "progress.safetensors' is damaged (its content does not match its digest)"
    elif damage == "metrics":
        folder.metrics_file.write_bytes(b"")
        reason = "metrics.jsonl' is damaged (it has 0 of 1 epochs)"
    elif damage == "seed":
        other = RunFolder(tmp_path, "0123456789ab")
        saved = folder.load_progress()
        assert saved
        other.create()
        other.save_progress(*saved)
        file.write_bytes((other.path / file.name).read_bytes())
        reason = "progress.safetensors' is damaged (it is of run 0123456789ab)"
    else:
        saved = folder.load_progress()
        assert saved
        folder.save_progress({k: v for k, v in saved[0].items() if not k.startswith("momentum")}, saved[1])
        reason = "has the progress of another training (what its optimizer knew is not that of the recipe)"
    Run(spec, tmp_path, note).execute()
    assert len(told) == 1
    assert f"{reason}: the run starts anew" in told[0]
    result = folder.read_result()
    assert result.interruptions == 0
    assert [record.epoch for record in folder.read_metrics()] == [0, 1]
    calm = Run(spec, tmp_path / "calm")
    calm.execute()
    assert calm.folder.checkpoint_file.read_bytes() == folder.checkpoint_file.read_bytes()
    assert calm.folder.read_result().evaluations == result.evaluations


def test_a_run_that_starts_anew_is_fitted_anew_and_costs_that_once(make_spec: Make, tmp_path: Path) -> None:
    words = ("train.epochs=2", "train.batch_size=4", "train.fit_views=3", "data.classes=base.base", EVALUATE_LITTLE)
    spec = make_spec("tip_adapter_f", *words, shots=1)

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path, interrupt).execute()
    folder = RunFolder(tmp_path, spec.id)
    saved = folder.load_progress()
    assert saved
    folder.save_progress({name: value for name, value in saved[0].items() if name != "beta"}, saved[1])
    again, calm = Run(spec, tmp_path), Run(spec, tmp_path / "calm")
    for run in (again, calm):
        run.execute()
    ours, theirs = (run.folder.read_result().costs.phases for run in (again, calm))
    assert {name: costs.images for name, costs in ours.items()} == {
        name: costs.images for name, costs in theirs.items()
    }
