"""A signal that comes while a module is imported ends the command after the import."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# The module's first line says that its import has begun. A library in C++ would end the process at an exception here.
SLOW = """
import time
print("importing", flush=True)
try:
    for _ in range(30):
        time.sleep(0.02)
except KeyboardInterrupt:
    print("broken off", flush=True)
else:
    print("imported", flush=True)
"""
MAIN = """
import sys, time
from harness.cli import signals as module
module.LONGEST = float(sys.argv[1])
module.stop.listen()
try:
    import slow
    time.sleep(2)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def interrupted(folder: Path, ending: signal.Signals, longest: float, times: int = 1) -> list[str]:
    """What a process says that is sent a signal while it imports a module; an import may take `longest` seconds."""
    (folder / "slow.py").write_text(SLOW)
    path = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(Path(__file__).parents[3])!r}]"
    process = subprocess.Popen(
        [sys.executable, "-c", path + MAIN, str(longest)],
        stdout=subprocess.PIPE,
        text=True,
        # Where the tests run in the background Ctrl-C is ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    said = [process.stdout.readline().strip()]
    for _ in range(times):
        process.send_signal(ending)
    rest, _ = process.communicate(timeout=60)
    return said + rest.split("\n")[:-1]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 3])
def test_an_import_is_finished_first(ending: signal.Signals, times: int, tmp_path: Path) -> None:
    assert interrupted(tmp_path, ending, 20.0, times) == ["importing", "imported", "stopped"]


def test_an_import_that_takes_too_long_is_broken_off(tmp_path: Path) -> None:
    assert interrupted(tmp_path, signal.SIGINT, 0.1)[:2] == ["importing", "broken off"]
