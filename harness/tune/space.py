"""The space that a sweep searches: settings, and the values that each may have."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from pydantic import Field, ValidationInfo, field_validator, model_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.errors import UserError
from harness.experiment.axes import BLOCKS, MOST_VALUES, Blocks, Kind, Range, parse_range, to_number, values_of
from harness.experiment.grid import setting_kind
from harness.experiment.settings import Section, Settings, check_keys

Value = bool | int | float | str | None

LARGEST_INTEGER = 2**53
"""Above it, a floating-point number cannot tell two integers apart."""


def same_value(one: Any, other: Any) -> bool:
    """Whether two values of a setting are the same; numbers may differ by what rounding does."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-15)
    return bool(one == other)


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
    log: bool = Field(False, strict=True)
    when: dict[str, tuple[Value, ...]] = Field({})

    @field_validator("choice", mode="before")
    @classmethod
    def _several_values(cls, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not value:
            raise ValueError("give a list of at least one value, such as [2, 4]")
        items = [to_number(item) for item in value]
        for number, item in enumerate(items):
            check_value(item)
            if any(item == other or same_value(item, other) for other in items[:number]):
                raise ValueError(f"{item!r} stands in it twice")
        return items

    @field_validator("integers", "numbers", mode="before")
    @classmethod
    def _two_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        whole = info.field_name == "integers"
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ValueError("give two numbers, [from, to]")
        bounds = [to_number(item) for item in value]
        for bound in bounds:
            check_number(bound, whole)
        return bounds

    @field_validator("step", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        step = to_number(value)
        if step is not None:
            check_number(step, whole=False)
            if step <= 0:
                raise ValueError("the step must be above 0")
        return step

    @field_validator("when", mode="before")
    @classmethod
    def _conditions(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(
            isinstance(item, list | tuple) and item for item in value.values()
        ):
            raise ValueError("give another setting and the list of its values, such as {skip.depth: [2, 4]}")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> "Parameter":
        if sum(kind is not None for kind in (self.integers, self.numbers, self.choice)) != 1:
            raise ValueError("give one of int: [from, to], float: [from, to] and choice: [...]")
        bounds = self.integers or self.numbers
        if bounds is None:
            if self.step is not None or self.log:
                raise ValueError("`step` and `log` belong to int and float, not to choice")
            return self
        width = float(bounds[1]) - float(bounds[0])
        if width < 0:
            raise ValueError("the first bound must not be above the second")
        if not math.isfinite(width):
            raise ValueError("the bounds are too far apart")
        if self.log and (self.step is not None or bounds[0] <= 0):
            raise ValueError("a logarithmic scale has no step and begins above 0")
        if self.step is not None:
            if self.integers and self.step != int(self.step):
                raise ValueError("the step of whole numbers must be a whole number")
            if width / self.step >= LARGEST_INTEGER:
                raise ValueError("the step is too small for the distance of the bounds")
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
        return all(any(same_value(chosen.get(other), value) for value in values) for other, values in self.when.items())

    def holds(self, value: Value) -> bool:
        """Whether a value can be drawn."""
        if self.choice is not None:
            return any(same_value(value, item) for item in self.choice)
        bounds = self.integers or self.numbers
        if bounds is None or isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not bounds[0] <= value <= bounds[1] or (self.integers and value != int(value)):
            return False
        steps = (value - bounds[0]) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-9

    def extremes(self) -> Sequence[Value]:
        """All choices, or both bounds."""
        return self.choice or self.integers or self.numbers or ()

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
        if (high - low) / step >= MOST_VALUES:
            raise ValueError(f"a grid of more than {MOST_VALUES:,} values is taken for a mistake: use a larger step")
        # Sums of steps such as 0.1 may end a rounding above the bound, where Optuna takes no value.
        return [int(value) if self.integers else min(value, high) for value in Range(low, high, step).values()]


def check_value(value: Any) -> None:
    """Raise a ValueError for what is no single value, or a number that is not finite."""
    if not isinstance(value, bool | int | float | str | None):
        raise ValueError(f"{value!r} is no single value")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")


def check_number(value: Any, whole: bool) -> None:
    """Raise a ValueError unless a value is a finite number, and a whole one if that is asked for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"no number: {value!r}")
    check_value(value)
    if whole and (value != int(value) or abs(value) > LARGEST_INTEGER):
        raise ValueError(f"{value!r} is no whole number up to 2**53")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"{value!r} is too large")


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
        if isinstance(bounds, list) and BLOCKS in bounds:
            if blocks() is None:
                raise UserError(f"space: '{key}': how many blocks this backbone has is not known: write the number")
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
