"""How far rounding moves a result: moves of one unit in the last place, what is compared, and the verdict."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_class, method_names
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from harness.reference.stability.measurement import Stability, measure, recipes_of, summarise
from harness.reference.stability.training import DOWN, NOT_MOVED, UP, Ending, Repeated, move_weights, trained_values
from harness.report.stability_table import stability_table
from harness.results.folder import RunFolder
from harness.results.rounding import read_rounding
from harness.training.run import Run
from tests.commands import skipbench
from tests.fitted_methods import HEAD, PROTOTYPES, SEARCHED

QUICK = ("train.epochs=2", "train.warmup_epochs=0", "runtime.threads=1", "wandb.mode=disabled")


def specs_of(methods: str, *words: str, shots: int = 1, seeds: tuple[int, ...] = (1,)) -> list[RunSpec]:
    changes = {"methods": methods, "shots": [shots], "seeds": list(seeds), "protocol": "base_to_new_validation"}
    return expand(load_experiment(EXPERIMENTS / "bench.yaml", changes), parse_overrides([*QUICK, *words]))


def test_every_trained_value_moves_by_one_unit_in_the_last_place() -> None:
    (spec,) = specs_of("coop")
    vectors = {}
    for move in (NOT_MOVED, UP, DOWN, 3, 4, 3):
        method = Run(spec, Path()).set_up().method
        move_weights(method, move)
        vectors[move] = trained_values(method).float()
    start = vectors[NOT_MOVED]
    up, down = (torch.nextafter(start, torch.full_like(start, sign * torch.inf)) for sign in (1, -1))
    assert torch.equal(vectors[UP], up)
    assert torch.equal(vectors[DOWN], down)
    for move in (3, 4):
        assert bool(((vectors[move] == up) | (vectors[move] == down)).all())
        # Half of them in each direction, about.
        assert 0.4 < float((vectors[move] == up).float().mean()) < 0.6
    assert not torch.equal(vectors[3], vectors[4])


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("maple", []),
        ("clip_adapter", []),
        # Beside its images are those of the untouched CLIP.
        (
            "promptsrc",
            [*(f"promptsrc.depth_{tower}=1" for tower in ("text", "image")), "data.teacher_templates=zeroshot"],
        ),
    ],
)
def test_a_training_that_is_not_moved_is_that_of_bench(method: str, words: list[str], tmp_path: Path) -> None:
    (spec,) = specs_of(method, "train.batch_size=4", *words)
    spec = spec.model_copy(update={"evaluate": spec.evaluate[:1]})
    Run(spec, tmp_path).execute()
    folder = RunFolder(tmp_path, spec.id)
    result = folder.read_result()
    run = Repeated(spec)
    # The second one trains on the recorded images of the first.
    first, second, moved = run.train(), run.train(), run.train(UP)
    for ending in (first, second):
        assert ending.accuracies == result.accuracies
        assert torch.equal(ending.after, first.after)
    assert 0 < first.weights_apart(moved) < 0.1
    assert first.weights_apart(second) == 0


def test_a_fitted_method_is_moved_after_its_fit_and_keeps_its_best_epoch(
    add_method: Callable[[str, str], None], tmp_path: Path
) -> None:
    add_method("head", HEAD)
    (spec,) = specs_of("head", "train.batch_size=4", "train.lr=0.3", "select.epoch=first_best")
    spec = spec.model_copy(update={"evaluate": spec.evaluate[:1]})
    Run(spec, tmp_path).execute()
    result = RunFolder(tmp_path, spec.id).read_result()
    run = Repeated(spec)
    first, moved = run.train(), run.train(UP)
    assert first.accuracies == result.accuracies
    # The start is what was fitted, one unit in the last place away.
    assert 0 < float((moved.before - first.before).abs().max()) < 1e-6
    assert float(first.before.norm()) > 1
    assert 0 < first.weights_apart(moved) < 0.1


@pytest.mark.parametrize(("name", "code"), [("prototypes", PROTOTYPES), ("searched", SEARCHED)])
def test_a_closed_form_has_seeds_and_nothing_to_move(
    name: str, code: str, add_method: Callable[[str, str], None], tmp_path: Path
) -> None:
    add_method(name, code)
    specs = [spec.model_copy(update={"evaluate": spec.evaluate[:1]}) for spec in specs_of(name, seeds=(1, 2))]
    (found,) = measure(recipes_of(specs), moves=3)
    assert (found.moves, len(found.scores), found.verdict) == (0, 2, "nothing trains")
    Run(specs[0], tmp_path).execute()
    assert RunFolder(tmp_path, specs[0].id).read_result().accuracies["base"] == found.scores[0]


def ending(base: float, new: float, *after: float) -> Ending:
    score = 2 * base * new / (base + new)
    return Ending({"base": base, "new": new}, score, torch.zeros(len(after)).double(), torch.tensor(after).double())


def test_what_is_compared_and_the_verdict() -> None:
    specs = specs_of("coop", seeds=(1, 2))
    endings = [
        [ending(50, 50, 3.0, 4.0), ending(50, 50, 3.0, 4.0), ending(50, 52, 3.0, 4.5)],
        [ending(60, 60, 3.0, 4.0), ending(61, 60, 3.5, 4.0), ending(60, 60, 3.0, 4.0)],
    ]
    found = summarise(specs, "coop", endings)
    assert (found.seeds, found.moves, found.metric, found.scores) == ((1, 2), 2, "H", (50.0, 60.0))
    assert found.score == 55.0
    assert found.spread == pytest.approx(7.0711, abs=1e-4)
    assert found.accuracy_moves == {"base": 1.0, "new": 2.0}
    assert found.score_moves == pytest.approx(2 * 50 * 52 / 102 - 50)
    assert found.weights_apart == pytest.approx(0.1)
    # Each run by its id, as tables look it up.
    assert [(one.run, one.moves, one.score) for one in found.runs] == [(specs[0].id, 2, 50.0), (specs[1].id, 2, 60.0)]
    assert [one.accuracy_moves for one in found.runs] == [{"base": 0.0, "new": 2.0}, {"base": 1.0, "new": 0.0}]
    # The metric moves by less than its spread over seeds, but the weights do not end in the same place.
    assert found.verdict == "sensitive"
    assert replace(found, weights_apart=0.001).verdict == "stable"
    # Rounding moves it as far as seeds do.
    assert replace(found, spread=0.9).verdict == "chaotic"
    assert replace(found, spread=None).verdict == "one seed: no spread"
    assert replace(found, spread=0.0, score_moves=0.0, weights_apart=1e-6).verdict == "stable"
    (row,) = stability_table([found]).to_dict("records")
    assert row == {
        "method": "coop", "seeds": "2", "moves": "2", "H": "55.00", "std": "7.07", "H moves": "0.98",
        "base moves": "1.00", "new moves": "2.00", "weights": "1e-01", "verdict": "sensitive",
    }  # fmt: skip


def test_recipes_are_told_apart_by_what_differs() -> None:
    specs = specs_of("coop,zeroshot", "train.lr=1e-3,2e-3", seeds=(1, 2))
    assert {label: len(runs) for label, runs in recipes_of(specs).items()} == {
        "coop train.lr=0.001": 2,
        "coop train.lr=0.002": 2,
        "zeroshot": 1,
    }


def test_nothing_moves_where_nothing_trains() -> None:
    specs = specs_of("zeroshot")
    (found,) = measure(recipes_of(specs), moves=3)
    assert (found.moves, found.score_moves, found.verdict) == (0, 0.0, "nothing trains")


def test_the_command_prints_a_table_and_leaves_runs_alone(tmp_path: Path) -> None:
    words = ["stability", "clip_adapter", "--shots", "1", "--seeds", "1,2", "--protocol", "base_to_new_validation"]
    words += ["train.epochs=1", "train.warmup_epochs=0", "train.batch_size=4", "runtime.threads=1", "--moves", "1"]
    done = skipbench(*words, "--results", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].strip() == "base_to_new_validation, emoji, 1 shots, clip-emoji, 1 thread"
    assert lines[2].split()[:5] == ["method", "seeds", "moves", "H", "std"]
    assert lines[3].split()[:3] == ["clip_adapter", "2", "1"]
    assert lines[3].split()[-1] == "stable"
    path = tmp_path / "stability" / "clip_adapter-emoji-base_to_new_validation-clip-emoji.json"
    assert lines[-1] == f"JSON: {path}"
    kept = sorted((tmp_path / "stability" / "runs").glob("*.json"))
    assert len(kept) == 2
    assert all(read_rounding(tmp_path, item.stem) for item in kept)
    assert "runs" not in json.loads(path.read_text())["measured"][0]
    assert [item.relative_to(tmp_path).parts[0] for item in tmp_path.rglob("*") if item.is_file()] == ["stability"] * 3


def test_a_recipe_is_called_chaotic_with_exit_code_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from harness.reference.stability import measurement

    found = Stability("coop", "coop", "H", 1, (1, 2), 1, 50.0, (50.0, 50.1), 0.07, 0.5, {"base": 0.5}, 0.3)
    monkeypatch.setattr(measurement, "measure", lambda recipes, moves, report: iter([found]))
    done = skipbench("stability", "coop", "--results", str(tmp_path))
    assert done.returncode == 1
    assert "chaotic" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("method", [name for name in method_names() if method_class(name).trains])
def test_rounding_does_not_decide_what_a_recipe_of_the_embedded_benchmark_learns(method: str) -> None:
    changes = {"methods": method, "seeds": [1], "protocol": "base_to_new_validation"}
    (spec,) = expand(load_experiment(EXPERIMENTS / "bench.yaml", changes))
    assert spec.recipe == "clip-emoji"
    run = Repeated(spec)
    assert run.train().weights_apart(run.train(UP)) < 1e-3
