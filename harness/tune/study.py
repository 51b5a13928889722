"""The study of a sweep: its trials are ordinary runs, executed by the scheduler, judged on validation pictures."""

import multiprocessing
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from harness.claim import ClaimedError, Holder, claimed, start_of, this_machine, this_process
from harness.errors import UserError, first_line
from harness.report.statistics import harmonic_mean
from harness.schedule import run_all
from harness.schedule.devices import Slot, make_slots
from harness.spec import RunSpec, ScheduleSpec
from harness.store import Json, RunFolder, read_result
from harness.tune.sweep import Sweep, is_better_higher
from harness.units import MIB

# Who is silent for so long, on another machine, is taken for dead, seconds.
HEARTBEAT, GRACE = 15, 90
POLL = 1.0
OPENING_ATTEMPTS = 5
HOLDER, FAILURE, METRICS, RUNS = "holder", "failure", "metrics", "runs"
OnTrials = Callable[[list[FrozenTrial]], None]


class StoppedError(Exception):
    """The sweep was stopped; the trial is to be retried by the next start."""


class TrialFailedError(Exception):
    """A trial whose runs failed; told by its first reason."""


def storage_of(sweep: Sweep, results: Path) -> optuna.storages.BaseStorage:
    """Where the study is kept: SQLite in the results folder, a database, or a journal file.

    Raises:
        UserError: it cannot be opened.
    """
    url = sweep.storage
    if url is None:
        folder = results / "sweeps"
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'optuna.db'}"
    # Processes that create a database's tables at the same time stumble over each other: all but one come back.
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            return open_storage(url)
        except Exception as error:
            if not attempts_left:
                raise UserError(f"the study's storage '{url}' cannot be opened: {first_line(error)}") from error
            time.sleep(POLL)
    raise AssertionError


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The storage at a URL, as `storage_of` tells it."""
    if url.startswith("journal:"):
        path = url.removeprefix("journal:").removeprefix("//")
        return optuna.storages.JournalStorage(JournalFileBackend(path))
    # SQLite waits for its lock; a server may have closed a connection that was long unused.
    arguments = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    return optuna.storages.RDBStorage(
        url,
        engine_kwargs=arguments,
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
    )


def sampler_of(sweep: Sweep, worker: int) -> optuna.samplers.BaseSampler:
    """The sampler of one worker; workers draw differently."""
    seed = sweep.seed * 1000 + worker
    if sweep.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=min(50, max(4, sweep.trials // 4)))
    if sweep.sampler in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(1, sweep.trials // 4)))


def pruner_of(sweep: Sweep) -> optuna.pruners.BasePruner:
    """What stops trials early."""
    pruners: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5),
        "halving": optuna.pruners.SuccessiveHalvingPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
    }
    return pruners[sweep.pruner]()


def open_study(sweep: Sweep, results: Path, worker: int = 0) -> optuna.Study:
    """The sweep's study, new or as it was left."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # What is experimental there is covered by tests here.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="optuna")
    return optuna.create_study(
        study_name=sweep.study_name,
        storage=storage_of(sweep, results),
        sampler=sampler_of(sweep, worker),
        pruner=pruner_of(sweep),
        directions=["maximize" if is_better_higher(metric) else "minimize" for metric in sweep.objectives],
        load_if_exists=True,
    )


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial has used some of the budget: it came to an end, good or bad, and was not cut off."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or FAILURE in trial.user_attrs


def is_dead(trial: FrozenTrial) -> bool:
    """Whether a running trial's process was on this machine and is gone; of other machines the heartbeat tells."""
    if trial.state != TrialState.RUNNING or HOLDER not in trial.user_attrs:
        return False
    holder = Holder(**trial.user_attrs[HOLDER])
    return holder.machine == this_machine() and start_of(holder.pid) != holder.started


def retry_dead_trials(study: optuna.Study) -> None:
    """Give trials whose process was killed to the next worker; what their runs had done is on disk."""
    if isinstance(study._storage, BaseHeartbeat):
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False):
        if is_dead(trial):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except ValueError:  # somebody else was faster
                continue
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})


