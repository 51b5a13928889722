"""--dry-run and `keys`: what would run, every setting with its origin, and nothing started or written."""

import re
from pathlib import Path

import pytest

from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_class
from harness.experiment.settings import flat_settings, parse_overrides
from tests.commands import ROOT, error_line, skipbench


def origins(text: str) -> dict[str, tuple[str, str]]:
    """Key -> value and origin of the settings that were printed."""
    return {key: (value, origin) for key, value, origin in re.findall(r"^  (\S+?)=(.*?)  +(.*)$", text, re.MULTILINE)}


def dry(*words: str, results: Path, **environment: str) -> str:
    done = skipbench(*words, "--dry-run", "--results", str(results), **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert not results.exists()
    assert done.stdout.endswith("Dry run: nothing was started or written.\n")
    return done.stdout


def test_every_setting_of_a_bench_with_its_origin(tmp_path: Path) -> None:
    words = ["bench", "skip,coop", "skip.depth=2,4", "--seeds", "1", "train.epochs=3", "--executor", "local"]
    printed = dry(*words, results=tmp_path / "none", WANDB_MODE="disabled")
    assert "0 done, 0 interrupted, 3 missing: 3 would be computed" in printed
    found = origins(printed)
    assert found["train.epochs"] == ("3", "command line")
    assert found["skip.depth"] == ("2, 4", "command line")
    assert found["skip.lambda"] == ("0.3", "recipe skip/clip-emoji")
    assert found["coop.n_ctx"] == ("4", "recipe coop/clip-emoji")
    assert found["data.shots"] == ("16", "experiment bench")
    assert found["data.classes"] == ("base", "protocol base_to_new")
    assert found["data.crop_scale"] == ("[0.6, 1.0]", "data set emoji")
    assert found["train.momentum"] == ("0.9", "default")
    assert found["wandb.mode"] == ("disabled", "environment WANDB_MODE")
    assert found["wandb.group"] == ("bench", "name of the experiment")
    assert found["schedule.executor"] == ("local", "command line")
    assert found["schedule.retries"] == ("1", "default")


def test_files_are_origins_and_finished_runs_are_told(tmp_path: Path) -> None:
    recipe, experiment = tmp_path / "mine.yaml", tmp_path / "experiment.yaml"
    recipe.write_text("train.lr: 2e-3\nskip: {depth: 1}\n")
    experiment.write_text(f"methods: [skip]\nseeds: [4]\nrecipe: {recipe}\nsettings: {{train: {{epochs: 2}}}}\n")
    found = origins(dry("run", str(experiment), "data.flip=false", results=tmp_path / "none"))
    assert found["train.lr"] == ("0.002", f"recipe {recipe}")
    assert found["skip.depth"] == ("1", f"recipe {recipe}")
    assert found["train.epochs"] == ("2", f"experiment {experiment}")
    assert found["seed"] == ("4", f"experiment {experiment}")
    assert found["data.flip"] == ("false", "command line")
    done = skipbench("bench", "skip", "--dry-run", "--results", str(ROOT / "results" / "embedded"))
    assert "3 done, 0 interrupted, 0 missing: 0 would be computed" in done.stdout
    assert done.stdout.startswith("done        21cdd3937420 base_to_new skip-emoji-16shot-seed1 clip-emoji\n")


def test_one_run_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("method: skip\nskip: {depth: 2}\nevaluate: [{name: new, dataset: emoji, classes: new}]\n")
    found = origins(dry("run", str(path), "train.epochs=1", results=tmp_path / "none"))
    assert found["skip.depth"] == ("2", f"file {path}")
    assert found["train.epochs"] == ("1", "command line")
    assert found["data.dataset"] == ("emoji", "default")


def test_a_sweep_shows_its_space_and_the_number_of_points(tmp_path: Path) -> None:
    printed = dry("sweep", "ablation_ratio", "--seeds", "1", "train.epochs=3", results=tmp_path / "none")
    assert "7 trials of 1 runs each, judged on base_to_new_validation of emoji" in printed
    assert "Space: 7 points" in printed
    assert "skip.class_ratio             choice: [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]" in printed
    found = origins(printed)
    assert found["seeds"] == ("[1]", "command line")
    assert found["skip.class_ratio"][1] == "searched over; this is the recipe's value"
    assert "no end of points" in dry("sweep", "skip", results=tmp_path / "none")


@pytest.mark.parametrize("words", [["keys", "skip", "train.lr=0.5"], ["keys", "--for", "skip emoji", "train.lr=0.5"]])
def test_keys_shows_what_bench_runs(words: list[str]) -> None:
    printed = skipbench(*words).stdout
    for line in ("skip.depth=3 ", "train.epochs=5 ", "train.lr=0.5 ", "schedule.retries=1 "):
        assert f"\n{line}" in f"\n{printed}"
    assert "[recipe skip/clip-emoji]" in printed
    official = skipbench("keys", "--for", "skip dtd ViT-B-16-quickgelu few_shot").stdout
    assert "train.epochs=40 " in official
    assert "[recipe skip/official, few_shot]" in official


def test_keys_names_the_nearest() -> None:
    message = error_line("keys", "--for", "CoOp")
    assert message == "error: 'CoOp' is no method, data set, backbone or protocol. Did you mean 'coop'?"


def test_the_sources_are_of_the_layers_that_make_the_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("DATA", raising=False)
    monkeypatch.delenv("SKIPBENCH_FEATURES", raising=False)
    monkeypatch.delenv("SKIPBENCH_PICTURES", raising=False)
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": "all", "seeds": "1"})
    for item in plan_grid(experiment, parse_overrides(["train.epochs=2", "data.flip=false"])):
        effective = {setting.key: setting for setting in item.effective()}
        assert {key: setting.value for key, setting in effective.items()} == flat_settings(item.spec.settings())
        name = item.spec.method
        of_method = f"method {name}: nothing trains"
        assert effective["train.epochs"].source == ("command line" if method_class(name).trains else of_method)
        assert {"data.flip", "seed", "method"} <= {setting.key for setting in item.given()}
