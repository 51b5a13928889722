"""The Ray executor on a cluster of two nodes on this machine."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import wait_for
from tests.long.cluster_runs import (
    PATIENCE,
    check_as_local,
    command,
    interruptions,
    output_of,
    started,
    training,
    wait_for_training,
    worker_of,
)

pytestmark = pytest.mark.long
pytest.importorskip("ray", reason="no Ray here: pip install 'skipbench[ray]'")


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        made.add_node(**node)
        yield made
    finally:
        made.shutdown()


def test_a_stopped_command_and_a_killed_worker_lose_nothing(cluster: Any, tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = command(tmp_path, results, "--executor", "ray", f"schedule.ray_address={cluster.address}")
    with started(words, os.environ) as process:
        begun = wait_for_training(results, 2)
        workers = [worker_of(folder) for folder in begun]
        process.send_signal(signal.SIGTERM)
        output = output_of(process, code=130)
    wait_for(lambda: not training(results) and not any(map(is_ours, workers)), PATIENCE)

    with started(words, os.environ) as process:
        folder = wait_for_training(results, 1)[0]
        os.kill(worker_of(folder), signal.SIGKILL)
        output = output_of(process, code=0)
    assert interruptions(results) >= 3, output
    check_as_local(tmp_path, results, output)


def is_ours(pid: int) -> bool:
    """Whether a Ray worker computes a run."""
    try:
        return b"clip_adapter" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
