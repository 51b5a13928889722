"""A transfer matrix: settings chosen on one data set, number of shots or protocol, tested on all of them.

How far tuned settings carry is shown as by Silva-Rodríguez et al., CVPR 2024 (arXiv:2312.12730).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.data.own_names import split_names
from harness.errors import UserError
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec
from harness.tune.chosen import Place, place_of, plain_sweep, tested, validating
from harness.tune.sweep import Sweep

Axis = Literal["dataset", "shots", "protocol"]


@dataclass(frozen=True)
class Transfer:
    """What is chosen where, and tested where.

    Attributes:
        over: what differs between the places.
        sweeps: value -> the sweep that chooses settings there.
        seeds: of the runs on test images.
    """

    over: Axis
    sweeps: Mapping[str, Sweep]
    seeds: tuple[int, ...]

    @property
    def places(self) -> dict[str, Place]:
        """Value -> what is tested there."""
        return {value: place_of(sweep) for value, sweep in self.sweeps.items()}

    @property
    def first(self) -> Sweep:
        """The first sweep: method, backbone and space are the same in all."""
        return next(iter(self.sweeps.values()))

    @property
    def name(self) -> str:
        """For files and experiments."""
        return f"transfer-{self.first.method}-{self.over}"

    def runs(self, recipes: Mapping[str, Path]) -> dict[tuple[str | None, str], list[RunSpec]]:
        """(chosen on, tested on) -> the runs on test images; chosen on None: the recipe itself.

        Args:
            recipes: value -> the settings that were chosen there; values without any have no runs.
        """
        found: dict[tuple[str | None, str], list[RunSpec]] = {}
        every: list[tuple[str | None, Path | None]] = [*recipes.items(), (None, None)]
        for chosen_on, recipe in every:
            for tested_on, place in self.places.items():
                found[chosen_on, tested_on] = tested(self.sweeps[tested_on], place, self.seeds, recipe, self.name)
        return found


def plan_transfer(
    name: str, over: Axis, among: str, changes: Settings, schedule: Settings, seeds: Sequence[int]
) -> Transfer:
    """A transfer matrix from what a user asks for.

    Args:
        name: of a sweep, or its file.
        over: what differs.
        among: its values, separated by commas.
        changes: of the sweep, as `load_sweep` takes them.
        schedule: settings of its schedule.
        seeds: of the runs on test images.

    Raises:
        UserError: fewer than two values, or a sweep that cannot be.
    """
    values = list(dict.fromkeys(word.strip() for word in split_names(among) if word.strip()))
    if len(values) < 2:
        raise UserError(f"--among {among!r}: give at least two values of {over}, separated by commas")
    sweeps = {}
    for value in values:
        if over == "shots" and not value.isdigit():
            raise UserError(f"--among {among!r}: '{value}' is no number of shots")
        own: Settings = {over: int(value) if over == "shots" else value}
        if over == "protocol":
            own = {"protocol": validating(value)}
        sweeps[value] = plain_sweep(name, {**changes, **own}, schedule)
    return Transfer(over, sweeps, tuple(seeds))
