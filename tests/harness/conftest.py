"""Results folders with made-up numbers, in the form that runs leave behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from harness.experiment.templates import templates_of
from tests.made_up_results import MIB, evaluation, result_json, write_result

Finish = Callable[..., None]


@pytest.fixture
def plan_runs() -> Callable[..., list[RunSpec]]:
    """Specs of an experiment: plan_runs(protocol, methods=[...], ...)."""

    def make(protocol: str, *overrides: str, **changes: Any) -> list[RunSpec]:
        grid = {"protocol": protocol, "methods": ["zeroshot", "coop", "skip"], "backbone": "clip-emoji", **changes}
        return expand(load_experiment(EXPERIMENTS / "bench.yaml", grid), parse_overrides(overrides))

    return make


@pytest.fixture
def finish() -> Finish:
    """Put a complete run into a results folder: finish(results, spec, {"base": 60.0, ...}, train_seconds=3.0)."""

    def make(
        results: Path,
        spec: RunSpec,
        accuracies: dict[str, float],
        train_seconds: float = 2.0,
        train_mib: float = 20.0,
        device: str = "cpu",
    ) -> None:
        trains = spec.train.epochs > 0
        costs = {"images_per_second": 100.0, "images": 10}
        phases = {
            "setup": {"seconds": 0.5, "peak_tensor_bytes": 5 * MIB, "images": 0},
            "cache": {"seconds": 1.0 if trains else 0.0, "peak_tensor_bytes": 9 * MIB, **costs},
            "train": {
                "seconds": train_seconds if trains else 0.0,
                "peak_tensor_bytes": train_mib * MIB if trains else None,
                **costs,
            },
            "evaluate": {"seconds": 1.5, "peak_tensor_bytes": 8 * MIB, **costs},
        }
        rng = np.random.default_rng(int(spec.id, 16) % 2**32)
        evaluations = [
            evaluation(
                spec,
                name,
                accuracy,
                template=templates_of(spec, next(item.dataset for item in spec.evaluate if item.name == name)),
                per_class={f"class {n}": float(value) for n, value in enumerate(rng.uniform(0, 100, 6).round(2))},
                images=60,
            )
            for name, accuracy in accuracies.items()
        ]
        facts = {
            "evaluations": evaluations,
            "method_facts": {},
            "sample": {"hash": str(spec.sample_seed), "train_images": 10, "val_images": 2, "broken_images": []},
            "environment": {"device": device, "torch": "2.9.0", "skipbench": "0.1.0", "git_commit": "abcdef012345"},
        }
        content = result_json(spec, accuracies, phases, **facts)
        content["costs"]["trainable_parameters"] = 10 if trains else 0
        folder = write_result(results, content)
        lines = [{"epoch": epoch, "loss": 2.0 / (epoch + 1), "lr": 0.1} for epoch in range(spec.train.epochs)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return make


@pytest.fixture
def fill(finish: Finish) -> Callable[..., dict[str, dict[str, float]]]:
    """Finish runs with random accuracies; returns run id -> evaluation -> accuracy."""

    def make(results: Path, specs: list[RunSpec], seed: int = 0) -> dict[str, dict[str, float]]:
        rng = np.random.default_rng(seed)
        found = {}
        for spec in specs:
            found[spec.id] = {item.name: float(rng.uniform(30, 90)) for item in spec.evaluate}
            finish(results, spec, found[spec.id], train_seconds=float(rng.uniform(1, 9)))
        return found

    return make
