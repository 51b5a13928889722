"""Runs that share features give the results that each gives alone, and say what they were spared."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.clip.towers import CLIP
from harness.experiment.spec import RunSpec
from harness.training import shared_features
from harness.training.events import Event, Notice
from harness.training.run import Run

Make = Callable[..., RunSpec]
Execute = Callable[..., tuple[dict[str, Any], dict[str, torch.Tensor]]]
QUICK = ("train.epochs=2", "train.batch_size=4", "wandb.mode=disabled")

FITTED = '''
"""Class means of three views, mixed with the texts by a weight that is chosen on validation images."""

import torch

from methods.base import END, Method, first_best


class Means(Method):
    trains = False

    def fit(self, shots):
        means = [shots.x[:, shots.labels == label].mean(dim=(0, 1)) for label in range(int(shots.labels.max()) + 1)]
        self.register_buffer("means", torch.stack(means))
        self.register_buffer("weight", torch.tensor(0.0))

    def search(self):
        return (yield from first_best({"weight": value} for value in (0.0, 0.5, 1.0)))

    def logits(self, x, text):
        return super().logits(x, text + self.weight * self.means)
'''
POOLED_METHOD = '''
"""The projection trains, from the pooled tokens on."""

import torch

from harness.clip.towers import END, POOLED
from methods.base import Method


class Projection(Method):
    def start_stages(self):
        return POOLED, END

    def build(self):
        self.clip.image.proj.requires_grad_(True)
'''


class Calls:
    """Counts what the frozen image tower computes, in pictures, apart from probes of whole batches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures = 0
        original = shared_features.run_frozen

        def counted(clip: CLIP, pixels: torch.Tensor, stage: int, precision: str) -> torch.Tensor:
            self.pictures += len(pixels)
            return original(clip, pixels, stage, precision)

        monkeypatch.setattr(shared_features, "run_frozen", counted)


@pytest.fixture
def spec(make_spec: Callable[..., RunSpec], tiny: Path) -> Make:
    """Spec of a run on a tiny backbone that is evaluated on a few images."""

    def make(method: str, *overrides: str, shots: int) -> RunSpec:
        whole = make_spec(method, *QUICK, *overrides, shots=shots)
        few = tuple(item.model_copy(update={"splits": ("val",)}) for item in whole.evaluate[:1])
        return whole.model_copy(update={"evaluate": few, "backbone": str(tiny)})

    return make


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Execute:
    """Execute a run in a folder of its own: result and trained tensors."""
    from safetensors.torch import load_file

    def execute(spec: RunSpec, told: list[str] | None = None) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        def report(event: Event) -> None:
            if isinstance(event, Notice) and told is not None:
                told.append(event.text)

        results = tmp_path / "results"
        shutil.rmtree(results, ignore_errors=True)
        done = Run(spec, results, report)
        done.execute()
        checkpoint = done.folder.path / "checkpoint.safetensors"
        tensors = load_file(checkpoint) if checkpoint.exists() else {}
        return json.loads(done.folder.result_file.read_text()), tensors

    return execute


def scores(result: dict[str, Any]) -> list[tuple[float, float, dict[str, float]]]:
    return [(item["accuracy"], item["ece"], item["per_class"]) for item in result["evaluations"]]


@pytest.mark.parametrize("method", ["zeroshot", "clip_adapter", "means", "projection"])
def test_results_are_the_same_without_a_store_and_with_one_cold_warm_or_half_filled(
    spec: Make,
    run: Execute,
    add_method: Callable[[str, str], None],
    tmp_path: Path,
    calls: Calls,
    method: str,
) -> None:
    add_method("means", FITTED)
    add_method("projection", POOLED_METHOD)
    options = [f"runtime.feature_store={tmp_path / 'store'}"]
    options += ["train.fit_views=3"] if method == "means" else []
    off, trained = run(spec(method, *options, "runtime.feature_store_mib=0", shots=4))
    assert calls.pictures > 0
    assert not list((tmp_path / "store").glob("*.safetensors"))
    if method != "zeroshot":
        run(spec(method, *options, shots=2))  # half of the pictures
    for state in ("half-filled or cold", "warm"):
        calls.pictures = 0
        found, weights = run(spec(method, *options, shots=4))
        assert scores(found) == scores(off), state
        assert found["selection"] == off["selection"]
        assert weights.keys() == trained.keys()
        for name, value in weights.items():
            assert torch.equal(value, trained[name]), f"{name}, {state}"
        for name, phase in found["costs"]["phases"].items():
            alone = off["costs"]["phases"][name]
            assert phase["images"] == alone["images"]
            assert phase["peak_tensor_bytes"] == alone["peak_tensor_bytes"]
    assert calls.pictures == 0
    assert [name for name, phase in off["costs"]["phases"].items() if phase["shared_seconds"]] == []


