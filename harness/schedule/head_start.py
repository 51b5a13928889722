"""Whether an experiment has something left to compute, told before its runs are planned, which imports torch.

Planning takes longer than anything else that a command does before its first run, so the server that runs are forked
from imports meanwhile. Where everything is complete already that would be work for nothing.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

from harness.experiment.grid import Experiment
from harness.experiment.settings import Settings, flat_settings
from harness.results.folder import RunFolder

NAME = re.compile(rb'"name": "([^"\\]+)"')
# The name of a run is among the first bytes of its result.
HEAD = 256
MOST_LOOKED_AT = 1000
"""Runs of a results folder whose names are read: in larger ones that takes as long as it may spare."""
MOST_READ = 100
"""Results that are read whole, likewise."""
DECIDING = ("data", "train", "select")
"""Sections of settings that make another run, besides that of the method."""


def is_surely_unfinished(experiment: Experiment, results: Path) -> bool:
    """Whether no finished run is what some run of an experiment is to be; False where only planning can tell.

    Args:
        experiment: as it was read.
        results: the results folder; it need not exist.
    """
    try:
        ids = os.listdir(results / "runs")
    except OSError:
        return True
    if len(ids) > MOST_LOOKED_AT:
        return False
    finished: dict[str, list[Path]] = {}
    for name, path in finished_names(results, ids):
        finished.setdefault(name, []).append(path)
    # A method without chance has one run, that of the first seed.
    seed = experiment.seeds[0]
    grid = product(experiment.methods, experiment.datasets, experiment.shots)
    names = {
        f"{method}-{data}-{shots}shot-seed{seed}": method for method, data, shots in grid if isinstance(shots, int)
    }
    if not names.keys() <= finished.keys():
        return True
    if sum(len(finished[name]) for name in names) > MOST_READ:
        return False
    return any(
        not any(is_of(path, facts) for path in finished[name])
        for name, method in names.items()
        for facts in told(experiment, method)
    )


def rehearses_often(experiment: Experiment) -> bool:
    """Whether the runs of an experiment may be of more than two shapes, each of which is rehearsed once."""
    values = flat_settings(experiment.settings).values()
    return len(experiment.methods) > 2 or any(map(is_several, values))


def finished_names(results: Path, ids: list[str]) -> Iterator[tuple[str, Path]]:
    """The names of the finished runs among some ids, as far as they can be read, and the files of their results."""
    for run_id in ids:
        path = RunFolder(results, run_id).result_file
        with suppress(OSError), path.open("rb") as file:
            if found := NAME.search(file.read(HEAD)):
                yield found[1].decode(errors="replace"), path


def told(experiment: Experiment, method: str) -> Iterator[Settings]:
    """What an experiment says of each run of a method before it is planned: dotted key -> value."""
    settings = flat_settings(experiment.settings)
    common = {key: value for key, value in settings.items() if key.partition(".")[0] in (*DECIDING, method)}
    for backbone in experiment.backbones:
        yield {"backbone": backbone, "protocol": experiment.protocol, **common}


def is_of(result: Path, facts: Settings) -> bool:
    """Whether a finished run may be one that some facts are told of; what cannot be compared counts as equal."""
    try:
        spec: Settings = json.loads(result.read_bytes())["spec"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if values_at(spec, "train.epochs") == [0]:
        # How to train is nothing to a method that does not.
        facts = {key: value for key, value in facts.items() if not key.startswith("train.")}
    return all(may_be(value, asked) for key, asked in facts.items() for value in values_at(spec, key))


def values_at(spec: Any, key: str) -> list[Any]:
    """The value at a dotted key, if there is one."""
    for part in key.split("."):
        if not isinstance(spec, Mapping) or part not in spec:
            return []
        spec = spec[part]
    return [spec]


def may_be(value: Any, asked: Any) -> bool:
    """Whether a setting with a value may be what was asked for, as it is written: one value, or several."""
    if isinstance(asked, dict) or is_several(asked):
        return True
    if isinstance(asked, str) and not isinstance(value, str):
        return not asked.replace(".", "").isdigit() or float(asked) == value
    return bool(value == asked)


def is_several(asked: Any) -> bool:
    """Whether a setting may be written with several values."""
    return isinstance(asked, list) or (isinstance(asked, str) and (".." in asked or "," in asked))
