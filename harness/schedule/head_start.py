"""Whether an experiment has something left to compute, told before its runs are planned, which imports torch.

Planning takes longer than anything else that a command does before its first run, so the server that runs are forked
from imports meanwhile. Where everything is complete already that would be work for nothing.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harness.experiment.grid import Experiment
from harness.results.folder import RunFolder

NAME = re.compile(rb'"name": "([^"\\]+)"')
# The name of a run is among the first bytes of its result.
HEAD = 256
MOST_LOOKED_AT = 1000
"""Runs of a results folder whose names are read: in larger ones that takes as long as it may spare."""


def is_surely_unfinished(experiment: Experiment, results: Path) -> bool:
    """Whether a run of an experiment has a name that no finished run has; False where only planning can tell.

    Args:
        experiment: as it was read.
        results: the results folder; it need not exist.
    """
    names = {
        f"{method}-{dataset}-{shots}shot-seed{experiment.seeds[0]}"
        for method in experiment.methods
        for dataset in experiment.datasets
        for shots in experiment.shots
        if isinstance(shots, int)
    }
    try:
        ids = os.listdir(results / "runs")
    except OSError:
        return True
    if len(ids) > MOST_LOOKED_AT:
        return False
    return not names <= set(finished_names(results, ids))


def finished_names(results: Path, ids: list[str]) -> Iterator[str]:
    """The names of the finished runs among some ids, as far as they can be read."""
    for run_id in ids:
        with suppress(OSError), RunFolder(results, run_id).result_file.open("rb") as file:
            if found := NAME.search(file.read(HEAD)):
                yield found[1].decode(errors="replace")
