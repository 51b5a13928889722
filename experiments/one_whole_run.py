"""One run in a process of its own, every phase timed in CPU seconds, too: what `measure_whole_run` starts.

    python experiments/one_whole_run.py METHOD on|off SHOTS RESULTS [KEY=VALUE...]

It is started as a file, so that it can run the code of another checkout, which PYTHONPATH names. Prints JSON: of each
phase that computed something wall seconds, CPU seconds and peak MiB, and the accuracies.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import harness.training.evaluate
import harness.training.feature_cache
import harness.training.run
from harness.clip.towers import CLIP, END, Stage
from harness.estimate.batches import choose_batches
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides, read_yaml
from harness.experiment.spec import RunSpec
from harness.machine.costs import PhaseCosts
from harness.machine.meter import Meter
from harness.reference.speed.spec import Row
from harness.training.inference import encode_texts
from harness.training.precision import autocast
from harness.training.run import Run
from methods.base import Method

OFF = "off"
# No cache of frozen stages, and none on disk.
WITHOUT_CACHE = {"train": {"cache": "none"}}
MIB = 2**20


def time_phases(seconds: Counter[str]) -> None:
    """Add the CPU seconds of every phase of all meters from now on to a counter."""
    original = Meter.phase

    @contextmanager
    def phase(self: Meter, name: str, *args: Any, **kwargs: Any) -> Iterator[PhaseCosts]:
        measured: AbstractContextManager[PhaseCosts] = original(self, name, *args, **kwargs)
        start = time.process_time()
        with measured as costs:
            yield costs
        seconds[name] += time.process_time() - start

    Meter.phase = phase  # type: ignore[method-assign]


def reference_row(method: str) -> Row:
    """What the official code of a method keeps, according to `experiments/speed.yaml`."""
    rows = [Row(**row) for row in read_yaml(EXPERIMENTS / "speed.yaml")["rows"] if row["method"] == method]
    return rows[0] if rows else Row(method=method)


def compute_as_reference(row: Row) -> None:
    """Let runs of this process compute as the reference code does, with the same mathematics."""
    run, cache, evaluation = harness.training.run, harness.training.feature_cache, harness.training.evaluate
    build_clip, build_method, run_frozen = run.build_clip, run.build_method, cache.run_frozen
    keeps_texts = row.reference_caches or row.reference_texts_once

    def clip_without_speedups(*args: Any) -> CLIP:
        clip = build_clip(*args)
        clip.speedups.switch_off()
        return clip

    def method_with_texts(*args: Any, **kwargs: Any) -> Method:
        # The last argument says whether frozen texts are kept.
        return build_method(*args[:6], cache_text=keeps_texts)

    @torch.no_grad()
    def whole_tower(clip: CLIP, pixels: Tensor, stage: Stage, precision: str) -> Tensor:
        tokens = run_frozen(clip, pixels, stage, precision)
        if stage < END:
            with autocast(precision, clip.device):
                clip.image.run(tokens, stage, END)
        return tokens

    def encoding_texts(classify: Any) -> Any:
        @wraps(classify)
        def classified(method: Method, x: Tensor, text: Tensor, precision: str) -> Tensor:
            return classify(method, x, encode_texts(method, precision), precision)

        return classified

    run.build_clip, run.build_method = clip_without_speedups, method_with_texts
    if row.reference_caches:
        cache.run_frozen = whole_tower
    if not keeps_texts:
        evaluation.classify = encoding_texts(evaluation.classify)
        evaluation.classify_features = encoding_texts(evaluation.classify_features)


def spec_of(method: str, shots: int, settings: Sequence[str], row: Row | None) -> RunSpec:
    """The run of the embedded benchmark with seed 1; with a row, as its official code caches."""
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": method, "seeds": "1", "shots": [shots]})
    experiment = experiment.with_settings(parse_overrides(list(settings)), "measure_whole_run")
    if row and not row.reference_caches:
        experiment = experiment.with_settings(WITHOUT_CACHE, "measure_whole_run")
    return plan_grid(experiment)[0].spec


def main() -> None:
    """Compute one run, and print what its phases took."""
    method, setting, shots, results, *settings = sys.argv[1:]
    row = reference_row(method) if setting == OFF else None
    if row:
        compute_as_reference(row)
    cpu: Counter[str] = Counter()
    time_phases(cpu)
    spec = spec_of(method, int(shots), settings, row)
    run = Run(spec, Path(results)) if row else Run(spec, Path(results), choose=choose_batches)
    run.execute()
    result = json.loads((run.folder.path / "result.json").read_bytes())
    phases = {
        name: {
            "wall": found["seconds"],
            "cpu": cpu[name],
            "mib": (found["peak_allocated_bytes"] or found["peak_tensor_bytes"] or 0) / MIB,
        }
        for name, found in result["costs"]["phases"].items()
        if found["seconds"]
    }
    accuracies = [item["accuracy"] for item in result["evaluations"]]
    print(json.dumps({"phases": phases, "accuracies": accuracies}))


if __name__ == "__main__":
    main()
