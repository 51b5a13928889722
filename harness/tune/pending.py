"""Which trials of a study are still to come: those that wait, and those that killed processes left or never queued."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from harness.results.claim import Holder, has_ended, this_process
from harness.tune.objective import FAILURE, HOLDER
from harness.tune.space import Value, same_value
from harness.tune.storage import GRACE
from harness.tune.sweep import Sweep

Point = dict[str, Value]
# Where optuna keeps the settings of a queued trial, those that the trial has not asked for yet among them.
QUEUED = "fixed_params"


def point_of(trial: FrozenTrial) -> Point:
    """The settings of a trial: those that it was queued with, and those that it has asked for."""
    return {**trial.system_attrs.get(QUEUED, {}), **trial.params}


def same_point(one: Point, other: Point) -> bool:
    """Whether two points have the same settings, up to rounding."""
    return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)


def without(points: Iterable[Point], trials: Sequence[FrozenTrial]) -> list[Point]:
    """The points that none of some trials has."""
    known = {frozenset(point.items()): point for point in points}
    taken = {frozenset(point.items()): point for point in map(point_of, trials)}
    # Nearly all are equal in every digit; what is left is compared one by one.
    others = [point for key, point in taken.items() if key not in known]
    left = [point for key, point in known.items() if key not in taken]
    return [point for point in left if not any(same_point(point, other) for other in others)]


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards the budget: it finished, was pruned or failed, but was not interrupted."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or FAILURE in trial.user_attrs


def num_done(trials: Sequence[FrozenTrial], sweep: Sweep) -> int:
    """How much of the budget is used: points of the grid, each once, or trials."""
    done = [trial for trial in trials if counts(trial)]
    if sweep.sampler == "grid":
        return sweep.num_trials - len(without(sweep.grid(), done))
    return len(done)


def queue_missing(study: optuna.Study, sweep: Sweep) -> None:
    """Queue every point of the grid that no trial has, or the recipe where it is in the space.

    An earlier start may have been killed before it had queued all of them, or while it repeated a trial.
    """
    trials = study.get_trials(deepcopy=False)
    kept = [trial for trial in trials if counts(trial) or not trial.state.is_finished()]
    if sweep.sampler == "grid":
        wanted = sweep.grid()
    else:
        recipe = sweep.recipe_point()
        wanted = [] if recipe is None or num_done(trials, sweep) >= sweep.num_trials else [recipe]
    for point in without(wanted, kept):
        study.enqueue_trial(point)


def next_trial(study: optuna.Study, sweep: Sweep) -> optuna.Trial | None:
    """Take the next trial for this process; None if the budget is used up or other workers have the rest."""
    while True:
        trials = study.get_trials(deepcopy=False)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        if sweep.sampler == "grid":
            left = without(sweep.grid(), [*filter(counts, trials), *running])
            if not left or not any(trial.state == TrialState.WAITING for trial in trials):
                return None
        elif num_done(trials, sweep) + len(running) >= sweep.num_trials:
            return None
        trial = study.ask()
        trial.set_user_attr(HOLDER, asdict(this_process()))
        if sweep.sampler != "grid" or len(without(left, [frozen(study, trial)])) < len(left):
            return trial
        # It is no point of the grid, or one that another process has already.
        study.tell(trial, state=TrialState.FAIL)


def frozen(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    """What the study knows about a trial."""
    return next(item for item in study.get_trials(deepcopy=False) if item.number == trial.number)


def is_dead(trial: FrozenTrial) -> bool:
    """Whether the process of a running trial was on this machine and has ended; other machines send heartbeats."""
    if trial.state != TrialState.RUNNING or HOLDER not in trial.user_attrs:
        return False
    return has_ended(Holder(**trial.user_attrs[HOLDER]))


def has_no_holder(trial: FrozenTrial) -> bool:
    """Whether a trial runs and does not say where: its process has just taken it, or was killed then."""
    return trial.state == TrialState.RUNNING and HOLDER not in trial.user_attrs


def queue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial that was interrupted; the progress of its runs is on disk."""
    if point := point_of(trial):
        study.enqueue_trial(point, user_attrs={"retry_of": trial.number})


def fail(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Note that a trial was interrupted; False if another process was faster."""
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):
        return False
    return True


class Recovery:
    """Brings back the trials of processes that were killed.

    Args:
        study: the study.
        is_alone: whether no process can be taking a trial meanwhile, so that one without a holder was left behind.
            Otherwise such a trial is watched for a while: clocks of other machines may differ, so its own time does not
            help.

    Attributes:
        seen: number of a trial without a holder -> when it was first seen, by this process's clock.
    """

    def __init__(self, study: optuna.Study, is_alone: bool) -> None:
        self.study = study
        self.is_alone = is_alone
        self.seen: dict[int, float] = {}

    def run(self) -> None:
        """Queue again what was interrupted."""
        optuna.storages.fail_stale_trials(self.study)
        for trial in self.study.get_trials(deepcopy=False):
            if (is_dead(trial) or self._was_left(trial)) and fail(self.study, trial):
                queue_again(self.study, trial)

    def _was_left(self, trial: FrozenTrial) -> bool:
        if not has_no_holder(trial):
            return False
        now = time.monotonic()
        return self.is_alone or now - self.seen.setdefault(trial.number, now) > GRACE
