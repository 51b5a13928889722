"""The same budget for every method: as many trials, or measured seconds, each; then runs on test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError, nearest
from harness.experiment.recipes import OFFICIAL
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec
from harness.text import counted
from harness.tune.chosen import place_of, plain_sweep, tested
from harness.tune.sweep import Sweep
from harness.tune.sweep_file import SWEEPS

MOST_TRIALS = 1000
"""Of a budget in seconds, whose trials nobody counts beforehand."""


@dataclass(frozen=True)
class EqualBudget:
    """Sweeps with one budget.

    Attributes:
        sweeps: method -> its sweep.
        seeds: of the runs on test images.
    """

    sweeps: Mapping[str, Sweep]
    seeds: tuple[int, ...]

    @property
    def budget(self) -> str:
        """Of every method, in words."""
        return next(iter(self.sweeps.values())).budget or ""

    def runs(self, recipes: Mapping[str, Path]) -> list[RunSpec]:
        """The runs on test images with the chosen settings.

        Args:
            recipes: method -> its chosen settings.
        """
        of_methods = (
            tested(sweep, place_of(sweep), self.seeds, recipes[method], f"equal-budget-{self.budget}".replace(" ", ""))
            for method, sweep in self.sweeps.items()
            if method in recipes
        )
        return [spec for specs in of_methods for spec in specs]


def plan_budget(
    methods: Sequence[str], changes: Settings, schedule: Settings, seeds: Sequence[int], seconds: str | None = None
) -> EqualBudget:
    """The sweeps of several methods, all with the same budget, seeds and images.

    Args:
        methods: at least two, each with a file in experiments/sweeps/.
        changes: of all sweeps, `trials` and `seeds` among them.
        schedule: settings of their schedules.
        seeds: of the runs on test images.
        seconds: the budget of every method, measured, such as 600 or 10m; None: its number of trials.

    Raises:
        UserError: fewer than two methods, one without a sweep, or sweeps whose budgets or trials differ.
    """
    names = tuple(dict.fromkeys(methods))
    known = sorted(path.stem for path in SWEEPS.glob("*.yaml"))
    for name in names:
        if name not in known:
            raise UserError(f"method '{name}' has no sweep in experiments/sweeps/.{nearest(name, known)}")
    if len(names) < 2:
        raise UserError("a budget is equal among several methods: name at least two, separated by commas")
    # A recipe that was chosen before would have had more than the budget.
    always: Settings = {"recipe": OFFICIAL, "equal_for": list(names), "seeds": [1, 2]}
    always |= {"seconds_budget": seconds, "trials": MOST_TRIALS} if seconds else {}
    sweeps = {name: plain_sweep(name, {**always, **changes}, schedule) for name in names}
    if any(sweep.method != name for name, sweep in sweeps.items()):
        raise UserError("each sweep must be of the method that its file is named after")
    several = {(sweep.budget, sweep.seeds, sweep.protocol, sweep.dataset, sweep.shots) for sweep in sweeps.values()}
    if len(several) > 1:
        each = ", ".join(f"{name} {counted(sweep.num_trials, 'trial')}" for name, sweep in sweeps.items())
        raise UserError(
            f"the budgets, seeds or images of the sweeps differ ({each}): give --trials, --seeds and --shots"
        )
    return EqualBudget(sweeps, tuple(seeds))
