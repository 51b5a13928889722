"""Runs on a Ray cluster: one task per run."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError, first_line
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.results.failure import Failure
from harness.results.folder import RunFolder
from harness.schedule.cluster.node import compute, on_one_node, refuse_numbers, refuse_together, wants_gpu
from harness.schedule.cluster.scheduler import GRACE, Ended, RemoteScheduler
from harness.schedule.events import FailedRun, OnEvent
from harness.training.events import Notice

# Environment variables of the command that its runs need on every node: folders, and where they are tracked.
FOLDERS = ("DATA", "SKIPBENCH_FEATURES", "SKIPBENCH_METHODS", "SKIPBENCH_PICTURES")
TRACKING = "WANDB_"
# MiB of shared memory of a Ray that we start; results are written to files, so it needs very little.
OBJECT_STORE_MIB = 128
ANSWER_SECONDS = 10.0


def passed_on() -> dict[str, str]:
    """Environment variables of this process that tasks receive; folders as absolute paths."""
    folders = {key: str(Path(os.environ[key]).absolute()) for key in FOLDERS if os.environ.get(key)}
    return {**folders, **{key: value for key, value in os.environ.items() if key.startswith(TRACKING)}}


def run_on_node(variables: dict[str, str], *run: Any) -> Failure | None:
    """What a task executes: `node.compute` with the environment of the command."""
    os.environ.update(variables)
    return compute(*run)


def import_ray() -> Any:
    """The library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise UserError("executor 'ray' needs Ray: pip install 'skipbench[ray]'") from None
    return ray


class RayQueue:
    """Tasks of a Ray cluster.

    Args:
        ray: the library, connected.
        results: the results folder, an absolute path.
        schedule: what the user asked for.
        notify: takes a line for the user.
    """

    # Ray itself restarts a task whose process or node died.
    retries = 0

    def __init__(self, ray: Any, results: Path, schedule: ScheduleSpec, notify: Callable[[str], None]) -> None:
        self.ray = ray
        self.results = results
        self.schedule = schedule
        self.limit = schedule.max_jobs
        self.run_ids: dict[Any, str] = {}
        self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self.task = ray.remote(run_on_node)
        self.threads = schedule.threads or 1
        largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
        if largest < self.threads:
            notify(f"no node of the Ray cluster has {self.threads} CPUs (schedule.threads): runs wait until one joins")

    def submit(self, specs: Sequence[RunSpec]) -> None:
        """Submit runs, one task per run."""
        variables = passed_on()
        for spec in specs:
            needs = self._needs(spec)
            local = on_one_node(self.schedule, self.threads, cpu_only="num_gpus" not in needs)
            where = (str(self.results), local.model_dump(mode="json"), os.getcwd())
            task = self.task.options(name=f"{spec.name} {spec.id}", max_retries=self.schedule.retries, **needs)
            self.run_ids[task.remote(variables, spec.settings(), *where)] = spec.id

    def _needs(self, spec: RunSpec) -> dict[str, float]:
        """The resources of a node that a run needs."""
        if wants_gpu(spec, self.schedule, self.has_gpus):
            return {"num_cpus": self.threads, "num_gpus": 1 / self.schedule.runs_per_device}
        return {"num_cpus": self.threads}

    def ended(self) -> dict[str, Ended]:
        """Tasks that have ended since the last call, by run id."""
        return dict(self._outcome(task) for task in self._ready(timeout=0))

    def _ready(self, timeout: float) -> list[Any]:
        """Tasks that have ended, after all have ended or the time (seconds) is over."""
        tasks = list(self.run_ids)
        ready: list[Any] = self.ray.wait(tasks, num_returns=len(tasks), timeout=timeout)[0] if tasks else []
        return ready

    def _outcome(self, task: Any) -> tuple[str, Ended]:
        run_id = self.run_ids.pop(task)
        log = RunFolder(self.results, run_id).log_file
        try:
            return run_id, Ended("", log, self.ray.get(task))
        except Exception as error:
            return run_id, Ended(f"Ray says {first_line(error)}", log)

    def cancel(self) -> None:
        """Ask all tasks to stop, then force those that have not."""
        for force in (False, True):
            for task in self.run_ids:
                self.ray.cancel(task, force=force)
            for task in self._ready(GRACE):
                del self.run_ids[task]


def check_answers(address: str) -> None:
    """Raise a UserError if nothing answers at an address with a port; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(f"no Ray answers at '{address}' (schedule.ray_address, RAY_ADDRESS): {reason}") from error


def connect(ray: Any, schedule: ScheduleSpec) -> None:
    """Connect to the cluster, or start a Ray on this machine.

    Raises:
        UserError: there is no cluster at that address, or it has another version of Ray.
    """
    address = schedule.ray_address or os.environ.get("RAY_ADDRESS") or "local"
    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_MIB * 2**20} if address == "local" else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    check_answers(address)
    endings = {ending: signal.getsignal(ending) for ending in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **own)
    except Exception as error:
        raise UserError(
            f"no Ray cluster can be used at '{address}' (schedule.ray_address): {first_line(error)}"
        ) from error
    finally:
        # Ray replaces the handlers.
        for ending, handler in endings.items():
            signal.signal(ending, handler)


def execute_runs(specs: Sequence[RunSpec], results: Path, schedule: ScheduleSpec, on_event: OnEvent) -> list[FailedRun]:
    """Execute runs on a Ray cluster; returns those that failed.

    Raises:
        UserError: Ray is not installed, or its cluster cannot be used.
    """
    ray = import_ray()
    refuse_numbers(schedule)
    refuse_together(schedule)
    results = results.absolute()
    connect(ray, schedule)
    try:
        queue = RayQueue(ray, results, schedule, lambda line: on_event(specs[0], Notice(line)))
        return RemoteScheduler(specs, results, queue, on_event).run()
    finally:
        ray.shutdown()
