"""The command line as the tests run it: in this process, or as a process of its own where the process is the point.

A process imports torch anew, which takes seconds. So `skipbench` is the usual way; `start` and `run_process` are for
signals, kills, pipes, start-up and variables that are read when the package is imported.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Finished = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Read when the package is imported, which this process has done already.
READ_AT_IMPORT = "SKIPBENCH_METHODS"


@contextmanager
def restored() -> Iterator[None]:
    """Put back what a command changes in the process that it runs in."""
    environment, folder, arguments = dict(os.environ), Path.cwd(), sys.argv
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = arguments
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if threads is not None:
            sys.modules["torch"].set_num_threads(threads)


def forget_files() -> None:
    """A command reads every file anew; what this process has read before is forgotten."""
    from harness.data.datasets import read_folder
    from harness.experiment.content import look_anew

    read_folder.cache_clear()
    look_anew()


def skipbench(*words: str, **environment: str) -> Finished:
    """Run the command line in this process, from the root of the project.

    An exception that would end a process in a traceback passes through. Runs are computed in processes of their own,
    with these changes of the environment.
    """
    assert READ_AT_IMPORT not in environment, f"{READ_AT_IMPORT} needs a process of its own: use run_process"
    out, err, code = io.StringIO(), io.StringIO(), 0
    forget_files()
    with restored(), redirect_stdout(out), redirect_stderr(err):
        os.environ.update(environment)
        try:
            skipbench_here(*words)
        except SystemExit as ending:
            code = int(str(ending.code or 0))
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def skipbench_here(*words: str) -> None:
    """Run the command line in this process, from the root of the project, with the streams that it has."""
    from harness.cli import main

    os.chdir(ROOT)
    sys.argv = ["skipbench", *words]
    main()


def error_line(*words: str, **environment: str) -> str:
    """The one line that a command with a mistake prints; nothing else is printed, and the exit code is 2."""
    done = skipbench(*words, **environment)
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    return line


def start(*words: str, options: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
    """Start the command line in a process group of its own, as a terminal does.

    Args:
        words: of the command line.
        options: of the Python interpreter.
        environment: changes of the environment.
    """
    return subprocess.Popen(
        [sys.executable, *options, "-m", "harness", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background Ctrl-C is ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def run_process(*words: str, options: tuple[str, ...] = (), **environment: str) -> Finished:
    """Run the command line to its end in a process of its own; arguments as `start`."""
    process = start(*words, options=options, **environment)
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


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


def wait_for(found: Callable[[], T], seconds: float = 120.0) -> T:
    """Wait until something is found, and return it."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain"
        time.sleep(0.02)
    return value
