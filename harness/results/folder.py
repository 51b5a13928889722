"""Results on disk: one folder a run, complete when and only when it holds `result.json`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.results.claim import PREFIX as CLAIM
from harness.results.claim import Claim, claimed, holder_of, remove_dead_claims
from harness.results.files import (
    TEMPORARY,
    Json,
    cannot_write,
    load_tensors,
    save_tensors,
    to_json,
    write_atomically,
    write_error,
)

if TYPE_CHECKING:  # torch and pandas take a second each, and listing runs needs neither
    from torch import Tensor

PROGRESS, FAILURE = "progress.safetensors", "failure.json"
STATES = ("done", "running", "failed", "begun", "left")


def is_passing(name: str) -> bool:
    """Whether a complete run's folder has no such file."""
    return name.startswith(CLAIM) or name.endswith(TEMPORARY) or name in (PROGRESS, FAILURE)


class RunFolder:
    """The folder of one run.

    Args:
        root: the results folder.
        run_id: id of the run's spec.

    Attributes:
        path: `<root>/runs/<run_id>`.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.path = root / "runs" / run_id

    @property
    def result_file(self) -> Path:
        """Its being there makes the run complete."""
        return self.path / "result.json"

    @property
    def checkpoint_file(self) -> Path:
        """The trained tensors."""
        return self.path / "checkpoint.safetensors"

    @property
    def log_file(self) -> Path:
        """What the run's processes logged."""
        return self.path / "log.txt"

    @property
    def failure_file(self) -> Path:
        """Why the run did not come to its end."""
        return self.path / FAILURE

    @property
    def metrics_file(self) -> Path:
        """A line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def _progress(self) -> Path:
        return self.path / PROGRESS

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    @contextmanager
    def claimed(self) -> Iterator[Claim]:
        """Hold the claim on this run, so that no second process computes it.

        Raises:
            ClaimedError: another process holds it.
        """
        with claimed(self.path) as claim:
            yield claim

    def prepare(self, spec: RunSpec) -> None:
        """With the run claimed: remove what an earlier process left half-written, and note the spec."""
        self._remove_temporary()
        self.failure_file.unlink(missing_ok=True)
        self.note_spec(spec)

    def note_spec(self, spec: RunSpec) -> None:
        """Write what the run is."""
        write_atomically(self.path / "spec.yaml", yaml.safe_dump(spec.settings(), sort_keys=False).encode())

    def _remove_temporary(self) -> None:
        for leftover in self.path.glob(f"*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed processes left: dead claims and, if the run is complete, what only its making needed."""
        with suppress(OSError):
            passing = [name for name in os.listdir(self.path) if is_passing(name)]
            if not passing:
                return
            remove_dead_claims(self.path)
            if self.is_complete and holder_of(self.path) is None:
                for name in passing:
                    (self.path / name).unlink(missing_ok=True)

    def set_aside(self, root: Path) -> Path:
        """Move the whole folder to `<root>/replaced/<id>-<n>`; returns that.

        Raises:
            ClaimedError: a process computes the run.
            UserError: it cannot be moved.
        """
        with self.claimed() as claim:
            number = 1 + len(list(root.glob(f"replaced/{self.path.name}-*")))
            target = root / "replaced" / f"{self.path.name}-{number}"
            try:
                target.parent.mkdir(exist_ok=True)
                self.path.rename(target)
                (target / claim.link.name).unlink()
            except OSError as error:
                raise cannot_write(target, error) from error
        return target

    @property
    def state(self) -> str:
        """`done`, `running`, `failed`, `begun` (goes on from its last saved epoch) or `left`."""
        try:
            names = set(os.listdir(self.path))
        except OSError:
            return "left"
        if self.result_file.name in names:
            return "done"
        if any(name.startswith(CLAIM) for name in names) and holder_of(self.path):
            return "running"
        if FAILURE in names:
            return "failed"
        return "begun" if PROGRESS in names else "left"

    def note_failure(self, failure: Json) -> None:
        """Write why the run did not come to its end; a disk that takes nothing more is no second failure."""
        with suppress(UserError):
            write_atomically(self.failure_file, to_json(failure))

    def read_failure(self) -> Json | None:
        """What `note_failure` wrote, or None."""
        try:
            failure = json.loads(self.failure_file.read_text())
        except (OSError, ValueError):
            return None
        return failure if isinstance(failure, dict) else None

    @property
    def is_complete(self) -> bool:
        """Whether the run is done."""
        return self.result_file.is_file()

    def write_json(self, name: str, value: Json) -> None:
        """Write a JSON file beside the result."""
        write_atomically(self.path / name, to_json(value))

    def finish(self, result: Json) -> None:
        """Write the result, which makes the run complete, and remove what only an unfinished run needs."""
        write_atomically(self.result_file, to_json(result))
        self._progress.unlink(missing_ok=True)

    def append_metrics(self, record: Json) -> None:
        """Add one line to `metrics.jsonl`, the record that W&B is fed from."""
        try:
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise write_error(self.metrics_file, error) from error

    def read_metrics(self, epochs: int | None = None) -> list[Json]:
        """The recorded epochs; with `epochs`, only the first so many, and the file is cut to them."""
        if not self.metrics_file.is_file():
            return []
        records = []
        for line in self.metrics_file.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:  # the line that was being written when the process was killed
                break
        if epochs is not None:
            records = [record for record in records if record["epoch"] < epochs]
            write_atomically(self.metrics_file, "".join(json.dumps(record) + "\n" for record in records).encode())
        return records

    def save_checkpoint(self, tensors: "dict[str, Tensor]", about: Json) -> int:
        """Write the trained tensors; returns the size of the file in bytes."""
        return save_tensors(self.checkpoint_file, tensors, about)

    def save_progress(self, tensors: "dict[str, Tensor]", about: Json) -> None:
        """Write what training needs to go on: one file, so that weights, momentum, epoch and costs agree."""
        save_tensors(self._progress, tensors, about)

    def load_progress(self) -> "tuple[dict[str, Tensor], Json] | None":
        """What `save_progress` wrote last, or None."""
        if not self._progress.is_file():
            return None
        return load_tensors(self._progress)
