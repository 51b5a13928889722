"""Seconds and memory that commands take on a results folder of many finished runs.

    python -m experiments.measure_scale
    python -m experiments.measure_scale --runs 10000 --rounds 3
    python -m experiments.measure_scale --beside ../other-checkout

The runs are a grid of five methods, two numbers of shots and many seeds on the embedded benchmark. Their results are
made up: those that come with the project, under other seeds. Each command is started as a user starts it; `planning`
and `resuming` are what a command does between reading an experiment and the first run, in a process that has imported
everything. Other checkouts of the project are measured in turn with this one, on results folders of their own.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.measured_process import Cost, measured
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.spec import RunSpec

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "results" / "embedded" / "runs"
METHODS = ("skip", "coop", "clip_adapter", "finetune", "kgcoop")
SHOTS = (1, 4)
COMMANDS = ("bench", "plan", "runs", "table", "report", "export")
NO_INDEX = "first "
WIDE = {"COLUMNS": "200"}
# What a process does that has imported everything: plan, then ask what is left to compute.
IN_PROCESS = """
import json, sys, time
from pathlib import Path
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.registry import method_class
from harness.schedule import unfinished
import harness.training.inputs
file, results = Path(sys.argv[1]), Path(sys.argv[2])
experiment = load_experiment(file)
for method in experiment.methods:
    method_class(method)
start = time.perf_counter()
specs = [item.spec for item in plan_grid(experiment)]
planned = time.perf_counter()
left = unfinished(specs, results)
print(json.dumps([planned - start, time.perf_counter() - planned, len(left)]))
"""


def write_experiment(path: Path, runs: int) -> None:
    """An experiment of so many runs."""
    seeds = runs // (len(METHODS) * len(SHOTS))
    content = {"protocol": "few_shot", "methods": METHODS, "shots": SHOTS, "seeds": f"1..{seeds}"}
    path.write_text(json.dumps(content))


def write_results(folder: Path, specs: Sequence[RunSpec]) -> None:
    """Finished runs with made-up results: those of the same method and shots, with other accuracies."""
    known: dict[tuple[str, int], dict[str, Any]] = {}
    for file in sorted(EMBEDDED.glob("*/result.json")):
        result = json.loads(file.read_bytes())
        spec = result["spec"]
        if spec["protocol"] == "few_shot" and spec["data"]["dataset"] == "emoji":
            known.setdefault((spec["method"], spec["data"]["shots"]), result)
    draw = random.Random(0)
    for spec in specs:
        result = dict(known[spec.method, spec.data.shots])
        moved = [dict(item, accuracy=round(item["accuracy"] + draw.gauss(0, 0.5), 4)) for item in result["evaluations"]]
        result |= {"id": spec.id, "name": spec.name, "spec": spec.settings(), "evaluations": moved}
        run = folder / "runs" / spec.id
        run.mkdir(parents=True)
        (run / "result.json").write_text(json.dumps(result, indent=1))


def measure(checkout: Path, results: Path, experiment: Path, rows: dict[str, list[Cost]]) -> None:
    """One round: every command once, the first of them without an index."""
    for index in results.glob("index*"):
        index.unlink()
    for name in (f"{NO_INDEX}runs", *COMMANDS):
        words = [name.removeprefix(NO_INDEX), "--results", str(results)]
        if name == "bench":
            words = ["bench", "--experiment", str(experiment), "--results", str(results)]
        elif name == "plan":
            words = ["plan", str(experiment), "--results", str(results)]
        elif name == "export":
            words += ["--out", str(results / "all.csv")]
        cost, _ = measured(["-m", "harness", *words], checkout, WIDE)
        rows.setdefault(name, []).append(cost)
    _, text = measured(["-c", IN_PROCESS, str(experiment), str(results)], checkout, WIDE)
    planning, resuming, left = json.loads(text)
    assert left == 0
    for name, seconds in (("planning", planning), ("resuming", resuming)):
        rows.setdefault(name, []).append(Cost(seconds, seconds))


def main() -> None:
    """Make the runs, measure in turn, and print a table for each checkout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another checkout of the project")
    asked = parser.parse_args()
    checkouts = [ROOT, *(path.resolve() for path in asked.beside)]
    with tempfile.TemporaryDirectory() as name:
        experiment = Path(name) / "many.yaml"
        write_experiment(experiment, asked.runs)
        specs = [item.spec for item in plan_grid(load_experiment(experiment))]
        rows: list[dict[str, list[Cost]]] = [{} for _ in checkouts]
        for number in range(len(checkouts)):
            write_results(Path(name) / str(number), specs)
        print(f"{len(specs)} runs, {asked.rounds} rounds; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for _ in range(asked.rounds):
            for number, checkout in enumerate(checkouts):
                measure(checkout, Path(name) / str(number), experiment, rows[number])
    for checkout, found in zip(checkouts, rows, strict=True):
        print(f"\n{'this checkout' if checkout == ROOT else checkout.name:24}{'wall s':>10}{'CPU s':>10}{'MiB':>10}")
        for what, costs in found.items():
            wall, cpu, mib = (statistics.median(values) for values in zip(*costs, strict=True))
            memory = f"{mib:10.0f}" if mib else ""
            print(f"{what:24}{wall:10.2f}{cpu:10.2f}{memory}", flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