def test_a_run_says_what_it_was_spared(spec: Make, run: Execute, tmp_path: Path) -> None:
    plan = spec("clip_adapter", f"runtime.feature_store={tmp_path / 'store'}", shots=4)
    phases = [run(plan)[0]["costs"]["phases"] for _ in range(3)]
    for name in ("cache", "evaluate"):
        cold, warm, again = (phase[name] for phase in phases)
        assert cold["shared_seconds"] is None
        assert 0.5 * cold["seconds"] < warm["shared_seconds"] <= cold["seconds"]
        assert warm["seconds"] < 0.5 * cold["seconds"]
        assert again["shared_seconds"] == warm["shared_seconds"]
        whole = warm["seconds"] + warm["shared_seconds"]
        assert warm["images_per_second"] == pytest.approx(warm["images"] / whole)
    assert phases[1]["train"]["shared_seconds"] is None


def test_other_methods_shots_and_selections_share(
    spec: Make,
    run: Execute,
    add_method: Callable[[str, str], None],
    tmp_path: Path,
    calls: Calls,
) -> None:
    add_method("means", FITTED)
    place = f"runtime.feature_store={tmp_path / 'store'}"
    run(spec("clip_adapter", place, shots=4))
    calls.pictures = 0
    run(spec("zeroshot", place, shots=4))
    run(spec("clip_adapter", place, "train.lr=0.1", "train.batch_size=2", shots=2))
    assert calls.pictures == 0
    run(spec("means", place, "train.views=2", shots=4))
    assert calls.pictures == 0
    run(spec("means", place, "train.views=2", "select.shots=2", shots=4))
    assert calls.pictures == 0
    run(spec("clip_adapter", place, "train.precision=bf16", shots=4))
    assert calls.pictures > 2 * 4 * 23


def test_without_a_cache_the_store_is_neither_read_nor_written(spec: Make, run: Execute, tmp_path: Path) -> None:
    place = f"runtime.feature_store={tmp_path / 'store'}"
    run(spec("clip_adapter", place, "train.cache=none", shots=1))
    assert not list((tmp_path / "store").glob("*.safetensors"))


def test_methods_that_train_the_tower_have_nothing_to_share(spec: Make, run: Execute, tmp_path: Path) -> None:
    found, _ = run(spec("skip", "skip.depth=1", f"runtime.feature_store={tmp_path / 'store'}", shots=1))
    assert not list((tmp_path / "store").glob("*.safetensors"))
    assert all(not phase["shared_seconds"] for phase in found["costs"]["phases"].values())


def test_a_store_that_cannot_be_written_is_told_once_and_changes_nothing(
    spec: Make, run: Execute, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    told: list[str] = []
    words = ("clip_adapter",)
    found, _ = run(spec(*words, f"runtime.feature_store={tmp_path / 'file' / 'store'}", shots=1), told)
    off, _ = run(spec(*words, "runtime.feature_store_mib=0", shots=1))
    assert scores(found) == scores(off)
    assert len([line for line in told if "features cannot be kept" in line]) == 1


def test_where_features_are_kept_is_no_part_of_an_id(spec: Make) -> None:
    plain = spec("clip_adapter", shots=4)
    assert plain.id == spec("clip_adapter", "runtime.feature_store=/x", "runtime.feature_store_mib=0", shots=4).id
