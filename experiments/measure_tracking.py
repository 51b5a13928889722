"""CPU seconds that tracking takes: a short run without it, with W&B offline, and with TensorBoard.

    python -m experiments.measure_tracking
    python -m experiments.measure_tracking --rounds 9 --method clip_adapter

Every run is a process of its own with an empty results folder and empty stores, and all are measured in turn in each
round. The medians count, and the difference is the median of the differences within a round. CPU seconds are those of
the process and of all that it started, the server of runs and W&B's service included. Prints a Markdown table.
What a package that is not installed would take is not measured, and a line says so.
"""

import argparse
import ctypes
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from experiments.measure_start import ROOT, Cost

# Name of a line -> settings of the run.
WAYS: dict[str, tuple[str, ...]] = {
    "nothing": ("wandb.mode=disabled",),
    "W&B offline": ("wandb.mode=offline",),
    "TensorBoard": ("wandb.mode=disabled", "tracking.sinks=[tensorboard]"),
}
SET_CHILD_SUBREAPER = 36  # of prctl, linux/prctl.h
LONGEST_WAIT = 60.0
NEEDS = {"W&B offline": "wandb", "TensorBoard": "tensorboard"}


def words_of(way: str, method: str, settings: Sequence[str], results: str) -> list[str]:
    """The words of Python for one run."""
    return ["-m", "harness", "bench", method, "--seeds", "1", "--results", results, *WAYS[way], *settings]


def a_run(way: str, method: str, settings: Sequence[str]) -> Cost:
    """What one run takes, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, *words_of(way, method, settings, folder)]
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        wall = time.perf_counter() - start
        wait_for_orphans()
        after = os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Cost(wall, after.children_user + after.children_system - before.children_user - before.children_system)


def adopt_orphans() -> None:
    """Become the parent of processes that outlive theirs: the server of runs and W&B's service; Linux only."""
    if ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1):
        raise SystemExit("this system tells no CPU seconds of processes that outlive their parent")


def wait_for_orphans() -> None:
    """Wait until they have ended: only then their CPU seconds are told."""
    last = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < last:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.05)
        except ChildProcessError:
            return
    raise SystemExit(f"processes of a run have not ended after {LONGEST_WAIT:g} s")


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
