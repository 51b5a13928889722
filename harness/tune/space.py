"""The space that a sweep searches: settings, and the values that each may have."""

from collections.abc import Mapping
from typing import Any

import optuna
from pydantic import Field, field_validator, model_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.experiment.axes import BLOCKS, Blocks, Kind, Range, parse_range, to_number, values_of
from harness.experiment.grid import setting_kind
from harness.experiment.settings import Section, Settings, check_keys

Value = bool | int | float | str | None


class Parameter(Section):
    """One setting that is searched over; `load_sweep` also takes the notation of axes, such as 0..blocks or 2,4,6.

    Attributes:
        integers: `int` in YAML: whole numbers from the first to the second; `blocks` is the number of blocks.
        numbers: `float` in YAML: numbers from the first to the second.
        step: distance of values; null: 1 for whole numbers, none for others.
        log: draw on a logarithmic scale.
        choice: one of these.
        when: only where another setting of the space has one of these values, such as {skip.class_ratio: [0.5]}.
    """

    integers: tuple[int, int] | None = Field(None, alias="int")
    numbers: tuple[float, float] | None = Field(None, alias="float")
    choice: tuple[Value, ...] | None = None
    step: float | None = None
    log: bool = False
    when: dict[str, tuple[Value, ...]] = Field({})

    @field_validator("choice", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return [to_number(item) for item in value] if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_kind(self) -> "Parameter":
        if sum(kind is not None for kind in (self.integers, self.numbers, self.choice)) != 1:
            raise ValueError("give one of int: [from, to], float: [from, to] and choice: [...]")
        bounds = self.integers or self.numbers
        if bounds and bounds[0] > bounds[1]:
            raise ValueError("the first bound must not be above the second")
        if self.log and bounds and (self.step is not None or bounds[0] <= 0):
            raise ValueError("a logarithmic scale has no step and begins above 0")
        return self

    def suggest(self, trial: optuna.Trial, key: str) -> Value:
        """Let a trial choose a value."""
        if self.choice is not None:
            chosen: Value = trial.suggest_categorical(key, self.choice)
            return chosen
        if self.integers is not None:
            return trial.suggest_int(key, *self.integers, step=1 if self.step is None else int(self.step), log=self.log)
        assert self.numbers is not None
        return trial.suggest_float(key, *self.numbers, step=self.step, log=self.log)

    def is_needed(self, chosen: "Mapping[str, Value]") -> bool:
        """Whether the settings chosen so far call for this one."""
        return all(chosen.get(other) in values for other, values in self.when.items())

    def holds(self, value: Value) -> bool:
        """Whether a value can be drawn."""
        if self.choice is not None:
            return value in self.choice
        bounds = self.integers or self.numbers
        if bounds is None or not isinstance(value, int | float) or not bounds[0] <= value <= bounds[1]:
            return False
        steps = (value - bounds[0]) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-9

    def values(self) -> list[Value]:
        """All values, for a grid.

        Raises:
            ValueError: there is no end to them.
        """
        if self.choice is not None:
            return list(self.choice)
        low, high = self.integers or self.numbers or (0, 0)
        step = self.step or (1 if self.integers else None)
        if step is None:
            raise ValueError("a grid needs a step, or a choice")
        return [int(value) if self.integers else value for value in Range(low, high, step).values()]


def read_space(space: Mapping[str, Any], method: str, backbone: str) -> Settings:
    """A search space with every setting in the form of `Parameter`, and numbers in place of the word `blocks`."""

    def blocks() -> int | None:
        return blocks_of(parse_backbone(backbone))

    return {
        key: read_parameter(key, about, setting_kind(method, key), blocks) for key, about in check_keys(space).items()
    }


def read_parameter(key: str, about: Any, kind: Kind | None, blocks: Blocks) -> Any:
    """One setting of a space, written with int, float or choice or in the notation of axes, in the former form."""
    if isinstance(about, Mapping):
        bounds = about.get("int")
        if isinstance(bounds, list) and BLOCKS in bounds and blocks() is not None:
            return {**about, "int": [blocks() if bound == BLOCKS else bound for bound in bounds]}
        return about
    # The name of an unknown setting is reported when the first runs are planned.
    kind = kind or Kind.NUMBER
    if kind is Kind.NUMBER and isinstance(about, str) and ".." in about and "," not in about:
        found = parse_range(key, about, blocks)
        is_whole = isinstance(found.first, int) and isinstance(found.step, int)
        step = {} if found.step == 1 and is_whole else {"step": found.step}
        return {"int" if is_whole else "float": [found.first, found.values()[-1]], **step}
    return {"choice": list(values_of(key, about, kind, blocks))}
