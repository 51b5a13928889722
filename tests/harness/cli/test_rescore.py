"""`rescore` end to end: a tiny run of zero-shot CLIP on the embedded benchmark, its logits rescored and damaged."""

import csv
import shutil
from pathlib import Path

import pytest

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.rescore.openworld import openworld_auc
from harness.results.folder import RunFolder
from harness.results.logits import logits_file, read_logits
from harness.training.run import Run
from tests.commands import error_line, skipbench

ABOUT = ("--protocol", "base_to_new_together", "--seeds", "1", "--shots", "4")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with zero-shot CLIP, and a method that cannot serve other classes."""
    results = tmp_path_factory.mktemp("results")
    changes = {"protocol": "base_to_new_together", "methods": ["zeroshot", "linear_probe"], "seeds": [1], "shots": [4]}
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes)
    for spec in expand(experiment, {"runtime": {"keep_validation_logits": True}}):
        Run(spec, results).execute()
    return results


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    return tmp_path


def run_of(results: Path, method: str = "zeroshot") -> RunFolder:
    """The run of a method."""
    folders = [RunFolder(results, path.name) for path in (results / "runs").iterdir()]
    return next(folder for folder in folders if folder.read_result().spec.method == method)


def lines_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_everything_that_can_be_asked(results: Path) -> None:
    asked = ["--per-run", "--per-class", "--confusion", "--reliability", "--format", "md,latex,csv"]
    done = skipbench("rescore", *asked, "--results", str(results))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Temperature: fitted on the logits of" in done.stdout
    # The linear probe has no other classes.
    row = next(line for line in done.stdout.splitlines() if "accuracy together" in line)
    assert "n/a" in row
    files = {path.name for path in (results / "tables").iterdir()}
    stem = "results-rescore"
    assert files == {
        *(f"{stem}-base_to_new_together-4shot.{ending}" for ending in ("md", "tex", "csv")),
        *(f"{stem}-{name}.csv" for name in ("runs", "classes", "confusions", "reliability")),
    }

    folder = run_of(results)
    recorded = {item.name: item for item in folder.read_result().evaluations}
    lines = [line for line in lines_of(results / "tables" / f"{stem}-runs.csv") if line["method"] == "zeroshot"]
    values = {(line["metric"], line["evaluation"]): float(line["value"]) for line in lines}
    for name, item in recorded.items():
        assert values["accuracy", name] == pytest.approx(item.accuracy)
        assert values["ece", name] == pytest.approx(item.ece, abs=0.5)
        own = next(line for line in lines if (line["metric"], line["evaluation"]) == ("accuracy", name))
        assert float(own["low"]) < item.accuracy < float(own["high"])
    kept = read_logits(folder, recorded["together"])
    assert kept is not None
    base = sum(1 for name in recorded["base"].per_class)
    assert values["openworld_auc", "together"] == pytest.approx(100 * openworld_auc(kept.logits, kept.labels, base))
    # No more than what its parts would be alone.
    assert values["openworld_auc", "together"] <= values["accuracy", "base"] * values["accuracy", "new"] / 100 + 1

    classes = [line for line in lines_of(results / "tables" / f"{stem}-classes.csv") if line["method"] == "zeroshot"]
    percent = {(line["evaluation"], line["class"]): float(line["percent"]) for line in classes}
    for name, item in recorded.items():
        for one, accuracy in item.per_class.items():
            assert percent[name, one] == pytest.approx(accuracy)
    confusions = lines_of(results / "tables" / f"{stem}-confusions.csv")
    bins = lines_of(results / "tables" / f"{stem}-reliability.csv")
    for lines in (confusions, bins):
        images = sum(
            int(line["images"]) for line in lines if (line["method"], line["evaluation"]) == ("zeroshot", "new")
        )
        assert images == recorded["new"].images


def test_a_results_folder_may_be_the_first_word(results: Path) -> None:
    done = skipbench("rescore", str(results), "--metric", "ece", "--methods", "zeroshot", *ABOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ECE together" in done.stdout
    assert "linear_probe" not in done.stdout


def test_damaged_logits_are_named_and_the_others_are_shown(results: Path) -> None:
    folder = run_of(results)
    path = folder.path / logits_file("new")
    path.write_bytes(path.read_bytes()[:-100])
    done = skipbench("rescore", "--results", str(results))
    assert done.returncode == 1
    assert "accuracy base" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"damaged: '{path}' is damaged (")
    # Of another run.
    shutil.copy(run_of(results, "linear_probe").path / logits_file("base"), folder.path / logits_file("base"))
    done = skipbench("rescore", "--results", str(results))
    assert done.returncode == 1
    assert "it is of run" in done.stderr


def test_mistakes_are_one_line(results: Path) -> None:
    assert "unknown metric 'aec'. Did you mean" in error_line("rescore", "--metric", "aec", RESULTS=str(results))
    message = error_line("rescore", "--format", "cvs", RESULTS=str(results))
    assert message.startswith("error: unknown format 'cvs'. Did you mean 'csv'?")
    assert "no run is complete in" in error_line("rescore", RESULTS=str(results / "none"))
    for path in (results / "runs").glob("*/validation-logits.safetensors"):
        path.unlink()
    message = error_line("rescore", "--metric", "temperature", RESULTS=str(results))
    assert "has temperature: it needs logits of validation images, which runs keep with" in message
    for path in (results / "runs").glob("*/logits-*"):
        path.unlink()
    assert "kept logits: `" in error_line("rescore", RESULTS=str(results))
    # A folder without logits is as good as any.
    assert skipbench("runs", "--results", str(results)).returncode == 0
    assert skipbench("table", "--results", str(results)).returncode == 0
