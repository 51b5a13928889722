"""Which results are marked wherever they are shown, since they chose on more than a clean protocol allows.

A marked number is never ranked, tested against others or part of a Pareto front: the test images, or more labelled
images than the shots, took part in it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.data.sample_file import VALIDATION_SHOTS
from harness.experiment.recipes import AS_PUBLISHED
from harness.results.record import Result
from harness.text import counted

if TYPE_CHECKING:  # pandas takes a second to import, and showing one run does not need it
    import pandas as pd

TEST_MARK, LAX_MARK, SHARED_MARK, REFUSED_MARK = "§", "¶", "‖", "n/a"
# Of a number that says something about the method, not about how it was chosen: it is ranked like any other.
BELOW_MARK = "↓"
# Of a number that rounding moves as far as the seeds lie apart; only where that was asked for (`rounding.py`).
ROUNDING_MARK = "≈"
EPOCH = "epoch"


@dataclass(frozen=True)
class Choice:
    """What a run chose, and on what.

    Attributes:
        names: of what was chosen: the numbers of a candidate, or epoch.
        on_test: whether on test images, instead of validation images.
        shots: validation images a class; None: all of them.
        is_lax: whether these are more than the shots.
    """

    names: tuple[str, ...]
    on_test: bool
    shots: int | None
    is_lax: bool

    @property
    def images(self) -> str:
        """The images in words."""
        if self.on_test:
            return "test images"
        return "all validation images" if self.shots is None else f"{images_a_class(self.shots, self.shots)} a class"

    @property
    def mark(self) -> str:
        """The mark of a result that chose so; empty if the protocol is clean."""
        return TEST_MARK if self.on_test else LAX_MARK if self.is_lax else ""


def images_a_class(fewest: int, most: int) -> str:
    """Numbers of validation images in words."""
    numbers = str(most) if fewest == most else f"{fewest}-{most}"
    return f"{numbers} validation {'image' if most == 1 else 'images'}"


def choices_of(result: Result) -> tuple[Choice, ...]:
    """What a run chose: what its method searched for, and the epoch that was kept."""
    selection = result.selection
    if selection is None:
        return ()
    few = min(VALIDATION_SHOTS, result.spec.data.shots)
    asked: dict[str | int | None, int | None] = {None: few, "shots": result.spec.data.shots, "all": None}
    shots = asked[selection.shots] if selection.shots in asked else int(selection.shots or 0)
    if shots is not None and selection.most is not None:
        # A large number that leaves none out is another word for all of them.
        shots = None if selection.whole and shots > VALIDATION_SHOTS else min(shots, selection.most)
    is_lax = shots is None or shots > result.spec.data.shots
    found = []
    if selection.chosen:
        found.append(Choice(tuple(selection.chosen), selection.pictures == "test", shots, is_lax))
    if selection.epoch is not None:
        found.append(Choice((EPOCH,), selection.epoch_pictures == "test", shots, is_lax))
    return tuple(found)


def mark_of(result: Result, recipe: str) -> str:
    """The mark of a result: TEST_MARK, LAX_MARK, or empty for a clean one.

    Args:
        result: of a run.
        recipe: that it is shown under; recipes of the same settings share their runs.
    """
    marks = [choice.mark for choice in choices_of(result)]
    return strongest([*marks, LAX_MARK if recipe == AS_PUBLISHED else ""])


def strongest(marks: Iterable[object]) -> str:
    """The mark of several results together."""
    found = set(marks)
    return next((mark for mark in (TEST_MARK, LAX_MARK, ROUNDING_MARK) if mark in found), "")


def details_of(result: Result) -> list[str]:
    """What a run chose, on which images, with which accuracy; what it cannot be evaluated on; what it shares."""
    lines = []
    selection = result.selection
    for choice in choices_of(result) if selection else ():
        assert selection is not None
        is_epoch = choice.names == (EPOCH,)
        what = f"epoch {selection.epoch}" if is_epoch else in_words(selection.chosen)
        accuracy = selection.epoch_accuracy if is_epoch else selection.accuracy
        of = "" if is_epoch else f" of {counted(selection.candidates, 'candidate')}"
        number = counted(selection.epoch_images if is_epoch else selection.images, "image")
        best = "" if accuracy is None else f", with {accuracy:.2f} %"
        lines.append(" ".join(filter(None, [choice.mark, f"Chosen on {choice.images} ({number}): {what}{of}{best}."])))
    lines += [f"Not evaluated on {item.evaluation}: {item.reason}." for item in result.refusals]
    if others := (result.costs.together or 1) - 1:
        runs = counted(others, "other run")
        lines.append(f"Trained as one with {runs}: the seconds of phase train are those of all of them.")
    for name, costs in result.costs.phases.items():
        if costs.shared_seconds:
            lines.append(
                f"{SHARED_MARK} Phase {name}: {costs.whole_seconds:.2f} s as if alone, "
                f"{costs.shared_seconds:.2f} s of them spent by another run for the features both use."
            )
    return lines


def in_words(chosen: Mapping[str, float]) -> str:
    """Chosen numbers: `alpha=1.2, beta=3.5`."""
    return ", ".join(f"{name}={value:.4g}" for name, value in chosen.items())


def mark_in(runs: "pd.DataFrame") -> str:
    """The mark of some runs together; empty if none of them is marked."""
    return strongest(runs["mark"].unique()) if "mark" in runs else ""


def marked(name: str, mark: str) -> str:
    """A name with its mark, if it has one."""
    return f"{name} {mark}" if mark else name


def marks_by_label(runs: "pd.DataFrame") -> dict[str, str]:
    """Label -> mark, of those that have one, in their order of appearance."""
    if "mark" not in runs:
        return {}
    marks = {str(label): mark_in(group) for label, group in runs.groupby("label", sort=False)}
    return {label: mark for label, mark in marks.items() if mark}


def refused_in(runs: "pd.DataFrame") -> dict[str, str]:
    """Evaluation -> why the method cannot take part in it, of all runs together."""
    several = [pairs for pairs in runs.get("refusals", []) if isinstance(pairs, tuple)]
    return {evaluation: reason for pairs in several for evaluation, reason in pairs}


def shared_seconds(runs: "pd.DataFrame", phases: Iterable[str]) -> "pd.Series":
    """Seconds of some phases that another run spent on features which these runs took from the store, by run."""
    import pandas as pd

    columns = [f"{phase}.shared_seconds" for phase in phases if f"{phase}.shared_seconds" in runs]
    return runs[columns].apply(pd.to_numeric).fillna(0.0).sum(axis=1) if columns else pd.Series(0.0, index=runs.index)
