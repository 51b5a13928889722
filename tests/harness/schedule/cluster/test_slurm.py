"""The Slurm executor as far as it needs no cluster; the rest is in tests/long/test_slurm_cluster.py."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.failure import Failure
from harness.schedule import run_all
from harness.schedule.cluster import slurm_tools
from harness.schedule.cluster.slurm import SlurmQueue
from harness.schedule.cluster.slurm_job import in_minutes, job_parameters
from harness.schedule.cluster.slurm_tools import State, read_queue

Make = Callable[..., RunSpec]


def test_without_submitit_or_slurm_it_is_said_what_is_missing(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs, schedule = [make_spec("zeroshot")], ScheduleSpec(executor="slurm")
    monkeypatch.setitem(sys.modules, "submitit", object())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no 'sbatch' on this machine"):
        run_all(specs, tmp_path, schedule)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'skipbench\[slurm\]'"):
        run_all(specs, tmp_path, schedule)


TIMES = {
    **{"30m": 30, "2h": 120, "1d": 1440, "90s": 2},
    **{"2:00:00": 120, "1-12:00:00": 2160, "1-12": 2160, "90:00": 90, "0:30": 1},
}


@pytest.mark.parametrize(("value", "minutes"), TIMES.items())
def test_times_as_people_and_slurm_write_them(value: str, minutes: int) -> None:
    assert in_minutes(value) == minutes


@pytest.mark.parametrize("value", [7200, "soon", "h", "1:2:3:4", ""])
def test_a_time_that_can_be_misread_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"schedule\.slurm\.time"):
        in_minutes(value)


def test_defaults_of_a_job() -> None:
    told = job_parameters(ScheduleSpec(time_limit=600, retries=2), gpu=False, count=33)
    assert told["time"] == 35
    assert told["array_parallelism"] == 33
    assert told["additional_parameters"] == {"requeue": True, "cpus_per_task": 1}
    told = job_parameters(ScheduleSpec(threads=6, max_jobs=4), gpu=True, count=33)
    assert told["array_parallelism"] == 4
    assert told["additional_parameters"] == {"requeue": True, "cpus_per_task": 6, "gpus_per_node": 1}
    with pytest.raises(UserError, match=r"set schedule\.slurm\.time"):
        job_parameters(ScheduleSpec(time_limit=None), gpu=False, count=1)


def test_what_is_asked_for_goes_to_sbatch() -> None:
    asked = {"partition": "gpu", "mem_gb": 1.5, "gres": "gpu:a100:1", "cpus-per-task": 8, "time": "1h", "licenses": "x"}
    told = job_parameters(ScheduleSpec(slurm={**asked, "requeue": False, "setup": ["module load x"]}), True, 2)
    assert told["time"] == 60
    assert told["setup"] == ["module load x"]
    assert told["additional_parameters"] == {
        "cpus_per_task": 8,
        "partition": "gpu",
        "gres": "gpu:a100:1",
        "licenses": "x",
        "mem": "1536M",
    }


def test_submitit_takes_what_it_is_told(tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit.slurm.slurm")
    told = job_parameters(ScheduleSpec(slurm={"partition": "gpu", "mem_gb": 4, "time": "2h"}), True, 7)
    text = submitit._make_sbatch_string("work", tmp_path, map_count=7, **told)
    for line in ("time=120", "partition=gpu", "mem=4096M", "gpus-per-node=1", "requeue", "array=0-6%7"):
        assert f"#SBATCH --{line}\n" in text


def test_the_queue_is_read() -> None:
    text = "12|0|RUNNING|None\n12|1|PENDING|JobArrayTaskLimit\n13|N/A|NODE_FAIL|NonZeroExitCode\n"
    assert read_queue(text) == {
        "12_0": State("RUNNING", "None"),
        "12_1": State("PENDING", "JobArrayTaskLimit"),
        "13": State("NODE_FAIL", "NonZeroExitCode"),
    }


class FakeJob:
    """A job as submitit shows it."""

    def __init__(self, folder: Path, job_id: str) -> None:
        self.job_id = job_id
        self.paths = SimpleNamespace(
            stdout=folder / f"{job_id}_log.out",
            result_pickle=folder / f"{job_id}_result.pkl",
            submitted_pickle=folder / f"{job_id}_submitted.pkl",
        )


@pytest.fixture
def queue(make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmQueue:
    """Four jobs, of which the queue shows three."""
    lines = "7|0|RUNNING|None\n7|1|NODE_FAIL|None\n7|2|PENDING|PartitionTimeLimit\n"
    monkeypatch.setattr(slurm_tools, "output_of", lambda tool, *_: lines if tool == "squeue" else None)
    made = SlurmQueue(None, [make_spec("zeroshot")], tmp_path, ScheduleSpec(executor="slurm"), lambda *_: None)
    made.folder.mkdir()
    made.jobs = {str(index): FakeJob(made.folder, f"7_{index}") for index in range(4)}
    return made


def test_what_becomes_of_jobs(queue: SlurmQueue) -> None:
    notices: list[str] = []
    queue.notify = notices.append
    answer = queue.jobs["0"].paths.result_pickle
    answer.write_bytes(pickle.dumps(("success", Failure("claimed", "by another"))))
    ended = queue.ended()
    assert ended["0"].failure == Failure("claimed", "by another")
    assert not answer.exists()
    assert ended["1"].says == "Slurm says NODE_FAIL"
    assert ended["3"].says == "Slurm says UNKNOWN"
    assert list(queue.jobs) == ["2"]
    assert notices == ["Slurm lets jobs wait: PartitionTimeLimit"]
    assert queue.ended() == {}


def test_a_queue_that_does_not_answer_loses_no_job(queue: SlurmQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_tools, "output_of", lambda *_: None)
    assert queue.ended() == {}
    assert len(queue.jobs) == 4


def test_an_error_in_a_job_is_told_by_its_last_line(queue: SlurmQueue) -> None:
    queue.jobs["0"].paths.result_pickle.write_bytes(
        pickle.dumps(("error", "Traceback\n  ...\nImportError: no harness\n"))
    )
    assert queue.ended()["0"].says == "the job says ImportError: no harness"
