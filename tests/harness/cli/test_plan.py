"""`skipbench plan`: every run with its state, nothing computed, nothing slow imported."""

from pathlib import Path

import pytest

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.spec import RunSpec
from tests.commands import ROOT, Finished, run_process, skipbench
from tests.made_up_results import result_json, write_result


def base_to_new() -> list[RunSpec]:
    """The runs of the paper's largest table."""
    return expand(load_experiment(EXPERIMENTS / "paper" / "base_to_new.yaml"))


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """The paper's largest table, of which some runs have begun."""
    results = tmp_path_factory.mktemp("plan")
    specs = base_to_new()
    for number, names in {
        0: ["result.json"],
        1: ["progress.safetensors", "metrics.jsonl"],
        # Killed between the result and the removal of what an unfinished run needs.
        2: ["result.json", "progress.safetensors"],
        # Started, and killed before its first epoch was saved.
        207: ["spec.yaml", "log.txt"],
        # A folder alone is no beginning.
        208: ["spec.yaml", "result.json.tmp"],
    }.items():
        folder = results / "runs" / specs[number].id
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text("")
        if "result.json" in names:
            accuracies = {item.name: 50.0 for item in specs[number].evaluate}
            write_result(results, result_json(specs[number], accuracies, {}))
    words = ["plan", "experiments/paper/base_to_new.yaml", "--results", str(results)]
    return results, run_process(*words, options=("-X", "importtime"))


def test_plan_lists_every_run_once_with_its_state(planned: tuple[Path, Finished]) -> None:
    results, done = planned
    assert done.returncode == 0, done.stderr
    *runs, grid, states = done.stdout.splitlines()
    specs = base_to_new()
    state = {0: "done", 1: "interrupted", 2: "done", 207: "interrupted"}
    assert [line.split() for line in runs] == [
        [state.get(number, "missing"), spec.id, "base_to_new", spec.name, "ViT-B-16-quickgelu"]
        for number, spec in enumerate(specs)
    ]
    assert grid.startswith("11 data sets x 23 methods x 3 seeds = 759 runs, 737 of them different")
    assert states == "2 done, 2 interrupted, 733 missing"
    # Nothing was computed, and nothing written.
    assert len(list(results.rglob("*"))) == 1 + 5 + 9


def test_plan_imports_nothing_that_takes_long_and_is_not_needed(
    planned: tuple[Path, Finished],
) -> None:
    _, done = planned
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"harness.experiment.grid", "pydantic"} <= modules
    assert not {name.partition(".")[0] for name in modules} & {"open_clip", "pandas", "wandb", "torchvision", "timm"}


def test_plan_changes_the_grid_like_bench() -> None:
    words = ["plan", "--protocol", "domain_generalization", "--seeds", "1,2", "--shots", "4,16", "train.epochs=1"]
    done = skipbench(*words, "--results", "nowhere")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[2:] for line in lines[:4]] == [
        ["domain_generalization", f"skip-emoji-{shots}shot-seed{seed}", "clip-emoji"]
        for shots in (4, 16)
        for seed in (1, 2)
    ]
    assert lines[4:] == ["2 shots x 2 seeds = 4 runs", "0 done, 0 interrupted, 4 missing"]
    assert not (ROOT / "nowhere").exists()
