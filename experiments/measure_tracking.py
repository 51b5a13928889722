"""CPU seconds that tracking takes: a short run without it, with W&B offline, and with TensorBoard.

    python -m experiments.measure_tracking
    python -m experiments.measure_tracking --rounds 9 --method clip_adapter

Every run is a process of its own with an empty results folder and empty stores, and all are measured in turn in each
round. The medians count, and the difference is the median of the differences within a round. CPU seconds are those of
the process and of all that it started, the server of runs and W&B's service included. Prints a Markdown table.
What a package that is not installed would take is not measured, and a line says so.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.measure_start import ROOT, stores_in
from experiments.measured_process import Cost, adopt_orphans, measured

# Name of a line -> settings of the run.
WAYS: dict[str, tuple[str, ...]] = {
    "nothing": ("wandb.mode=disabled",),
    "W&B offline": ("wandb.mode=offline",),
    "TensorBoard": ("wandb.mode=disabled", "tracking.sinks=[tensorboard]"),
}
NEEDS = {"W&B offline": "wandb", "TensorBoard": "tensorboard"}


def words_of(way: str, method: str, settings: Sequence[str], results: str) -> list[str]:
    """The words of Python for one run."""
    return ["-m", "harness", "bench", method, "--seeds", "1", "--results", results, *WAYS[way], *settings]


def a_run(way: str, method: str, settings: Sequence[str]) -> Cost:
    """What one run takes, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(words_of(way, method, settings, folder), ROOT, stores_in(Path(folder)))[0]


def table(found: dict[str, list[Cost]]) -> list[str]:
    """The medians as lines of Markdown, with the differences from the line that tracks nothing."""
    plain = [cost.cpu for cost in found["nothing"]]
    lines = ["| tracked with | CPU s | more than with nothing, CPU s | wall s |", "|---|---:|---:|---:|"]
    for way, costs in found.items():
        more = statistics.median(cost.cpu - before for cost, before in zip(costs, plain, strict=True))
        cpu, wall = (statistics.median(values) for values in zip(*((one.cpu, one.wall) for one in costs), strict=True))
        lines.append(f"| {way} | {cpu:.2f} | {more:+.2f} | {wall:.2f} |")
    return lines


def main() -> None:
    """Measure in turn, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="clip_adapter")
    parser.add_argument("settings", nargs="*", default=["train.epochs=5"], help="of the run, such as train.epochs=5")
    asked = parser.parse_args()
    adopt_orphans()
    ways = [way for way in WAYS if way not in NEEDS or importlib.util.find_spec(NEEDS[way])]
    found: dict[str, list[Cost]] = {way: [] for way in ways}
    print(f"{asked.rounds} rounds of {asked.method} {' '.join(asked.settings)}; {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    for _ in range(asked.rounds):
        for way in ways:
            found[way].append(a_run(way, asked.method, asked.settings))
    print("\n".join(table(found)))
    for way in WAYS:
        if way not in ways:
            print(f"\nnot measured: {way}, since the package '{NEEDS[way]}' is not installed")


if __name__ == "__main__":
    main()
