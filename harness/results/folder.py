"""The folder of one run; the run is complete if and only if the folder holds `result.json`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import TypeAdapter

from harness.errors import UserError, first_line
from harness.experiment.spec import RunSpec
from harness.experiment.yaml_values import dump_yaml
from harness.results.claim import Claim, ClaimedError, claimed, holder_of, is_claim, remove_dead_claims
from harness.results.epochs import EpochRecord, epoch_lines, read_bytes, read_epochs
from harness.results.failure import RunFailure
from harness.results.files import (
    TEMPORARY,
    Json,
    cannot_write,
    free_place,
    nothing,
    read_problem,
    read_regular,
    remove_file,
    save_tensors,
    to_json,
    write_atomically,
)
from harness.results.log import last_error
from harness.results.progress import Progress, load_progress, save_progress
from harness.results.record import DamagedError, Prediction, Result, read_result

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
        self._claim: Claim | None = None

    @cached_property
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

        Inside, every file is written only as long as the claim is held.

        Raises:
            ClaimedError: another process holds it.
        """
        with claimed(self.path) as claim:
            # An earlier holder that wakes up cannot finish a file any more: its temporary file is gone.
            with suppress(OSError):
                for name in os.listdir(self.path):
                    if name.endswith(TEMPORARY):
                        (self.path / name).unlink(missing_ok=True)
            self._claim = claim
            try:
                yield claim
            finally:
                self._claim = None

    def check_claim(self) -> None:
        """Raise a TakenOverError if this process held the claim on the run and has lost it."""
        if self._claim:
            self._claim.check()

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the run; with the run claimed, only as long as the claim is held.

        Raises:
            UserError: no space, no permission, or the run was taken over.
        """
        write_atomically(self.path / name, data, self._check)

    @property
    def _check(self) -> Callable[[], None]:
        return self._claim.check if self._claim else nothing

    def prepare(self, spec: RunSpec) -> None:
        """With the run claimed: remove what an earlier process left of its failure, and write the spec."""
        self.check_claim()
        remove_file(self.failure_file)
        self.write_spec(spec)

    def write_spec(self, spec: RunSpec) -> None:
        """Write the spec of the run."""
        self.write("spec.yaml", dump_yaml(spec.settings()).encode())

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
            target = free_place(root / "replaced", self.path.name)
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
        except (FileNotFoundError, NotADirectoryError):
            return MISSING
        except OSError:
            return DAMAGED
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
        """Write why the run did not finish; on a full disk nothing is written, and the first error stays the error.

        Raises:
            ClaimedError: another process computes the run, so it has not failed yet.
        """
        try:
            with self.claimed():
                if not self.is_complete:
                    self.write(FAILURE, to_json(failure.model_dump(mode="json")))
        except ClaimedError:
            raise
        except UserError:
            pass

    def read_failure(self) -> RunFailure | None:
        """Why the run did not finish, as written; None if nothing is there.

        Raises:
            DamagedError: it cannot be read.
        """
        try:
            return RunFailure.model_validate_json(read_regular(self.failure_file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedError(read_problem(self.failure_file, error)) from None
        except ValueError as error:
            raise DamagedError(
                f"'{self.failure_file}' is damaged ({first_line(error)}): `skipbench rerun {self.path.name}` writes a "
                "new one if the run fails again"
            ) from None

    @property
    def failure_reason(self) -> str:
        """Why the run did not finish, in one line: as the scheduler wrote it, else the last error of its log.

        Raises:
            DamagedError: it cannot be read.
        """
        failure = self.read_failure()
        return failure.reason if failure else last_error(self.log_file) or ""

    @property
    def is_complete(self) -> bool:
        """Whether the run is done; whatever has the name of its result, readers judge what it is."""
        return os.path.lexists(self.result_file)

    def read_result(self) -> Result:
        """The result of a complete run.

        Raises:
            DamagedError: it cannot be read.
        """
        return read_result(self.result_file)

    def write_json(self, name: str, value: Json) -> None:
        """Write a JSON file beside the result."""
        self.write(name, to_json(value))

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
            return PREDICTIONS_ADAPTER.validate_json(read_regular(path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DamagedError(read_problem(path, error)) from None
        except ValueError as error:
            raise DamagedError(
                f"'{path}' is damaged ({first_line(error)}): remove it, and reports leave its predictions out"
            ) from None

    def finish(self, result: Result) -> None:
        """Write the result, which makes the run complete, and remove what only an unfinished run needs."""
        self.write(self.result_file.name, to_json(result.model_dump(mode="json")))
        self._progress.unlink(missing_ok=True)

    def append_metrics(self, *records: EpochRecord) -> None:
        """Add lines to `metrics.jsonl`, the record that W&B is fed from.

        The file is written anew: a process that lost the run while it slept could still append to an open one.
        """
        self.write(self.metrics_file.name, read_bytes(self.metrics_file) + epoch_lines(records))

    @property
    def recorded_epochs(self) -> int:
        """How many lines `metrics.jsonl` holds, legible or not."""
        with suppress(DamagedError):
            return read_bytes(self.metrics_file).count(b"\n")
        return 0

    def read_metrics(self, epochs: int | None = None) -> list[EpochRecord]:
        """The recorded epochs; with `epochs`, only the first `epochs` ones, and the file is cut to them.

        Raises:
            DamagedError: a line other than the last cannot be read.
        """
        records = read_epochs(self.metrics_file)[:epochs] if epochs != 0 else []
        if epochs is not None and os.path.lexists(self.metrics_file):
            self.write(self.metrics_file.name, epoch_lines(records))
        return records

    def save_checkpoint(self, tensors: "dict[str, Tensor]", about: Json) -> int:
        """Write the trained tensors; returns the size of the file in bytes."""
        return save_tensors(self.checkpoint_file, tensors, about, self._check)

    def save_progress(self, tensors: "dict[str, Tensor]", progress: Progress) -> None:
        """Write what training needs to continue."""
        save_progress(self._progress, self.path.name, tensors, progress, self._check)

    def load_progress(self, epochs: int | None = None) -> "tuple[dict[str, Tensor], Progress] | None":
        """What `save_progress` wrote last, or None.

        Args:
            epochs: of the run's training; None if they are not known.

        Raises:
            DamagedError: the file is damaged, of another run, or `metrics.jsonl` lacks epochs before it.
        """
        found = load_progress(self._progress, self.path.name, epochs)
        if found and (recorded := len(self.read_metrics())) < found[1].epoch:
            raise DamagedError(f"'{self.metrics_file}' is damaged (it has {recorded} of {found[1].epoch} epochs)")
        return found


def legible_failure(folder: RunFolder) -> RunFailure | None:
    """Why a run did not finish, as written; None if nothing legible is there."""
    with suppress(DamagedError):
        return folder.read_failure()
    return None
