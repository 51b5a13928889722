"""What a run's processes use: busy cores and memory, of its children too."""

import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from harness.machine.usage import CORES, MEMORY, Usage, processor_seconds, resident_bytes

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells it in /proc only")


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        sum(range(1000))


@needs_proc
def test_a_busy_process_and_its_child_are_counted() -> None:
    usage = Usage(torch.device("cpu"))
    begin, used = time.monotonic(), time.process_time()
    burn(0.1)
    alone = usage.take()
    wall, own = time.monotonic() - begin, time.process_time() - used
    assert alone[CORES] == pytest.approx(own / wall, rel=0.2)
    child = multiprocessing.get_context("fork").Process(target=burn, args=(5.0,))
    child.start()
    try:
        until = time.monotonic() + 10
        while processor_seconds(child.pid or 0) < 0.1 and time.monotonic() < until:
            time.sleep(0.02)
        with_child = usage.take()
    finally:
        child.kill()
        child.join()
    assert with_child[MEMORY] > alone[MEMORY]
    assert with_child[CORES] > 0.05


def test_a_process_that_is_gone_is_no_error() -> None:
    assert processor_seconds(2**22 + 1) == 0.0
    assert resident_bytes(2**22 + 1) is None