def prepare(study: optuna.Study, sweep: Sweep) -> None:
    """Put into the queue of a new study the points of its grid, or the recipe that is to be bettered."""
    if study.get_trials(deepcopy=False):
        return
    if sweep.sampler == "grid":
        for point in sweep.grid():
            study.enqueue_trial(point)
    elif (recipe := sweep.recipe_point()) is not None:
        study.enqueue_trial(recipe)


def metrics_of(results: list[Json]) -> dict[str, float]:
    """What a trial is judged by: accuracies in percent and costs, means over its runs; H of the mean accuracies.

    peak_memory is the highest peak over all phases, train_memory over caching and training, MiB: of live tensor bytes
    on the CPU, of the allocator on a GPU.
    """
    accuracies: dict[str, list[float]] = {}
    for result in results:
        for item in result["evaluations"]:
            accuracies.setdefault(item["name"], []).append(item["accuracy"])
    means = {name: statistics.fmean(values) for name, values in accuracies.items()}

    def mean(cost: Callable[[Json], float]) -> float:
        return statistics.fmean(cost(result["costs"]) for result in results)

    metrics = {f"accuracy.{name}": value for name, value in means.items()}
    metrics["accuracy"] = statistics.fmean(means.values())
    if {"base", "new"} <= means.keys():
        metrics["H"] = main_of(means)
    metrics["peak_memory"] = mean(lambda costs: peak_mib(costs, tuple(costs["phases"])))
    metrics["train_memory"] = mean(lambda costs: peak_mib(costs, ("cache", "train")))
    metrics["train_seconds"] = mean(seconds_of)
    metrics["train_flops"] = mean(flops_of)
    main = "H" if "H" in metrics else "accuracy"
    of_runs = [main_of({item["name"]: item["accuracy"] for item in result["evaluations"]}) for result in results]
    if len(of_runs) > 1:
        metrics[f"{main}.std"] = statistics.stdev(of_runs)
    return metrics


def main_of(accuracies: dict[str, float]) -> float:
    """H of base and new, or the mean where these are not what a run is evaluated on."""
    if {"base", "new"} <= accuracies.keys():
        return float(harmonic_mean(accuracies["base"], accuracies["new"]))
    return sum(accuracies.values()) / len(accuracies)


def seconds_of(costs: Json) -> float:
    """Seconds of a whole training, with filling the cache."""
    return float(sum(phase["seconds"] for name, phase in costs["phases"].items() if name in ("cache", "train")))


def flops_of(costs: Json) -> float:
    """Floating point operations of a whole training, with filling the cache."""
    return sum(
        (costs[f"{phase}_flops_per_image"] or 0) * costs["phases"][phase]["images"]
        for phase in ("cache", "train")
        if phase in costs["phases"]
    )


def peak_mib(costs: Json, names: tuple[str, ...]) -> float:
    """Highest peak of memory over some phases of a run, MiB."""
    phases = [costs["phases"][name] for name in names if name in costs["phases"]]
    keys = ("peak_tensor_bytes", "peak_allocated_bytes")
    return float(max((phase.get(key) or 0 for phase in phases for key in keys), default=0)) / MIB


