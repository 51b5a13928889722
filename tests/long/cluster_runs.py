"""What the long tests of clusters share: a small experiment, its processes, and results like those of one machine."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.results.claim import holder_of
from tests.chaos import assert_nothing_left
from tests.commands import parents, results_of, start, wait_for

# Starting torch takes long where others work too.
PATIENCE = 400.0
EXPERIMENT = """
methods: [clip_adapter]
datasets: [emoji]
shots: [1]
seeds: [1, 2, 3]
"""
SMALL = ("train.batch_size=8", "train.epochs=60", "schedule.threads=1", "schedule.time_limit=10m")
RUNS = 3


def command(folder: Path, results: Path, *words: str) -> list[str]:
    """The words of the command line that runs the experiment."""
    file = folder / "experiment.yaml"
    file.write_text(EXPERIMENT)
    return ["run", str(file), *SMALL, "--results", str(results), *words]


@contextmanager
def started(words: list[str], environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """The command while it runs; ended in any case."""
    process = start(*words, **{**environment, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def output_of(process: "subprocess.Popen[str]", code: int) -> str:
    """All that a command printed, once it has ended with that exit code."""
    output = "".join(process.communicate(timeout=PATIENCE))
    assert process.returncode == code, output
    return output


def training(results: Path, since: float = 0.0) -> list[Path]:
    """Folders of runs that are being trained now and have saved an epoch since then."""
    folders = [path.parent for path in results.glob("runs/*/progress.safetensors") if path.stat().st_mtime > since]
    return [folder for folder in folders if holder_of(folder)]


def wait_for_training(results: Path, count: int) -> list[Path]:
    """Wait until that many runs save epochs; their folders."""
    since = time.time()
    wait_for(lambda: len(training(results, since)) >= count, PATIENCE)
    return training(results, since)


def worker_of(folder: Path) -> int:
    """The cluster's process that sees to a run: the parent of the server from which the run's own was forked."""
    holder = holder_of(folder)
    assert holder is not None
    known = parents()
    return known[known[holder.pid]]


def variables_of(pid: int) -> dict[str, str]:
    """The environment of a process."""
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def accuracies(results: Path) -> dict[str, dict[str, float]]:
    """Accuracy of every evaluation of every complete run, by id."""
    return {
        result["id"]: {item["name"]: item["accuracy"] for item in result["evaluations"]}
        for result in results_of(results).values()
    }


def interruptions(results: Path) -> int:
    """How often runs were begun again."""
    return sum(result["interruptions"] for result in results_of(results).values())


def check_as_local(folder: Path, results: Path, output: str) -> None:
    """Assert that all runs are complete, equal to those of this machine alone, and that nothing else is left."""
    local = folder / "local"
    with started(command(folder, local, "--executor", "local"), os.environ) as process:
        output_of(process, code=0)
    assert len(accuracies(results)) == RUNS, output
    assert accuracies(results) == accuracies(local)
    assert_nothing_left(results)
