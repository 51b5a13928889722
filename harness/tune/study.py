"""The study of a sweep: its trials are ordinary runs, executed by the scheduler and judged on validation images."""

import multiprocessing
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.errors import UserError
from harness.results.claim import Holder, has_ended, this_process
from harness.results.metrics import find_metric
from harness.schedule.slots import Slot, make_slots
from harness.tune.objective import FAILURE, HOLDER, Objective, StoppedError, TrialFailedError
from harness.tune.storage import POLL, asking_alone, heartbeat, preparing_alone, storage_of
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
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Optuna warns of experimental features; our tests cover those that are used here.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="optuna")
    return optuna.create_study(
        study_name=sweep.study_name,
        storage=storage_of(sweep, results),
        sampler=sampler_of(sweep, worker),
        pruner=pruner_of(sweep),
        directions=["maximize" if find_metric(metric).higher_is_better else "minimize" for metric in sweep.objectives],
        load_if_exists=True,
    )


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards the budget: it finished, was pruned or failed, but was not interrupted."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or FAILURE in trial.user_attrs


def is_dead(trial: FrozenTrial) -> bool:
    """Whether the process of a running trial was on this machine and has ended; other machines send heartbeats."""
    if trial.state != TrialState.RUNNING or HOLDER not in trial.user_attrs:
        return False
    return has_ended(Holder(**trial.user_attrs[HOLDER]))


def retry_dead_trials(study: optuna.Study) -> None:
    """Queue trials whose process was killed for the next worker; the progress of their runs is on disk."""
    optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False):
        if is_dead(trial):
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except ValueError:  # another process was faster
                continue
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})


def prepare(study: optuna.Study, sweep: Sweep) -> None:
    """Queue the points of the grid in a new study, or the recipe as its first trial."""
    if study.get_trials(deepcopy=False):
        return
    if sweep.sampler == "grid":
        for point in sweep.grid():
            study.enqueue_trial(point)
    elif (recipe := sweep.recipe_point()) is not None:
        study.enqueue_trial(recipe)


def next_trial(study: optuna.Study, sweep: Sweep) -> optuna.Trial | None:
    """Take the next trial for this process; None if the budget is used up or other workers have the rest."""
    trials = study.get_trials(deepcopy=False)
    if sum(counts(trial) or trial.state == TrialState.RUNNING for trial in trials) >= sweep.num_trials:
        return None
    trial = study.ask()
    trial.set_user_attr(HOLDER, asdict(this_process()))
    return trial


def judge(study: optuna.Study, trial: optuna.Trial, objective: Objective) -> None:
    """Judge a trial, and report how it ended."""
    with heartbeat(study, trial):
        try:
            values = objective(trial)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except TrialFailedError:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, values)


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
        while not self.stop.is_set() and (self.deadline is None or time.monotonic() < self.deadline):
            with asking_alone(self.sweep, self.results):
                trial = next_trial(study, self.sweep)
            if trial is not None:
                judge(study, trial, objective)
                continue
            if sum(map(counts, study.get_trials(deepcopy=False))) >= self.sweep.num_trials:
                return
            # Other workers have the last trials, and may still be killed.
            self.stop.wait(POLL)
            retry_dead_trials(study)


def execute(sweep: Sweep, results: Path, on_trials: OnTrials) -> optuna.Study:
    """Execute a sweep to its end, continuing what earlier starts have done.

    Args:
        sweep: the search.
        results: the results folder.
        on_trials: called with all trials, about once a second.

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
    """A point of the space, to find mistakes before anything is started."""
    trial = optuna.trial.FixedTrial(
        {
            key: parameter.choice[0] if parameter.choice else (parameter.integers or parameter.numbers or (0,))[0]
            for key, parameter in sweep.space.items()
        }
    )
    return sweep.suggest(trial)  # type: ignore[arg-type]