class Objective:
    """Judges a trial by executing its runs.

    Args:
        sweep: the search.
        results: the results folder.
        schedule: where this worker's runs are executed.
        stop: set to make it stop.
    """

    def __init__(self, sweep: Sweep, results: Path, schedule: ScheduleSpec, stop: threading.Event) -> None:
        self.sweep = sweep
        self.results = results
        self.schedule = schedule
        self.stop = stop

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...] | float:
        """The values of the objectives."""
        try:
            return self._judge(trial)
        except (UserError, TrialFailedError) as error:
            trial.set_user_attr(FAILURE, first_line(error))
            raise TrialFailedError(first_line(error)) from error

    def _judge(self, trial: optuna.Trial) -> tuple[float, ...] | float:
        specs = self.sweep.specs(self.sweep.suggest(trial))
        trial.set_user_attr(RUNS, [spec.id for spec in specs])
        pruning = Pruning(trial, self.sweep, specs) if self.sweep.pruner != "none" else None
        # One after the other, so that the epochs of all trials are compared in the same order.

        def on_news(spec: RunSpec, news: dict[str, Any]) -> None:
            if self.stop.is_set():
                raise StoppedError
            if pruning:
                pruning.on_news(spec, news)

        for group in [[spec] for spec in specs] if pruning else [specs]:
            failed = run_all(group, self.results, self.schedule, on_news)
            if failed:
                raise TrialFailedError(failed[0].failure.reason)
        metrics = metrics_of([read_result(RunFolder(self.results, spec.id).result_file) for spec in specs])
        trial.set_user_attr(METRICS, metrics)
        missing = [name for name in (*self.sweep.objectives, *self.sweep.limits) if name not in metrics]
        if missing:
            raise UserError(f"protocol '{self.sweep.protocol}' has no metric '{missing[0]}', only {', '.join(metrics)}")
        for name, limit in self.sweep.limits.items():
            # Optuna takes what is above 0 for a violation.
            sign = -1.0 if is_better_higher(name) else 1.0
            trial.set_constraint(name, sign * (metrics[name] - limit))
        values = tuple(metrics[name] for name in self.sweep.objectives)
        return values if len(values) > 1 else values[0]


class Pruning:
    """Stops a trial whose accuracy after an epoch is behind that of others.

    Args:
        trial: the trial.
        sweep: the search.
        specs: the trial's runs, in the order in which they are executed.
    """

    def __init__(self, trial: optuna.Trial, sweep: Sweep, specs: list[RunSpec]) -> None:
        self.trial = trial
        self.metric = sweep.objectives[0]
        self.offsets = {spec.id: index * (spec.train.epochs + 1) for index, spec in enumerate(specs)}

    def on_news(self, spec: RunSpec, news: dict[str, Any]) -> None:
        """Take news of a run; raises optuna.TrialPruned to stop it."""
        accuracies = {
            key.removeprefix("accuracy."): value
            for key, value in news.get("record", {}).items()
            if key.startswith("accuracy.")
        }
        if not accuracies:
            return
        self.trial.report(self._value(accuracies), self.offsets[spec.id] + news["epoch"])
        if self.trial.should_prune():
            raise optuna.TrialPruned

    def _value(self, accuracies: dict[str, float]) -> float:
        if self.metric == "H":
            return main_of(accuracies)
        if self.metric == "accuracy":
            return statistics.fmean(accuracies.values())
        return accuracies[self.metric.removeprefix("accuracy.")]


def next_trial(study: optuna.Study, sweep: Sweep) -> optuna.Trial | None:
    """The next trial, which is this process's from now on; None if all of the budget is used or with others."""
    trials = study.get_trials(deepcopy=False)
    if sum(counts(trial) or trial.state == TrialState.RUNNING for trial in trials) >= sweep.num_trials:
        return None
    trial = study.ask()
    trial.set_user_attr(HOLDER, asdict(this_process()))
    return trial


def judge(study: optuna.Study, trial: optuna.Trial, objective: Objective) -> None:
    """Judge a trial, and tell how it ended."""
    with heartbeat(study, trial):
        try:
            values = objective(trial)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except TrialFailedError:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, values)


