"""The folder of one run; the run is complete if and only if the folder holds `result.json`."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import TypeAdapter, ValidationError

from harness.errors import UserError, first_line
from harness.experiment.spec import RunSpec
from harness.experiment.yaml_values import dump_yaml
from harness.results.claim import Claim, claimed, holder_of, is_claim, remove_dead_claims
from harness.results.failure import RunFailure
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
from harness.results.log import last_error
from harness.results.record import DamagedError, EpochRecord, Prediction, Progress, Result, read_result

if TYPE_CHECKING:  # torch and pandas take a second each, and listing runs needs neither
    from torch import Tensor

PROGRESS, FAILURE = "progress.safetensors", "failure.json"
PREDICTIONS = "predictions.json"
State = Literal["done", "running", "failed", "interrupted", "missing", "damaged"]
DONE: Final = "done"
RUNNING: Final = "running"
FAILED: Final = "failed"
INTERRUPTED: Final = "interrupted"
MISSING: Final = "missing"
DAMAGED: Final = "damaged"
STATES: tuple[State, ...] = (DONE, RUNNING, FAILED, INTERRUPTED, MISSING, DAMAGED)
"""done: complete. running: computed now, by any process on any machine. failed. interrupted: started and not finished,
continues from its last saved epoch. missing: never started. damaged: a file that describes the run cannot be read.
"""

PREDICTIONS_ADAPTER = TypeAdapter(dict[str, list[Prediction]])


def is_passing(name: str) -> bool:
    """Whether a file belongs only to a run that is not complete."""
    return is_claim(name) or name.endswith(TEMPORARY) or name in (PROGRESS, FAILURE)


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
        """The result; the run is complete if and only if this file exists."""
        return self.path / "result.json"

    @property
    def checkpoint_file(self) -> Path:
        """The trained tensors."""
        return self.path / "checkpoint.safetensors"

    @property
    def log_file(self) -> Path:
        """The log of the run's processes."""
        return self.path / "log.txt"

    @property
    def failure_file(self) -> Path:
        """Why the run did not finish."""
        return self.path / FAILURE

    @property
    def metrics_file(self) -> Path:
        """One line per epoch."""
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
        """With the run claimed: remove files that an earlier process left incomplete, and write the spec."""
        self._remove_temporary()
        self.failure_file.unlink(missing_ok=True)
        self.write_spec(spec)

    def write_spec(self, spec: RunSpec) -> None:
        """Write the spec of the run."""
        write_atomically(self.path / "spec.yaml", dump_yaml(spec.settings()).encode())

    def _remove_temporary(self) -> None:
        for leftover in self.path.glob(f"*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove dead claims and, in a complete run, files that only an unfinished one needs."""
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
    def state(self) -> State:
        """The state by the names of the run's files; none is read, so a damaged run may be `done`."""
        try:
            names = set(os.listdir(self.path))
        except OSError:
            return MISSING
        if self.result_file.name in names:
            return DONE
        if any(map(is_claim, names)) and holder_of(self.path):
            return RUNNING
        if FAILURE in names:
            return FAILED
        if self.log_file.name not in names and PROGRESS not in names:
            return MISSING
        # A process that failed without a scheduler, or whose scheduler was killed, left its error in the log only.
        return FAILED if last_error(self.log_file) else INTERRUPTED

    def write_failure(self, failure: RunFailure) -> None:
        """Write why the run did not finish; on a full disk nothing is written, and the first error stays the error."""
        with suppress(UserError):
            write_atomically(self.failure_file, to_json(failure.model_dump(mode="json")))

    def read_failure(self) -> RunFailure | None:
        """Why the run did not finish, as written; None if nothing legible is there."""
        try:
            return RunFailure.model_validate_json(self.failure_file.read_bytes())
        except (OSError, ValueError):
            return None

    @property
    def failure_reason(self) -> str:
        """Why the run did not finish, in one line: as the scheduler wrote it, else the last error of its log."""
        failure = self.read_failure()
        return failure.reason if failure else last_error(self.log_file) or ""

    @property
    def is_complete(self) -> bool:
        """Whether the run is done."""
        return self.result_file.is_file()

    def read_result(self) -> Result:
        """The result of a complete run.

        Raises:
            DamagedError: it cannot be read.
        """
        return read_result(self.result_file)

    def write_json(self, name: str, value: Json) -> None:
        """Write a JSON file beside the result."""
        write_atomically(self.path / name, to_json(value))

    def write_predictions(self, predictions: Mapping[str, Sequence[Prediction]]) -> None:
        """Write a few predictions of every evaluation."""
        self.write_json(PREDICTIONS, {name: [one.model_dump() for one in some] for name, some in predictions.items()})

    def read_predictions(self) -> dict[str, list[Prediction]]:
        """Evaluation -> a few predictions; empty for a run of a version that wrote none.

        Raises:
            DamagedError: the file cannot be read.
        """
        path = self.path / PREDICTIONS
        try:
            return PREDICTIONS_ADAPTER.validate_json(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DamagedError(
                f"'{path}' is damaged ({first_line(error)}): remove it, and reports leave its predictions out"
            ) from None

    def finish(self, result: Result) -> None:
        """Write the result, which makes the run complete, and remove what only an unfinished run needs."""
        write_atomically(self.result_file, to_json(result.model_dump(mode="json")))
        self._progress.unlink(missing_ok=True)

    def append_metrics(self, record: EpochRecord) -> None:
        """Add one line to `metrics.jsonl`, the record that W&B is fed from."""
        try:
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(record.line()) + "\n")
        except OSError as error:
            raise write_error(self.metrics_file, error) from error

    @property
    def recorded_epochs(self) -> int:
        """How many lines `metrics.jsonl` holds, legible or not."""
        try:
            return self.metrics_file.read_bytes().count(b"\n")
        except OSError:
            return 0

    def read_metrics(self, epochs: int | None = None) -> list[EpochRecord]:
        """The recorded epochs; with `epochs`, only the first `epochs` ones, and the file is cut to them.

        Raises:
            DamagedError: a line other than the last cannot be read.
        """
        try:
            lines = self.metrics_file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            reason = f"({error.strerror}): check its permissions"
            raise DamagedError(f"'{self.metrics_file}' cannot be read {reason}") from error
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                records.append(EpochRecord.model_validate_json(line))
            except ValueError:
                if number == len(lines):  # it was being written when the process was killed
                    break
                raise DamagedError(
                    f"'{self.metrics_file}' is damaged in line {number}: compute the run again with "
                    f"`skipbench rerun --anew {self.path.name}`"
                ) from None
        if epochs is not None:
            records = [record for record in records if record.epoch < epochs]
            text = "".join(json.dumps(record.line()) + "\n" for record in records)
            if lines:
                write_atomically(self.metrics_file, text.encode())
        return records

    def save_checkpoint(self, tensors: "dict[str, Tensor]", about: Json) -> int:
        """Write the trained tensors; returns the size of the file in bytes."""
        return save_tensors(self.checkpoint_file, tensors, about)

    def save_progress(self, tensors: "dict[str, Tensor]", progress: Progress) -> None:
        """Write what training needs to continue: one file, so that weights, momentum, epoch and costs agree."""
        save_tensors(self._progress, tensors, progress.model_dump(mode="json"))

    def load_progress(self) -> "tuple[dict[str, Tensor], Progress] | None":
        """What `save_progress` wrote last, or None.

        Raises:
            UserError: the file is damaged.
        """
        if not self._progress.is_file():
            return None
        tensors, about = load_tensors(self._progress)
        try:
            return tensors, Progress.model_validate(about)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise DamagedError(f"'{self._progress}' is damaged ({reason}): remove it to start the run anew") from None
