"""News of runs that are computed somewhere else, read from their folders on a shared file system."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.experiment.spec import RunSpec
from harness.results.claim import PREFIX, claims, read_claim
from harness.results.files import Json
from harness.results.folder import RunFolder
from harness.training.trainer import EpochRecord

# More than one line of `metrics.jsonl`.
TAIL = 4096

Fingerprint = tuple[int, int, int]
"""Of a file's state: inode, size, time of its last change in nanoseconds."""


@dataclass
class Seen:
    """What was last seen of a run.

    Attributes:
        holder: text of its claim.
        metrics: state of its `metrics.jsonl`.
        failure: state of its `failure.json`.
    """

    holder: str | None = None
    metrics: Fingerprint | None = None
    failure: Fingerprint | None = None


class Follower:
    """Tells what changes in the folders of runs. A look costs a listing of a folder a run, two of
    a run that is being computed, and reads what is new.

    Network file systems show files late, so what is not there yet means nothing. A claim and a failure that were there
    before the first look are old and are not told.

    Args:
        specs: the runs.
        results: the results folder.

    Attributes:
        following: the runs that are followed, by id; those that are done or have failed are not any more.
    """

    def __init__(self, specs: Sequence[RunSpec], results: Path) -> None:
        self.results = results
        self.following = {spec.id: spec for spec in specs}
        self._folders = {run_id: RunFolder(results, run_id) for run_id in self.following}
        self._seen = {run_id: self._now(folder) for run_id, folder in self._folders.items()}

    def _now(self, folder: RunFolder) -> Seen:
        return Seen(holder_text(folder.path), fingerprint(folder.metrics_file), fingerprint(folder.failure_file))

    def look(self) -> Iterator[tuple[RunSpec, dict[str, Any]]]:
        """What is new since the last look: {"started": host}, {"epoch", "epochs", "images_per_second"}, and at a run's
        end {"done": True} or {"failed": reason}."""
        for run_id, spec in list(self.following.items()):
            for news in self._look_at(spec, self._folders[run_id], self._seen[run_id]):
                if "done" in news or "failed" in news:
                    del self.following[run_id]
                yield spec, news

    def _look_at(self, spec: RunSpec, folder: RunFolder, seen: Seen) -> Iterator[dict[str, Any]]:
        # A listing is asked of the server; a file by its name may be answered from what the client remembers.
        names = names_in(folder.path)
        if folder.result_file.name in names:
            yield {"done": True}
            return
        failure = fingerprint(folder.failure_file) if folder.failure_file.name in names else None
        if failure != seen.failure:
            seen.failure = failure
            told = folder.read_failure()
            if told:
                yield {"failed": str(told.get("reason", "no reason told"))}
                return
        holder = holder_text(folder.path) if any(name.startswith(PREFIX) for name in names) else None
        if holder != seen.holder:
            seen.holder = holder
            if holder:
                yield {"started": json.loads(holder)["host"]}
        metrics = fingerprint(folder.metrics_file) if folder.metrics_file.name in names else None
        if metrics != seen.metrics:
            seen.metrics = metrics
            line = last_line(folder.metrics_file)
            record = epoch_of(line)
            if record:
                yield {
                    "epoch": record.epoch + 1,
                    "epochs": spec.train.epochs,
                    "images_per_second": record.images_per_second,
                    "record": line,
                }


def names_in(folder: Path) -> set[str]:
    """Names of a folder's files; none if it is not there."""
    with suppress(OSError):
        return set(os.listdir(folder))
    return set()


def fingerprint(path: Path) -> Fingerprint | None:
    """State of a file; None if it is not there."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def holder_text(folder: Path) -> str | None:
    """The claim that counts in a run's folder, whether its holder lives or not; None without one."""
    for link in reversed(claims(folder)):
        with suppress(OSError):
            return os.readlink(link) if read_claim(link) else None
    return None


def last_line(path: Path) -> Json:
    """The last whole line of a `metrics.jsonl`; empty if there is none."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        # Behind the last line's end stands what is being written.
        lines = file.read().split(b"\n")[:-1]
        line = json.loads(lines[-1]) if lines else {}
        return line if isinstance(line, dict) else {}
    return {}


def epoch_of(line: Json) -> EpochRecord | None:
    """The epoch that a line of `metrics.jsonl` records, without accuracies that may stand there too."""
    with suppress(KeyError):
        return EpochRecord(**{field.name: line[field.name] for field in fields(EpochRecord)})
    return None
