"""The Slurm executor on a cluster of one node, made of this machine's own packages."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

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
    variables_of,
    wait_for_training,
    worker_of,
)
from tests.long.slurm_cluster import SlurmCluster, reason_to_skip

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "")]
pytest.importorskip("submitit", reason="no submitit here: pip install 'skipbench[slurm]'")


@pytest.fixture
def cluster() -> Iterator[SlurmCluster]:
    """One node of two CPUs."""
    with SlurmCluster() as made:
        yield made


def test_a_stopped_command_a_killed_worker_and_preemption_lose_nothing(cluster: SlurmCluster, tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = command(tmp_path, results, "--executor", "slurm")

    with started(words, cluster.environment) as process:
        wait_for_training(results, 2)
        process.send_signal(signal.SIGTERM)
        output = output_of(process, code=130)
    assert "3 Slurm jobs are cancelled" in output
    wait_for(lambda: not training(results) and not cluster.tool("squeue", "--noheader"), PATIENCE)
    assert not list(results.glob("runs/*/failure.json"))

    with started(words, cluster.environment) as process:
        killed, preempted = wait_for_training(results, 2)
        variables = variables_of(worker_of(preempted))
        job = f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"
        os.kill(worker_of(killed), signal.SIGKILL)
        # What Slurm sends to a job that has to make room.
        cluster.tool("scancel", "--signal=USR2", job)
        output = output_of(process, code=0)
    assert interruptions(results) >= 4, output
    assert "is tried again" in output
    logs = "".join(path.read_text() for path in results.glob("slurm/*_log.out"))
    assert "Requeued job" in logs
    assert not [*results.glob("slurm/*.pkl"), *results.glob("slurm/.*")]
    check_as_local(tmp_path, results, output)
