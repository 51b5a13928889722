"""The one table that all tests take: methods by data sets, without gaps."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError, nearest
from harness.text import counted

Numbers = NDArray[np.float64]
DECIMALS = 9
"""Values that agree so far are equal: differences of numbers such as 76.47 and 75.98 differ in their last bits."""
METHOD, UNIT = "method", "data set"
MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of methods on data sets; seeds are averaged by the caller, so that each data set counts once.

    Attributes:
        methods: names, each once.
        units: names of the data sets, each once.
        values: (methods, units), float64, higher is better, in percent where the sentences are to read so.
        seeds: the fewest seeds that a value is the mean of; None if unknown.

    Raises:
        UserError: no methods or units, a name that occurs twice, a wrong shape, or a value that is no number.
    """

    methods: tuple[str, ...]
    units: tuple[str, ...]
    values: Numbers
    seeds: int | None = None

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        values.setflags(write=False)
        for name, given in (("methods", tuple(self.methods)), ("units", tuple(self.units)), ("values", values)):
            object.__setattr__(self, name, given)
        if not self.methods or not self.units:
            raise UserError("a comparison needs at least one method and one data set")
        for noun, names in ((METHOD, self.methods), (UNIT, self.units)):
            if twice := [name for name in names if names.count(name) > 1]:
                raise UserError(f"the {noun} '{twice[0]}' occurs twice in the scores: give each {noun} one name")
        if values.shape != (len(self.methods), len(self.units)):
            raise UserError(
                f"the scores of {counted(len(self.methods), 'method')} on {counted(len(self.units), 'data set')} "
                f"have the shape {values.shape}"
            )
        for method, row in zip(self.methods, values, strict=True):
            for unit, value in zip(self.units, row, strict=True):
                if not math.isfinite(value):
                    raise UserError(
                        f"the score of {method} on {unit} is {value}: leave out what lacks values (`Scores.complete`)"
                    )

    def of(self, method: str) -> Numbers:
        """Scores of one method.

        Returns:
            (units,).

        Raises:
            UserError: there is no such method.
        """
        if method not in self.methods:
            raise UserError(f"no scores of method '{method}'.{nearest(method, self.methods)}")
        return self.values[self.methods.index(method)]

    def differences(self, one: str, other: str) -> Numbers:
        """Scores of one method minus those of another, rounded so that equal differences are equal.

        Returns:
            (units,), positive where `one` is better.

        Raises:
            UserError: there is no such method.
        """
        # The sum of a negative zero and zero is zero.
        return np.round(self.of(one) - self.of(other), DECIMALS) + 0.0

    def select(self, methods: Iterable[str] | None = None, units: Iterable[str] | None = None) -> "Scores":
        """Scores of some methods on some data sets, in the order given; None keeps all.

        Raises:
            UserError: a name is unknown.
        """
        rows = self.methods if methods is None else tuple(methods)
        columns = self.units if units is None else tuple(units)
        for unit in columns:
            if unit not in self.units:
                raise UserError(f"no scores on data set '{unit}'.{nearest(unit, self.units)}")
        places = [self.units.index(unit) for unit in columns]
        return Scores(rows, columns, np.array([self.of(method)[places] for method in rows]), self.seeds)

    @staticmethod
    def complete(
        table: Mapping[str, Mapping[str, float | None]],
        keep: Literal["most", "units", "methods"] = "most",
        seeds: int | None = None,
    ) -> "Completed":
        """Scores from a table with gaps: what lacks values is left out, and it is said what.

        Whatever lacks the largest share of its values goes first, until there is no gap; of equals, a method goes
        before a data set, and the first by name.

        Args:
            table: method -> data set -> score; None, NaN and absent keys are gaps.
            keep: `most` leaves out methods or data sets; `units` keeps every data set, so that only methods are left
                out; `methods` keeps every method.
            seeds: as in `Scores`.

        Raises:
            UserError: nothing is left.
        """
        methods = list(table)
        units = list(dict.fromkeys(unit for row in table.values() for unit in row))
        left_out: list[str] = []
        while methods and units:
            lacking = {(METHOD, name): [unit for unit in units if is_gap(table[name].get(unit))] for name in methods}
            lacking |= {(UNIT, name): [one for one in methods if is_gap(table[one].get(name))] for name in units}
            sizes = {METHOD: len(units), UNIT: len(methods)}
            shares = {key: len(gaps) / sizes[key[0]] for key, gaps in lacking.items() if gaps}
            # Whatever has no value at all says nothing, whichever side is to be kept.
            empty = [key for key, share in shares.items() if share == 1.0]
            may_go = {"most": (METHOD, UNIT), "units": (METHOD,), "methods": (UNIT,)}[keep]
            open_to = empty or [key for key in shares if key[0] in may_go]
            if not open_to:
                break
            noun, name = min(open_to, key=lambda key: (-shares[key], key))
            (methods if noun == METHOD else units).remove(name)
            left_out.append(gap_text(noun, name, lacking[noun, name], sizes[noun]))
        if not methods or not units:
            raise UserError("no data set has a score of every method: nothing is left to compare")
        values = [[float(table[method][unit] or 0.0) for unit in units] for method in methods]
        return Completed(Scores(tuple(methods), tuple(units), np.array(values), seeds), tuple(left_out))


class Completed(NamedTuple):
    """Scores without gaps, and what was left out for that.

    Attributes:
        scores: what is left.
        left_out: one sentence for each method or data set that was left out, in the order in which it was.
    """

    scores: Scores
    left_out: tuple[str, ...]


def is_gap(value: float | None) -> bool:
    """Whether a table has no number here."""
    return value is None or math.isnan(value)


def gap_text(noun: str, name: str, gaps: list[str], size: int) -> str:
    """Why a method or a data set is left out."""
    others = "data sets" if noun == METHOD else "methods"
    if len(gaps) == size:
        return f"left out: {noun} {name} has no score"
    named = ", ".join(gaps[:MOST_NAMED]) + (", ..." if len(gaps) > MOST_NAMED else "")
    return f"left out: {noun} {name} lacks {len(gaps)} of {size} {others} ({named})"
