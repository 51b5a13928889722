"""What Slurm's own command-line tools report about the cluster and its jobs."""

import re
import subprocess
from dataclasses import dataclass

# Jobs per array; Slurm's own default of MaxArraySize is 1001.
ARRAY_SIZE = 1000
NOT_OVER = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
}
# Reasons of pending jobs that will start in their turn.
USUAL_REASONS = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency", "Cleaning")


@dataclass(frozen=True)
class State:
    """The state of a job in the queue.

    Attributes:
        name: such as PENDING.
        reason: why the job waits, or why it ended.
    """

    name: str
    reason: str

    @property
    def is_over(self) -> bool:
        """Whether the job has ended."""
        return self.name not in NOT_OVER

    @property
    def waits_unusually(self) -> bool:
        """Whether the job waits for a reason that the user should know."""
        return self.name == "PENDING" and self.reason not in USUAL_REASONS


def output_of(*words: str) -> str | None:
    """What a command prints; None if it fails, as Slurm's tools do while the controller is away."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def cluster_has_gpus(partition: str | None) -> bool:
    """Whether the nodes of the cluster, or of one partition, declare GPUs."""
    printed = output_of("sinfo", "--noheader", "--format=%G", *([f"--partition={partition}"] if partition else []))
    return printed is not None and "gpu" in printed


def largest_array() -> int:
    """The largest number of jobs that an array may have on this cluster."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", output_of("scontrol", "show", "config") or "")
    return min(ARRAY_SIZE, int(match[1])) if match else ARRAY_SIZE


def queued_states() -> dict[str, State] | None:
    """States of this user's jobs by their ids (`12`, `12_0`); None if the queue does not answer."""
    printed = output_of("squeue", "--me", "--array", "--states=all", "--noheader", "--format=%F|%K|%T|%r")
    return None if printed is None else read_queue(printed)


def read_queue(text: str) -> dict[str, State]:
    """States of jobs by their ids, from lines `array id|index|state|reason`."""
    states = {}
    for line in text.splitlines():
        job, index, name, reason = line.strip().split("|", 3)
        states[job if index == "N/A" else f"{job}_{index}"] = State(name, reason)
    return states


def accounted_state(job_id: str) -> str:
    """The name of a job's state in the cluster's accounting; UNKNOWN if there is none."""
    words = ("--noheader", "--allocations", "--parsable2", "--format=State", f"--jobs={job_id}")
    return next(iter((output_of("sacct", *words) or "").split("\n")), "") or "UNKNOWN"


def cancel_jobs(job_ids: list[str]) -> None:
    """Take jobs out of the queue."""
    output_of("scancel", *job_ids)
