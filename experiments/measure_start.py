"""Seconds before a command does its work: imports, processes that start, and what a warm process needs for a run.

    python -m experiments.measure_start
    python -m experiments.measure_start --rounds 5 --beside ../other-checkout

Every line is a process of its own, started as a user starts it. Runs that are computed get an empty results folder with
its own stores of features and pictures, so that nothing is found from the round before. All lines are measured in turn
in each round, and other checkouts of the project in turn with this one; the median counts. CPU seconds are those of the
process and of all that it started, the server of runs included. Linux only.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.measured_process import Cost, adopt_orphans, measured

ROOT = Path(__file__).parents[1]
HARNESS = ("-m", "harness")
BENCH = (*HARNESS, "bench")
# Name of a line -> words of Python; {results} is an empty folder.
LINES: dict[str, tuple[str, ...]] = {
    "import torch": ("-c", "import torch"),
    "import harness.training.run": ("-c", "import harness.training.run"),
    "skipbench --help": (*HARNESS, "--help"),
    "skipbench list": (*HARNESS, "list"),
    "skipbench plan": (*HARNESS, "plan", "--results", "{results}"),
    "bench zeroshot": (*BENCH, "zeroshot", "--results", "{results}"),
    "six runs of CoOp and CLIP-Adapter": (*BENCH, "coop,clip_adapter", "--results", "{results}"),
}
# What a run's process does from its start to its first report.
WARM = """
import inspect, json, sys, time
from pathlib import Path
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.recipes import EXPERIMENTS
from harness.schedule.worker import Attempt

def first_event(spec):
    start = time.perf_counter()
    # Earlier checkouts have one run for each attempt.
    several = "specs" in inspect.signature(Attempt).parameters
    attempt = Attempt([spec] if several else spec, Path(sys.argv[1]), None)
    attempt.connection.poll(None)
    seconds = time.perf_counter() - start
    attempt.stop()
    return seconds

if __name__ == "__main__":
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": "zeroshot,coop"})
    cold, *warm = [first_event(item.spec) for item in plan_grid(experiment)]
    print(json.dumps([cold, sorted(warm)[len(warm) // 2]]))
"""


def stores_in(folder: Path) -> dict[str, str]:
    """Variables of a process whose stores are in a folder."""
    names = {"SKIPBENCH_FEATURES": "features", "SKIPBENCH_PICTURES": "pictures"}
    return {"WANDB_MODE": "offline", **{variable: str(folder / name) for variable, name in names.items()}}


def work_in(results: Path) -> float:
    """Wall seconds of all phases of the runs in a results folder: what the method and its evaluation take."""
    found = [json.loads(path.read_bytes()) for path in results.glob("runs/*/result.json")]
    return sum(phase["seconds"] for result in found for phase in result["costs"]["phases"].values())


def measure(checkout: Path, rows: dict[str, list[Cost]], only: Sequence[str]) -> None:
    """One round."""
    for name in only:
        with tempfile.TemporaryDirectory() as folder:
            words = [word.format(results=folder) for word in LINES[name]]
            computes = "bench" in words
            cost, _ = measured(words, checkout, stores_in(Path(folder)))
            rows.setdefault(name, []).append(cost)
            if computes:
                rows.setdefault(f"  of it phases of runs ({name})", []).append(Cost(work_in(Path(folder))))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "warm.py"
        script.write_text(WARM)
        _, text = measured([str(script), folder], checkout, stores_in(Path(folder)))
        for name, seconds in zip(("first run, to its setup", "next run, to its setup"), json.loads(text), strict=True):
            rows.setdefault(name, []).append(Cost(seconds))


def main() -> None:
    """Measure in turn, and print a table for each checkout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(LINES), help="some of the lines, separated by commas")
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another checkout of the project")
    asked = parser.parse_args()
    adopt_orphans()
    checkouts = [ROOT, *(path.resolve() for path in asked.beside)]
    rows: list[dict[str, list[Cost]]] = [{} for _ in checkouts]
    print(f"{asked.rounds} rounds; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for _ in range(asked.rounds):
        for number, checkout in enumerate(checkouts):
            measure(checkout, rows[number], asked.only.split(","))
    for checkout, found in zip(checkouts, rows, strict=True):
        print(f"\n{'this checkout' if checkout == ROOT else checkout.name:64}{'wall s':>10}{'CPU s':>10}")
        for what, costs in found.items():
            wall, cpu, _ = (statistics.median(values) for values in zip(*costs, strict=True))
            print(f"{what:64}{wall:10.2f}" + (f"{cpu:10.2f}" if cpu else ""), flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
