"""Events of runs that are computed on other machines, read from their folders on a shared file system."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.experiment.spec import RunSpec
from harness.results.claim import Holder, is_claim, last_holder
from harness.results.epochs import EpochRecord, read_epochs
from harness.results.files import read_regular
from harness.results.folder import RunFolder, legible_failure
from harness.results.record import DamagedError
from harness.training.events import Done, Event, Failed, Started, TrainingProgress

# More than one line of `metrics.jsonl`.
TAIL = 4096

Fingerprint = tuple[int, int, int]
"""State of a file: inode, size, time of its last change in nanoseconds."""


@dataclass
class Seen:
    """What was last seen of a run.

    Attributes:
        holder: of its claim.
        metrics: state of its `metrics.jsonl`.
        failure: state of its `failure.json`.
    """

    holder: Holder | None = None
    metrics: Fingerprint | None = None
    failure: Fingerprint | None = None


class Follower:
    """Reports what changes in the folders of runs.

    A look lists the folder of every run once, that of a run being computed twice, and reads what is new. Network file
    systems show files late, so a missing file means nothing. Claims and failures from before the first look are old
    and are not reported.

    Args:
        specs: the runs.
        results: the results folder.

    Attributes:
        following: the runs that are followed, by id; a run that is done or has failed is removed.
    """

    def __init__(self, specs: Sequence[RunSpec], results: Path) -> None:
        self.results = results
        self.following = {spec.id: spec for spec in specs}
        self._folders = {run_id: RunFolder(results, run_id) for run_id in self.following}
        self._seen = {run_id: self._now(folder) for run_id, folder in self._folders.items()}

    def _now(self, folder: RunFolder) -> Seen:
        return Seen(last_holder(folder.path), fingerprint(folder.metrics_file), fingerprint(folder.failure_file))

    def look(self) -> Iterator[tuple[RunSpec, Event]]:
        """What is new since the last look: Started, TrainingProgress, and at the end of a run Done or Failed."""
        for run_id, spec in list(self.following.items()):
            for event in self._look_at(spec, self._folders[run_id], self._seen[run_id]):
                if isinstance(event, Done | Failed):
                    del self.following[run_id]
                yield spec, event

    def _look_at(self, spec: RunSpec, folder: RunFolder, seen: Seen) -> Iterator[Event]:
        # A listing is asked of the server; a file by its name may be answered from what the client remembers.
        names = names_in(folder.path)
        if folder.result_file.name in names:
            yield Done()
            return
        failure = fingerprint(folder.failure_file) if folder.failure_file.name in names else None
        if failure != seen.failure:
            seen.failure = failure
            told = legible_failure(folder)
            if told:
                yield Failed(told.reason)
                return
        holder = last_holder(folder.path) if any(map(is_claim, names)) else None
        if holder != seen.holder:
            seen.holder = holder
            if holder:
                yield Started(holder.host)
        metrics = fingerprint(folder.metrics_file) if folder.metrics_file.name in names else None
        if metrics != seen.metrics:
            seen.metrics = metrics
            record = last_record(folder.metrics_file)
            if record:
                yield TrainingProgress(record.epoch + 1, planned_epochs(spec, folder), record)


def planned_epochs(spec: RunSpec, folder: RunFolder) -> int:
    """How many epochs a run has; where its length is given in steps, the first epoch tells how many an epoch has."""
    steps = 1
    if spec.train.num_steps(spec.data.shots):
        with suppress(DamagedError):
            steps = next((record.steps for record in read_epochs(folder.metrics_file)), 1)
    return spec.train.num_epochs(spec.data.shots, max(steps, 1))


def names_in(folder: Path) -> set[str]:
    """Names of a folder's files; none if it is not there."""
    with suppress(OSError):
        return set(os.listdir(folder))
    return set()


def fingerprint(path: Path) -> Fingerprint | None:
    """State of a regular file; None if it is not there."""
    with suppress(OSError):
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def last_record(path: Path) -> EpochRecord | None:
    """The last whole line of a `metrics.jsonl`; None if there is none."""
    with suppress(OSError, ValueError, IndexError):
        # What follows the last end of line is being written.
        return EpochRecord.model_validate_json(read_regular(path, last=TAIL).split(b"\n")[:-1][-1])
    return None
