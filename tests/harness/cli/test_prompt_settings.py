"""Ensembles and class descriptions as a user asks for them."""

import json
from pathlib import Path

from harness.data.templates import DRAWINGS
from tests.commands import error_line, results_of, skipbench

WORDS = ("bench", "zeroshot", "--protocol", "base_to_new_validation")


def test_the_recipe_ensemble_of_zero_shot_clip_works(tmp_path: Path) -> None:
    words = (*WORDS, "--recipe", "official,ensemble", "--results", str(tmp_path))
    done = skipbench(*words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = {line.split()[-5]: line.split() for line in lines if "official " in line or "ensemble " in line}
    assert {"official", "ensemble"} <= set(rows)
    assert '"drawings"' in done.stdout
    found = {tuple(item["evaluations"][0]["template"]) for item in map(json.loads, read_results(tmp_path))}
    assert DRAWINGS in found
    again = skipbench(*words)
    assert "2 of 2 runs are complete already." in again.stdout


def read_results(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob("runs/*/result.json")]


def test_descriptions_from_the_example_work_and_stand_in_the_table(tmp_path: Path) -> None:
    file = "experiments/descriptions/emoji.json"
    done = skipbench(*WORDS, f"data.templates=[[zeroshot],[{file}]]", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f" {file} " in done.stdout
    assert "descriptions of emoji.json" in done.stdout
    dry = skipbench(*WORDS, "--dry-run", f"data.templates={file}", "--results", str(tmp_path / "other"))
    assert dry.returncode == 0, dry.stderr
    assert f"data.templates={file}" in dry.stdout
    assert len(results_of(tmp_path)) == 1  # both have one name


def test_a_class_without_descriptions_ends_the_run_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("mammals:\n- a drawing of an animal.\n")
    done = skipbench(*WORDS, f"data.templates={file}", "--results", str(tmp_path))
    assert done.returncode == 1
    assert "own.yaml' has no descriptions of class 'sea animal or reptile' (nor of 11 more classes)" in done.stderr
    assert "Known: mammals." in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_mistakes_are_told_before_any_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"cat": "a cat"}')
    results = ("--results", str(tmp_path))
    assert "class 'cat' has no list of sentences" in error_line(*WORDS, f"data.templates={broken}", *results)
    both = ("bench", "zeroshot,skip", "data.templates=imagenet_7", *results)
    assert error_line(*both).startswith(
        "error: skip trains what encodes the texts, so that it takes one prompt a class"
    )
    assert not list(tmp_path.glob("runs/*"))


def test_methods_with_words_of_their_own_say_that_templates_have_no_effect(tmp_path: Path) -> None:
    done = skipbench("bench", "coop", "--dry-run", "data.templates=imagenet_7", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "data.templates has no effect: coop has prompts of its own" in done.stdout + done.stderr


def test_ensembles_are_listed() -> None:
    lines = skipbench("list").stdout.splitlines()
    assert sum(line.startswith("templates imagenet_7 ") for line in lines) == 1
    assert any(line.startswith("recipe    zeroshot ") and "official, ensemble" in line for line in lines)