@contextmanager
def heartbeat(study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """Let workers on other machines see that the trial's worker is alive, where the storage has a place for that."""
    storage, ended = study._storage, threading.Event()
    if not isinstance(storage, BaseHeartbeat):
        yield
        return
    keep: BaseHeartbeat = storage

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            with suppress(optuna.exceptions.StorageInternalError):
                keep.record_heartbeat(trial._trial_id)

    keep.record_heartbeat(trial._trial_id)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def asking_alone(sweep: Sweep, results: Path) -> AbstractContextManager[None]:
    """Let one worker at a time take a trial: SQLite gives a waiting one to two that come at once. Databases do not."""
    if sweep.storage is None or sweep.storage.startswith("sqlite"):
        return file_lock(results / "sweeps" / "optuna.lock")
    return nullcontext()


@contextmanager
def preparing_alone(folder: Path) -> Iterator[None]:
    """Let one process of all machines at a time prepare the study of this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        with suppress(ClaimedError), claimed(folder):
            yield
            return
        time.sleep(POLL / 5)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock that all processes of this machine see."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Worker(threading.Thread):
    """Judges trials one after the other until the budget is used. Its runs are processes; itself it only waits.

    Args:
        sweep: the search.
        results: the results folder.
        number: its number.
        slot: where its runs are executed; None with an executor beyond this machine.
        stop: set to make it stop.

    Attributes:
        error: why it ended early, or None.
    """

    def __init__(self, sweep: Sweep, results: Path, number: int, slot: Slot | None, stop: threading.Event) -> None:
        super().__init__(name=f"sweep worker {number}", daemon=True)
        self.sweep = sweep
        self.results = results
        self.number = number
        self.stop = stop
        self.error: Exception | None = None
        self.schedule = sweep.schedule if slot is None else slot.schedule(sweep.schedule)
        self.deadline = None if sweep.time_budget is None else time.monotonic() + sweep.time_budget

    def run(self) -> None:
        """Work."""
        try:
            self._work()
        except StoppedError:
            pass
        except Exception as error:
            self.error = error

    def _work(self) -> None:
        study = open_study(self.sweep, self.results, self.number)
        objective = Objective(self.sweep, self.results, self.schedule, self.stop)
        while not self.stop.is_set() and (self.deadline is None or time.monotonic() < self.deadline):
            with asking_alone(self.sweep, self.results):
                trial = next_trial(study, self.sweep)
            if trial is not None:
                judge(study, trial, objective)
                continue
            if sum(map(counts, study.get_trials(deepcopy=False))) >= self.sweep.num_trials:
                return
            # The last ones are with other workers, who may yet die.
            self.stop.wait(POLL)
            retry_dead_trials(study)


def execute(sweep: Sweep, results: Path, on_trials: OnTrials) -> optuna.Study:
    """Bring a sweep to its end; what an earlier start has done is kept.

    Args:
        sweep: the search.
        results: the results folder.
        on_trials: takes all trials, about once a second.

    Raises:
        UserError: the sweep cannot be executed as asked.
    """
    sweep.specs(first_point(sweep))
    study = open_study(sweep, results)
    with preparing_alone(results / "sweeps" / sweep.study_name):
        prepare(study, sweep)
        retry_dead_trials(study)
    slots: list[Slot | None] = list(make_slots(sweep.schedule, [])) if sweep.schedule.executor == "local" else []
    count = sweep.workers or len(slots) or sweep.schedule.max_jobs or 1
    if slots and count > len(slots):
        raise UserError(f"{count} workers need as many slots, there are {len(slots)}: see schedule.runs_per_device")
    stop = threading.Event()
    places = (slots or [None] * count)[:count]
    workers = [Worker(sweep, results, number, slot, stop) for number, slot in enumerate(places)]
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            next(worker for worker in workers if worker.is_alive()).join(POLL)
            on_trials(study.get_trials(deepcopy=False))
            if any(worker.error for worker in workers):
                break
    finally:
        stop.set()
        for process in multiprocessing.active_children():
            process.terminate()
        for worker in workers:
            worker.join()
    for worker in workers:
        if worker.error:
            raise worker.error
    on_trials(study.get_trials(deepcopy=False))
    return study


def first_point(sweep: Sweep) -> dict[str, Any]:
    """Some point of the space, to find mistakes before anything is started."""
    trial = optuna.trial.FixedTrial(
        {
            key: parameter.choice[0] if parameter.choice else (parameter.integers or parameter.numbers or (0,))[0]
            for key, parameter in sweep.space.items()
        }
    )
    return sweep.suggest(trial)  # type: ignore[arg-type]
