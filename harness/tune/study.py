"""The study of a sweep: its trials are ordinary runs, executed by the scheduler and judged on validation images."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import UserError, first_line
from harness.schedule.slots import Slot, make_slots
from harness.tune.objective import Objective, StoppedError, TrialFailedError, seconds_of
from harness.tune.pending import Recovery, next_trial, num_done, queue_again, queue_missing
from harness.tune.storage import (
    POLL,
    asking_alone,
    heartbeat,
    is_alone_while_asking,
    preparing_alone,
    silence_optuna,
    storage_of,
)
from harness.tune.sweep import Sweep

OnTrials = Callable[[list[FrozenTrial]], None]


def sampler_of(sweep: Sweep, worker: int) -> optuna.samplers.BaseSampler:
    """The sampler of one worker; every worker has its own seed."""
    seed = sweep.seed * 1000 + worker
    if sweep.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=min(50, max(4, sweep.trials // 4)))
    if sweep.sampler in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(1, sweep.trials // 4)))


def pruner_of(sweep: Sweep) -> optuna.pruners.BasePruner:
    """The pruner, which stops trials early."""
    pruners: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5),
        "halving": optuna.pruners.SuccessiveHalvingPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
    }
    return pruners[sweep.pruner]()


def open_study(sweep: Sweep, results: Path, worker: int = 0) -> optuna.Study:
    """The study of a sweep: a new one, or the existing one."""
    silence_optuna()
    study = optuna.create_study(
        study_name=sweep.study_name,
        storage=storage_of(sweep, results, queue_again),
        sampler=sampler_of(sweep, worker),
        pruner=pruner_of(sweep),
        directions=sweep.directions,
        load_if_exists=True,
    )
    # The dashboard calls objectives by their names, not "Objective 0".
    if study.metric_names != list(sweep.objectives):
        study.set_metric_names(list(sweep.objectives))
    return study


def judge(study: optuna.Study, trial: optuna.Trial, objective: Objective) -> None:
    """Judge a trial, and report how it ended."""
    # While this machine slept, another one may have taken the trial for lost, and has queued it again.
    with heartbeat(study, trial), suppress(UpdateFinishedTrialError):
        values: tuple[float, ...] | float | None = None
        try:
            values, state = objective(trial), TrialState.COMPLETE
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except TrialFailedError:
            state = TrialState.FAIL
        study.tell(trial, values, state, skip_if_finished=True)


class Worker(threading.Thread):
    """Judges trials one by one until the budget is used. Its runs are processes; the thread itself only waits.

    Args:
        sweep: the search.
        results: the results folder.
        number: of the worker.
        slot: where its runs are executed; None for an executor beyond this machine.
        stop: set to stop it.

    Attributes:
        error: the exception that ended it, or None.
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
        """Judge trials; called by the thread."""
        try:
            self._work()
        except StoppedError:
            pass
        except Exception as error:
            self.error = error

    def _work(self) -> None:
        study = open_study(self.sweep, self.results, self.number)
        objective = Objective(self.sweep, self.results, self.schedule, self.stop)
        recovery = Recovery(study, is_alone=is_alone_while_asking(self.sweep))
        while not self.stop.is_set() and (self.deadline is None or time.monotonic() < self.deadline):
            if is_spent(study.get_trials(deepcopy=False), self.sweep):
                return
            with asking_alone(self.sweep, self.results):
                trial = next_trial(study, self.sweep)
            if trial is not None:
                judge(study, trial, objective)
                continue
            if num_done(study.get_trials(deepcopy=False), self.sweep) >= self.sweep.num_trials:
                return
            # Other workers have the last trials, and may still be killed.
            self.stop.wait(POLL)
            with asking_alone(self.sweep, self.results):
                recovery.run()
                queue_missing(study, self.sweep)


def is_spent(trials: list[FrozenTrial], sweep: Sweep) -> bool:
    """Whether the measured seconds of all trials have reached the budget, whatever processes and days they are of."""
    return sweep.seconds_budget is not None and seconds_of(trials) >= sweep.seconds_budget


def execute(sweep: Sweep, results: Path, on_trials: OnTrials) -> optuna.Study:
    """Execute a sweep to its end, continuing what earlier starts have done.

    Args:
        sweep: the search.
        results: the results folder.
        on_trials: called with all trials, about once a second.

    Raises:
        UserError: the sweep cannot be executed as asked.
    """
    study = open_study(sweep, results)
    with preparing_alone(results / "sweeps" / sweep.study_name), asking_alone(sweep, results):
        Recovery(study, is_alone=is_alone_while_asking(sweep)).run()
        queue_missing(study, sweep)
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
        if isinstance(worker.error, StorageInternalError | SQLAlchemyError):
            raise UserError(
                f"the study's storage does not answer any more: {first_line(worker.error)}: the same command goes on"
            ) from worker.error
        if worker.error:
            raise worker.error
    on_trials(study.get_trials(deepcopy=False))
    return study
