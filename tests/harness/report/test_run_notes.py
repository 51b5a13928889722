"""Footnotes about single runs: true shots, shared prompts, threads, and what is said of means."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.spec import RunSpec
from harness.report.footnotes import footnotes
from harness.report.paper_tables import paper_tables
from harness.report.runs import experiment_runs
from tests.commands import skipbench

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]
Change = Callable[[dict[str, Any]], None]


def notes(results: Path, specs: list[RunSpec]) -> str:
    (table,) = paper_tables(experiment_runs(specs, results))
    return " ".join(footnotes(table))


def change(results: Path, specs: list[RunSpec], how: Callable[[dict[str, Any], RunSpec], None]) -> None:
    for spec in specs:
        path = results / "runs" / spec.id / "result.json"
        result = json.loads(path.read_text())
        how(result, spec)
        path.write_text(json.dumps(result))


@pytest.fixture
def specs(plan_runs: Plan, fill: Fill, tmp_path: Path) -> list[RunSpec]:
    found = plan_runs("base_to_new", methods=["coop", "skip"], seeds=[1, 2])
    fill(tmp_path, found)
    return found


@pytest.mark.parametrize(
    ("shots", "told"),
    [
        ((12, 16), "16-shot: emoji has 12-16 training images a class."),
        ((10, 10), "16-shot: emoji has 10 training images a class."),
        ((1, 1), "16-shot: emoji has 1 training image a class."),
        ((16, 16), ""),
        (None, ""),
    ],
)
def test_the_true_number_of_shots(
    shots: tuple[int, int] | None, told: str, tmp_path: Path, specs: list[RunSpec]
) -> None:
    change(tmp_path, specs, lambda result, _: result["sample"].update(shots=shots))
    printed = skipbench("bench", "coop,skip", "--seeds", "1,2", "--results", str(tmp_path)).stdout
    for text in (notes(tmp_path, specs), printed):
        assert (told in text) if told else ("-shot: " not in text)


def test_the_fewest_and_the_most_are_of_all_runs(tmp_path: Path, specs: list[RunSpec]) -> None:
    change(tmp_path, specs, lambda result, spec: result["sample"].update(shots=(8 + spec.seed, 12 + spec.seed)))
    assert "16-shot: emoji has 9-14 training images a class." in notes(tmp_path, specs)


def test_classes_that_share_a_prompt(tmp_path: Path, specs: list[RunSpec]) -> None:
    groups = [["missile", "projectile"], ["sunglasses", "shades", "spectacles"]]
    change(tmp_path, specs, lambda result, _: result["evaluations"][1].update(same_prompts=groups))
    told = "emoji: classes missile = projectile, sunglasses = shades = spectacles share a prompt."
    assert notes(tmp_path, specs).count(told) == 1
    assert told in skipbench("bench", "coop,skip", "--seeds", "1,2", "--results", str(tmp_path)).stdout


def test_threads(tmp_path: Path, specs: list[RunSpec]) -> None:
    assert "threads" not in notes(tmp_path, specs)
    change(tmp_path, specs, lambda result, _: result["environment"].update(threads=2))
    assert "CPU threads: 2." in notes(tmp_path, specs)
    change(tmp_path, specs, lambda result, spec: result["environment"].update(threads=1 if spec.seed == 1 else 4))
    assert "CPU threads differ, so compare no times (1: coop, skip; 4: coop, skip)." in notes(tmp_path, specs)
    change(tmp_path, specs, lambda result, _: result["environment"].update(device="a GPU"))
    assert "threads" not in notes(tmp_path, specs)


def test_means_are_named_only_where_there_are_some(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    def told(protocol: str, seeds: str) -> str:
        found = plan_runs(protocol, methods=["skip"], seeds=[int(seed) for seed in seeds.split(",")])
        fill(tmp_path, found)
        return skipbench("bench", "skip", "--protocol", protocol, "--seeds", seeds, "--results", str(tmp_path)).stdout

    assert "Accuracy in percent, mean ± sample std over seeds; H of the means." in told("base_to_new", "1,2")
    assert "Accuracy in percent. Backbone" in told("base_to_new", "1")
    assert "Accuracy in percent, mean ± sample std over seeds. Backbone" in told("few_shot", "1,2")


def test_runs_that_were_tested_on_different_images(tmp_path: Path, specs: list[RunSpec]) -> None:
    told = "Not all runs were tested on the same images of emoji (new): compare no accuracies there."
    change(tmp_path, specs, lambda result, _: result["evaluations"][0].update(pictures_hash="a"))
    change(tmp_path, specs, lambda result, spec: result["evaluations"][1].update(pictures_hash="b"))
    assert "Not all runs" not in notes(tmp_path, specs)
    change(tmp_path, specs[:1], lambda result, spec: result["evaluations"][1].update(pictures_hash="c"))
    assert told in notes(tmp_path, specs)
    assert told in " ".join(
        skipbench("bench", "coop,skip", "--seeds", "1,2", "--results", str(tmp_path)).stdout.split()
    )


def test_data_sets_that_are_not_split_as_published_are_named(tmp_path: Path, specs: list[RunSpec]) -> None:
    assert "Not split as published" not in notes(tmp_path, specs)
    remark = "own split 50/20/30 by hash (no split_zhou_X.json)"
    change(tmp_path, specs[:1], lambda result, _: result.update(layout=["pictures in a/ (usually b/)", remark]))
    told = f"Not split as published, so not comparable with published numbers: emoji: {remark}."
    assert told in notes(tmp_path, specs)
