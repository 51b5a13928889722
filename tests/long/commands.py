"""What the long tests share: the real command line on a small experiment, and a look at its processes and results."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.results.claim import claims, holder_of
from harness.results.record import read_result, result_files

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
    """The command line that runs the experiment."""
    file = folder / "experiment.yaml"
    file.write_text(EXPERIMENT)
    return [sys.executable, "-m", "harness", "run", str(file), *SMALL, "--results", str(results), *words]


@contextmanager
def started(words: list[str], environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """The command while it runs; ended in any case."""
    environment = {**environment, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    process = subprocess.Popen(
        words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    """What is found in the end; a failed test if nothing is."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {PATIENCE:g} s")


def training(results: Path, since: float = 0.0) -> list[Path]:
    """Folders of runs that are being trained now and have saved an epoch since then."""
    folders = [path.parent for path in results.glob("runs/*/progress.safetensors") if path.stat().st_mtime > since]
    return [folder for folder in folders if holder_of(folder)]


def wait_for_training(results: Path, count: int) -> list[Path]:
    """So many runs that save epochs from now on."""
    since = time.time()

    def found() -> list[Path]:
        folders = training(results, since)
        return folders if len(folders) >= count else []

    folders: list[Path] = wait_for(f"{count} runs in training", found)
    return folders


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def worker_of(folder: Path) -> int:
    """The cluster's process that sees to a run: the parent of the server from which the run's own was forked."""
    holder = holder_of(folder)
    assert holder is not None
    return parent_of(parent_of(holder.pid))


def variables_of(pid: int) -> dict[str, str]:
    """The environment of a process."""
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def accuracies(results: Path) -> dict[str, dict[str, float]]:
    """Accuracy of every evaluation of every complete run, by id."""
    found = [read_result(path) for path in result_files(results)]
    return {item["id"]: {one["name"]: one["accuracy"] for one in item["evaluations"]} for item in found}


def interruptions(results: Path) -> int:
    """How often runs were begun again."""
    return sum(json.loads(path.read_text())["interruptions"] for path in result_files(results))


def check_as_local(folder: Path, results: Path, output: str) -> None:
    """Assert that all runs are complete, equal to those of this machine alone, and that nothing else is left."""
    local = folder / "local"
    with started(command(folder, local, "--executor", "local"), dict(os.environ)) as process:
        told, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
    assert len(accuracies(results)) == RUNS, output
    assert accuracies(results) == accuracies(local)
    left = [
        path for path in results.glob("runs/*/*") if path.suffix == ".tmp" or path.name.startswith(("claim", "fail"))
    ]
    left += [claim for path in results.glob("runs/*") for claim in claims(path)]
    assert not left, output
