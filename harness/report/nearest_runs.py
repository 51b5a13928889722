"""Finished runs beside an experiment that has none of them: in which settings the nearest of them differ."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.experiment.axes import text_of
from harness.experiment.settings import Settings, flat_settings
from harness.experiment.spec import RunSpec
from harness.report.labels import as_left_open
from harness.results.index import runs_if_any

# What changes no result, and what follows from the data set and the protocol.
NEVER_TOLD = ("recipe", "wandb", "tracking", "runtime", "evaluate", "tuned")
MOST_TOLD = 6


def nearest_difference(specs: Iterable[RunSpec], finished: Iterable[RunSpec], aside: Sequence[str] = ()) -> str:
    """The settings in which the finished run that is nearest to an experiment differs from it, as KEY=VALUE.

    Args:
        specs: of the experiment.
        finished: specs of runs that are not among them.
        aside: settings that may differ.

    Returns:
        Empty if there is no finished run, or if it differs in nothing that could be told.
    """
    wanted: dict[str, set[str]] = defaultdict(set)
    for spec in specs:
        for key, value in told_settings(spec, aside).items():
            wanted[key].add(text_of(value))
    differences = [differing_settings(spec, wanted, aside) for spec in finished]
    nearest = min((found for found in differences if found), key=distance, default=[])
    further = [f"{len(nearest) - MOST_TOLD} more"] if len(nearest) > MOST_TOLD else []
    return ", ".join([*nearest[:MOST_TOLD], *further])


def differing_settings(spec: RunSpec, wanted: Mapping[str, set[str]], aside: Sequence[str]) -> list[str]:
    """The settings of a run whose value no run of an experiment has; of another method the method alone."""
    if spec.method not in wanted.get("method", {spec.method}):
        return [f"method={spec.method}"]
    texts = {key: text_of(value) for key, value in told_settings(spec, aside).items()}
    return [f"{key}={text}" for key, text in texts.items() if text not in wanted.get(key, ())]


def distance(differing: Sequence[str]) -> tuple[bool, int]:
    """How far a run is from an experiment: one of another method is farther than all others."""
    return differing[0].startswith("method="), len(differing)


def no_run_over(specs: Sequence[RunSpec], others: Sequence[RunSpec], results: Path, axes: Sequence[str]) -> str:
    """The error of an ablation without a run; `others` are finished, and differ in more than the axes."""
    setting = ", ".join(axes)
    if others:
        differing = nearest_difference(specs, others, axes)
        have = "1 finished run has" if len(others) == 1 else f"{len(others):,} finished runs have"
        return (
            f"{have} the setting '{setting}' in '{results}', but other settings than the experiment too"
            f"{differing and f', the nearest {differing}'}: repeat the METHODS, options and settings that they were "
            "started with"
        )
    example = " ".join(f"{axis}=A,B" for axis in axes)
    return (
        f"no finished run of the experiment has the setting '{setting}' in '{results}': run it with "
        f"several values, such as `skipbench bench METHODS {example}`"
    )


def others_finished(specs: Iterable[RunSpec], results: Path) -> str:
    """How an error about an experiment without a finished run goes on: which others the results folder has."""
    others = [run.result.spec for run in runs_if_any(results) if run.result is not None]
    if not others:
        return ""
    differing = nearest_difference(specs, others)
    are = "1 other is" if len(others) == 1 else f"{len(others):,} others are"
    return (
        f" ({are}{differing and f', the nearest with {differing}'}: repeat the METHODS, options and settings that they "
        "were started with, or leave all out)"
    )


def told_settings(spec: RunSpec, aside: Sequence[str]) -> Settings:
    """The settings of a run by which it is told apart from others, flat."""
    settings = as_left_open(flat_settings(spec.settings()))
    return {key: value for key, value in settings.items() if key not in aside and key.split(".")[0] not in NEVER_TOLD}
