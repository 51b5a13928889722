"""Starts a sweep many times, each time in a forked process that kills itself at a random statement to its database.

Run as a program: FOLDER SEED NUMBER_OF_KILLS. A process of its own, since forking is safe only while there are no
threads. The objective is made up, so that a start takes a tenth of a second.
"""

import itertools
import os
import random
import sys
from pathlib import Path
from typing import Any

import sqlalchemy

from harness.tune import storage, study
from harness.tune.objective import METRICS
from harness.tune.sweep import Sweep

KILLED = 9
# More than half of the events of a sweep that is not killed.
LAST_EVENT = 250
SWEEP: dict[str, Any] = {
    "name": "killed",
    "method": "skip",
    "sampler": "grid",
    "objectives": ["H"],
    "space": {
        "skip.depth": {"int": [0, 3]},
        "skip.class_ratio": {"float": [0.1, 0.3], "step": 0.1},
    },
    "schedule": {"devices": "cpu", "runs_per_device": 2, "threads": 1},
}


class MadeUpObjective:
    """Judges a trial by its settings alone."""

    def __init__(self, sweep: Sweep, *_: Any) -> None:
        self.sweep = sweep

    def __call__(self, trial: Any) -> float:
        """The value of a trial."""
        point = self.sweep.suggest(trial)
        value = float(point["skip.depth"] or 0) + float(point["skip.class_ratio"] or 0)
        trial.set_user_attr(METRICS, {"H": value})
        return value


def execute(folder: Path, last_event: int | None) -> None:
    """Execute the sweep, up to an event of its database; None: to its end."""
    storage.POLL = study.POLL = 0.02
    study.Objective = MadeUpObjective  # type: ignore[assignment,misc]
    events = itertools.count(1)

    def on_event(*_: Any) -> None:
        if next(events) == last_event:
            os._exit(KILLED)

    def on_connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # a process that ends loses nothing of what the system has

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", on_connect)
    for name in ("before_cursor_execute", "commit"):
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, name, on_event)
    study.execute(Sweep.model_validate(SWEEP), folder, lambda trials: None)


def start(folder: Path, last_event: int | None) -> int:
    """Execute the sweep in a process of its own; returns its exit code."""
    process = os.fork()
    if process == 0:
        execute(folder, last_event)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(folder: Path, seed: int, number: int) -> None:
    """Kill the sweep so many times, then let it come to its end."""
    # What is imported and compiled on first use is inherited, so that the processes do not do it again.
    storage.open_storage("sqlite://").get_all_studies()
    chance = random.Random(seed)
    codes = [start(folder, chance.randint(1, LAST_EVENT)) for _ in range(number)]
    print(codes.count(KILLED), start(folder, None))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
