"""What the harness itself costs: planning and resuming 10,000 runs, and a run's time before its first step.

    python experiments/embedded/measure_harness.py [--runs 10000]

Finished runs are copies of one real result under the ids of the planned runs, in a temporary folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from harness.experiment.grid import expand, load_experiment
from harness.experiment.spec import RunSpec
from harness.results.files import to_json
from harness.results.folder import RunFolder
from harness.schedule import run_all

METHODS = ["finetune", "skip", "coop", "cocoop", "maple", "clip_adapter"]
DATASETS = ["emoji", "emoji-faces", "emoji-animals", "emoji-food", "emoji-travel"]
SHOTS = [1, 2, 4, 8, 16]


def write_experiment(path: Path, num_runs: int) -> list[RunSpec]:
    """An experiment of so many runs, over methods, data sets, shots and seeds; returns its runs."""
    seeds = num_runs // (len(METHODS) * len(DATASETS) * len(SHOTS)) + 1
    experiment = {"methods": METHODS, "datasets": DATASETS, "shots": SHOTS, "seeds": list(range(1, seeds + 1))}
    path.write_text(yaml.safe_dump(experiment))
    return expand(load_experiment(path))


def finish_all(specs: list[RunSpec], results: Path) -> None:
    """Give every run the result of a real one."""
    first = specs[0].model_copy(update={"train": specs[0].train.model_copy(update={"epochs": 1})})
    assert run_all([first], results) == []
    result = json.loads(RunFolder(results, first.id).result_file.read_text())
    for spec in specs:
        folder = RunFolder(results, spec.id)
        folder.create()
        about = {"id": spec.id, "name": spec.name, "spec": spec.settings()}
        folder.result_file.write_bytes(to_json({**result, **about}))


def seconds_of(*words: str) -> float:
    """Time that a command takes, from start to end; it must succeed."""
    begin = time.monotonic()
    subprocess.run([sys.executable, "-m", "harness", *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def overhead(results: Path, repeats: int) -> list[float]:
    """Seconds from the start of a run's process to the end of its set-up, for runs one after the other."""
    experiment = load_experiment(Path("experiments/bench.yaml"), {"methods": ["skip"], "seeds": range(1, repeats + 2)})
    specs = expand(experiment, {"train": {"epochs": 1}, "data": {"crop_scale": [0.5, 1.0]}})
    started: dict[str, float] = {}
    took: dict[str, float] = {}

    def listen(spec: RunSpec, news: dict[str, object]) -> None:
        if "started" in news:
            started[spec.id] = time.monotonic()
        elif news.get("phase") == "train" and spec.id not in took:
            took[spec.id] = time.monotonic() - started[spec.id]

    assert run_all(specs, results, on_news=listen) == []
    # The first one waits for the server of processes to import torch.
    return [took[spec.id] for spec in specs[1:]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    options = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "disabled")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, results = folder / "many.yaml", folder / "results"
        specs = write_experiment(file, options.runs)
        print(f"{len(specs)} runs")
        print(f"plan, nothing computed      {seconds_of('plan', str(file), '--results', str(results)):6.2f} s")
        times = overhead(results / "overhead", 5)
        print(f"a run, start to first step  {min(times):6.2f} s to {max(times):.2f} s")
        finish_all(specs, results)
        print(f"run, all of them finished   {seconds_of('run', str(file), '--results', str(results)):6.2f} s")
        print(f"runs                        {seconds_of('runs', '--results', str(results)):6.2f} s")
        export = seconds_of("export", "--out", str(folder / "all.csv"), "--results", str(results))
        print(f"export                      {export:6.2f} s")


if __name__ == "__main__":
    main()
