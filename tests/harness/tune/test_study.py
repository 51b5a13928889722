"""Sweeps from start to end: fronts, recipes, what is kept when they are killed, and that test labels are not read."""

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState, create_trial
from PIL import Image

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.machine.costs import PhaseCosts
from harness.machine.environment import Environment
from harness.results.record import Costs, Evaluation, Result, read_result
from harness.tune.objective import metrics_of
from harness.tune.report import best_trials, write_outcome
from harness.tune.sweep import Sweep
from harness.tune.sweep_file import load_sweep
from tests.commands import parents, results_of, skipbench, start, wait_for

RATIO = "clip_adapter.residual_ratio"
SPACE = {
    RATIO: {"float": [0.0, 1.0], "step": 0.25},
    "clip_adapter.reduction": {"choice": [1, 4]},
}
SMALL = {
    "method": "clip_adapter",
    "shots": 2,
    "seeds": [1, 2],
    "settings": {"train": {"epochs": 1, "batch_size": 4}},
    "space": SPACE,
    "objectives": ["H", "train_memory"],
    "schedule": {"devices": "cpu", "runs_per_device": 2, "threads": 1},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return path


def trials_of(results: Path) -> list[optuna.trial.FrozenTrial]:
    """All trials of the only study in a results folder."""
    storage = f"sqlite:///{results / 'sweeps' / 'optuna.db'}"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def test_a_front_its_recipes_and_the_rows_they_come_back_in(tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = skipbench("sweep", str(write(tmp_path)), "--trials", "3", "--results", str(results))
    assert done.returncode == 0, done.stderr
    trials = trials_of(results)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    (folder,) = (path for path in (results / "sweeps").iterdir() if path.is_dir())
    for name in ("sweep.yaml", "trials.csv", "best.yaml", "pareto.svg", "pareto.pdf"):
        assert (folder / name).stat().st_size > 0, name
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert len(rows) == 3
    best = max(trials, key=lambda trial: (trial.values[0], -trial.values[1]))
    recipe = yaml.safe_load((folder / "best.yaml").read_text())
    assert recipe["clip_adapter"]["residual_ratio"] == best.params[RATIO]
    assert recipe["tuned"]["trials"] == 3
    assert recipe["tuned"]["seeds"] == [1, 2]
    assert recipe["tuned"]["data"] == "base_to_new_validation of emoji, 2 shots"
    # The values are those of the runs, and the runs are ordinary ones.
    found = {result.id: result for result in results_of_all(results)}
    for trial in trials:
        metrics = metrics_of([found[run_id] for run_id in trial.user_attrs["runs"]])
        assert trial.values == [metrics["H"], metrics["train_memory"]]
    assert {result.spec.wandb.group for result in found.values()} == {folder.name}

    again = skipbench("sweep", str(write(tmp_path)), "--trials", "3", "--results", str(results))
    assert again.returncode == 0
    assert len(trials_of(results)) == 3, "the budget is used"

    words = [
        "--seeds",
        "1",
        "--shots",
        "2",
        "--recipe",
        str(folder / "best.yaml"),
        "--results",
        str(tmp_path / "bench"),
    ]
    tested = skipbench("bench", "clip_adapter", *words)
    assert tested.returncode == 0, tested.stderr
    (result,) = results_of(tmp_path / "bench").values()
    assert result["spec"]["tuned"]["study"] == folder.name
    assert [item["splits"] for item in result["evaluations"]] == [["test"], ["test"]]


def results_of_all(results: Path) -> list[Result]:
    return [read_result(path) for path in results.glob("runs/*/result.json")]


def test_limits_and_pruning(tmp_path: Path) -> None:
    """No trial of this space trains in a tenth of a MiB; accuracy is recorded after each epoch."""
    changes = {"objectives": ["H"], "limits": {"train_memory": 0.1}, "pruner": "median"}
    sweep = write(tmp_path, **changes, settings={"train": {"epochs": 2, "batch_size": 4}}, seeds=[1])
    done = skipbench("sweep", str(sweep), "--trials", "2", "--results", str(tmp_path / "r"))
    assert done.returncode == 2
    assert "came to its end within {'train_memory': 0.1}" in done.stderr
    (lines, *_) = [path.read_text().splitlines() for path in (tmp_path / "r").glob("runs/*/metrics.jsonl")]
    assert all("accuracy.base" in json.loads(line) for line in lines)
    values = [trial.intermediate_values for trial in trials_of(tmp_path / "r")]
    assert all(list(steps) == [1, 2] for steps in values)


def test_a_killed_sweep_goes_on_and_no_trial_is_lost_or_doubled(tmp_path: Path) -> None:
    sweep = write(tmp_path, sampler="grid", space={RATIO: {"float": [0.0, 1.0], "step": 0.5}})
    words = ["sweep", str(sweep), "--results", str(tmp_path / "r")]
    main = start(*words)
    wait_for(lambda: len(results_of_all(tmp_path / "r")) >= 2)
    os.kill(main.pid, signal.SIGKILL)
    main.communicate()
    family = {int(path.name) for path in Path("/proc").glob("[0-9]*") if str(tmp_path).encode() in cmdline(path)}
    wait_for(lambda: not family & parents().keys())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("runs/*/result.json")}
    done = skipbench(*words)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was computed is not computed again"
    complete = [trial for trial in trials_of(tmp_path / "r") if trial.state == TrialState.COMPLETE]
    assert sorted(trial.params[RATIO] for trial in complete) == [0.0, 0.5, 1.0]
    assert len(results_of_all(tmp_path / "r")) == 6
    assert not [trial for trial in trials_of(tmp_path / "r") if not trial.state.is_finished()]


def cmdline(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_sweep_does_not_read_test_labels(tmp_path: Path) -> None:
    """The canary: labels of the test split that cannot be read, pictures that are not there."""
    images = tmp_path / "data" / "dtd" / "images"
    split: dict[str, list[Any]] = {"train": [], "val": [], "test": [["nowhere.png", "canary", "canary"]]}
    for label, (name, colour) in enumerate({"wall": "red", "sky": "blue", "grass": "green", "sun": "yellow"}.items()):
        (images / name).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (48, 48), colour).save(images / name / f"{number}.png")
            split["train" if number < 4 else "val"].append([f"{name}/{number}.png", label, name])
    (images.parent / "split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    data = {"DATA": str(tmp_path / "data")}
    settings = {"train": {"epochs": 1, "batch_size": 2}}
    sweep = write(tmp_path, dataset="dtd", objectives=["H"], seeds=[1], settings=settings)
    done = skipbench("sweep", str(sweep), "--trials", "2", "--results", str(tmp_path / "r"), **data)
    assert done.returncode == 0, done.stderr
    assert len(trials_of(tmp_path / "r")) == 2
    tested = skipbench("bench", "zeroshot", "--dataset", "dtd", "--results", str(tmp_path / "b"), **data)
    assert tested.returncode != 0
    assert "canary" in tested.stderr


def test_failed_trials_are_told_and_count(tmp_path: Path) -> None:
    settings = {"train": {"epochs": 1, "batch_size": 8, "batches": "same_class"}}
    sweep = write(tmp_path, settings=settings, shots=4, seeds=[1])
    done = skipbench("sweep", str(sweep), "--trials", "2", "--results", str(tmp_path / "r"))
    assert done.returncode == 2
    assert "same-class batches of 8 need" in done.stderr
    assert [trial.state for trial in trials_of(tmp_path / "r")] == [TrialState.FAIL] * 2


def test_the_password_of_a_storage_is_told_nowhere(tmp_path: Path) -> None:
    sweep = write(tmp_path, schedule={"devices": "cpu", "ray_address": "ray://me:hunter@host:1"})
    storage = "postgresql+nothing://me:hunter@127.0.0.1:1/x"
    for words in (["--storage", storage], [f"storage={storage}"], [storage], [f"objectives={storage}"]):
        done = skipbench("--debug", "sweep", str(sweep), *words, "--results", str(tmp_path / "r"))
        assert done.returncode == 2
        assert "***" in done.stderr
        assert "hunter" not in done.stdout + done.stderr
    assert not [path for path in (tmp_path / "r").rglob("*") if path.is_file() and b"hunter" in path.read_bytes()]


def test_the_written_sweep_holds_no_secret_and_says_so_when_it_is_read(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/x.db?password=hunter"
    sweep = load_sweep(
        str(write(tmp_path, objectives=["H"])), {"storage": storage}, {"ray_address": "ray://u:hunter@h"}
    )
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=1.0))
    write_outcome(study, sweep, {}, tmp_path / "out")
    written = tmp_path / "out" / "sweep.yaml"
    assert "hunter" not in written.read_text()
    with pytest.raises(UserError, match=r"sweep\.yaml.*masked"):
        load_sweep(str(written), {})


def make_study(values: list[list[float]]) -> optuna.Study:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for pair in values:
        study.add_trial(create_trial(values=pair))
    return study


def test_the_front_is_what_nothing_beats_best_first() -> None:
    sweep = Sweep.model_validate({"method": "skip", "space": {"skip.depth": {"int": [0, 6]}}})
    study = make_study([[60, 20], [59, 10], [58, 12], [60, 25], [59, 10], [40, 9]])
    assert [trial.values for trial in best_trials(study, sweep)] == [[60, 20], [59, 10], [40, 9]]
    assert [trial.number for trial in best_trials(study, sweep)] == [0, 1, 5]
    with pytest.raises(UserError, match="no trial of sweep"):
        best_trials(make_study([]), sweep)


def result(spec: RunSpec, base: float, new: float, seconds: float, train: int, evaluate: int) -> Result:
    costs = Costs(
        phases={
            "cache": PhaseCosts(seconds=1.0, peak_tensor_bytes=2**20, images=10),
            "train": PhaseCosts(seconds=seconds, peak_tensor_bytes=train, images=20),
            "evaluate": PhaseCosts(seconds=50.0, peak_tensor_bytes=evaluate, images=5),
        },
        train_flops_per_image=5.0,
        cache_flops_per_image=2.0,
    )
    accuracies = {"base": base, "new": new}
    evaluations = [Evaluation(name=name, dataset="emoji", accuracy=value) for name, value in accuracies.items()]
    return Result(
        id=spec.id, spec=spec, evaluations=tuple(evaluations), costs=costs, environment=Environment(device="cpu")
    )


def test_metrics_are_means_over_runs_and_h_of_means(make_spec: Callable[..., RunSpec]) -> None:
    spec = make_spec("zeroshot")
    first = result(spec, 60, 40, 3.0, 3 * 2**20, 7 * 2**20)
    metrics = metrics_of([first, result(spec, 80, 60, 5.0, 5 * 2**20, 7 * 2**20)])
    assert metrics["accuracy.base"] == 70
    assert metrics["accuracy"] == 60
    assert metrics["H"] == pytest.approx(2 * 70 * 50 / 120)
    assert metrics["H.std"] == pytest.approx(abs(48 - 2 * 80 * 60 / 140) / 2**0.5)
    assert metrics["train_memory"] == 4
    assert metrics["peak_memory"] == 7
    assert metrics["train_seconds"] == 5
    assert metrics["train_flops"] == 120
    assert "H.std" not in metrics_of([first])
