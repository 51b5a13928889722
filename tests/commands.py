"""The command line as processes of their own, and the processes that it starts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def environment_of_commands(**changes: str) -> dict[str, str]:
    """The environment of a command, with this checkout in front."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command line in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=ROOT,
        env=environment_of_commands(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background Ctrl-C is ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def skipbench(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    process = start(*words, **environment)
    try:
        out, told = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(words, process.returncode, out, told)


def results_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> result of the complete runs in a results folder."""
    found = [json.loads(path.read_text()) for path in folder.glob("runs/*/result.json")]
    return {result["name"]: result for result in found}


def parents() -> dict[int, int]:
    """Process -> its parent, of all that live; zombies do not."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if state != "Z":
                found[int(folder.name)] = int(parent)
    return found


def descendants(pid: int) -> list[int]:
    """A living process and all that it started, directly or not."""
    known = parents()
    found = [pid] if pid in known else []
    for process in found:
        found += [child for child, parent in known.items() if parent == process]
    return found


def wait_for(what: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain"
        time.sleep(0.02)
