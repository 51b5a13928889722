"""The only reader of a results folder: every run in it, its state, and the reason for it."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.errors import UserError, first_line, nearest
from harness.experiment.settings import Settings, validate
from harness.experiment.spec import RunSpec
from harness.experiment.yaml_values import parse_yaml
from harness.results.claim import Holder, holder_of
from harness.results.epochs import EpochRecord
from harness.results.failure import RunFailure
from harness.results.files import read_problem, read_regular
from harness.results.folder import DAMAGED, DONE, FAILED, INTERRUPTED, RUNNING, RunFolder, State
from harness.results.index_file import WORTH, ResultIndex, parse_indexed, state_of
from harness.results.origin import Origin, origin_of, parse_origin
from harness.results.record import DamagedError, Result, parse_result
from harness.text import counted

UNREADABLE = "unreadable"
# Bytes of the largest spec, and characters of the longest reason that are worth reading.
LARGEST_SPEC, LONGEST_REASON = 1 << 20, 300


def read_spec(path: Path) -> RunSpec:
    """The spec in a file.

    Raises:
        UserError: it is none.
        OSError: it cannot be read.
        ValueError, TypeError, ArithmeticError, RecursionError: it is damaged.
    """
    text = read_regular(path, largest=LARGEST_SPEC).decode()
    settings = parse_yaml(text, lambda line, problem: ValueError(f"line {line}: {problem}"))
    spec: RunSpec = validate(RunSpec, settings, "")
    json.dumps(spec.settings(), allow_nan=False)
    return spec


def shortened(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


@dataclass(frozen=True)
class StoredRun:
    """One run of a results folder, whatever became of it.

    Attributes:
        folder: of the run.
        planned: its spec, if it is known from an experiment; None reads it from the folder.
        index: of the results folder, which spares reading the run's result; None: it is read.
    """

    folder: RunFolder
    planned: RunSpec | None = None
    index: ResultIndex | None = None

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.path.name

    @cached_property
    def _indexed(self) -> bytes | None:
        """The result as the index has it; None if that has none of this state of its file."""
        return self.index.find(self.id, state_of(self.folder.result_file)) if self.index else None

    @cached_property
    def _content(self) -> tuple[Result | None, str]:
        """The result of a complete run, and why it cannot be read."""
        found = parse_indexed(self._indexed, self.id) if self._indexed else None
        content = (found, "") if found else self._read_content()
        if self.index:
            self.index.note(self.id)
        return content

    def _read_content(self) -> tuple[Result | None, str]:
        """As `_content`, from the file."""
        state = state_of(self.folder.result_file) if self.index else None
        try:
            text = read_regular(self.folder.result_file)
            result = parse_result(text, self.folder.result_file)
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, read_problem(self.folder.result_file, error)
        except DamagedError as error:
            return None, str(error)
        if result.id != self.id:
            return None, f"'{self.folder.path}' holds the result of run {result.id}: name the folder after its run"
        if self.index:
            self.index.learn(self.id, state, text)
        return result, ""

    @cached_property
    def _spec(self) -> tuple[RunSpec | None, str]:
        """The spec, and why it cannot be read."""
        if self.planned:
            return self.planned, ""
        if self.result:
            return self.result.spec, ""
        path = self.folder.path / "spec.yaml"
        try:
            spec = read_spec(path)
        except FileNotFoundError:
            return None, ""
        except UserError as error:
            reason = shortened(first_line(error))
            return None, f"'{path}' is not the spec of a run ({reason}): remove its folder to start the run anew"
        except OSError as error:
            return None, read_problem(path, error)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            reason = shortened(first_line(error))
            return None, f"'{path}' is damaged ({reason}): remove its folder to start the run anew"
        return spec, ""

    @cached_property
    def _epochs(self) -> tuple[list[EpochRecord], str]:
        """The recorded epochs, and why they cannot be read."""
        try:
            return self.folder.read_metrics(), ""
        except DamagedError as error:
            return [], str(error)

    @cached_property
    def _failure(self) -> tuple[RunFailure | None, str]:
        """Why the run failed, and why that cannot be read."""
        try:
            return self.folder.read_failure(), ""
        except DamagedError as error:
            return None, str(error)

    @cached_property
    def _state(self) -> State:
        """The state by the names of the run's files, which are listed once."""
        return self.folder.state

    @cached_property
    def _damage(self) -> str:
        """Why files that describe the run cannot be read; empty if they can."""
        state = self._state
        if state == DONE:
            return self._content[1]
        if state == DAMAGED:
            return f"'{self.folder.path}' cannot be read: check its permissions"
        of_state = {FAILED: self._failure, INTERRUPTED: self._epochs}
        return self._spec[1] or (of_state[state][1] if state in of_state else "")

    @property
    def result(self) -> Result | None:
        """The result, if the run is complete and legible; its file alone has the accuracies of single classes."""
        return self._content[0]

    @property
    def origin(self) -> Origin | None:
        """What decided the result besides the spec, if the run is complete and legible."""
        if self._indexed and (found := parse_origin(self._indexed, self.id)):
            if self.index:
                self.index.note(self.id)
            return found
        return origin_of(self.result) if self.result else None

    @property
    def spec(self) -> RunSpec | None:
        """What the run is; None if it was killed before that was written, or is damaged."""
        return self._spec[0]

    @cached_property
    def state(self) -> State:
        """One of `harness.results.folder.STATES`."""
        return DAMAGED if self._damage else self._state

    @property
    def reason(self) -> str:
        """Why the run failed or is damaged; empty otherwise."""
        if self.state == DAMAGED:
            return self._damage
        return self.folder.failure_reason if self.state == FAILED else ""

    @property
    def name(self) -> str:
        """As `RunSpec.name`."""
        return self.spec.name if self.spec else UNREADABLE

    @property
    def settings(self) -> Settings:
        """The spec as plain data, for printing; empty without one."""
        return self.spec.settings() if self.spec else {}

    @property
    def epochs(self) -> list[EpochRecord]:
        """Recorded epochs; empty if they cannot be read."""
        return self._epochs[0]

    @property
    def holder(self) -> Holder | None:
        """The process that computes the run now."""
        return holder_of(self.folder.path)

    @property
    def failure(self) -> RunFailure | None:
        """Why the run failed, with every attempt; None if it did not fail, or failed without a scheduler."""
        return self._failure[0] if self.state == FAILED else None

    @property
    def outcome(self) -> str:
        """Accuracies of a finished run, the reason of a failed or damaged one, the progress of any other."""
        if self.result:
            known = [f"{item.name} {item.accuracy:.2f}" for item in self.result.evaluations]
            return " ".join([*known, *(f"{item.evaluation} n/a" for item in self.result.refusals)])
        if self.reason:
            return self.reason
        if self.state == RUNNING and self.holder:
            return f"{self.progress}, by {self.holder}"
        return self.progress

    @property
    def progress(self) -> str:
        """How many epochs are recorded."""
        if self.spec and (steps := self.spec.train.num_steps(self.spec.data.shots)):
            return f"{sum(record.steps for record in self.epochs)} of {counted(steps, 'step')}"
        planned = counted(self.spec.train.epochs, "epoch") if self.spec else "? epochs"
        return f"{len(self.epochs)} of {planned}"


def stored_runs(results: Path) -> Iterator[StoredRun]:
    """All runs of a results folder, by id.

    Raises:
        UserError: there is no such folder.
    """
    folder = results / "runs"
    if not folder.is_dir():
        raise UserError(f"'{results}' holds no runs: name the folder with --results")
    with os.scandir(folder) as entries:
        ids = sorted(entry.name for entry in entries if is_folder(entry))
    index = ResultIndex(results, len(ids), ids) if len(ids) >= WORTH else None
    for run_id in ids:
        yield StoredRun(RunFolder(results, run_id), index=index)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether something is a folder, or a link to one; a link that leads nowhere is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def runs_if_any(results: Path) -> Iterator[StoredRun]:
    """As `stored_runs`; none if there is no such folder."""
    if (results / "runs").is_dir():
        yield from stored_runs(results)


def planned_runs(specs: Sequence[RunSpec], results: Path) -> Iterator[StoredRun]:
    """The runs of an experiment, whether or not they are in the results folder.

    One at a time, so that what a caller does not keep is gone: thousands of results take a gigabyte.
    """
    index = ResultIndex(results, len(specs)) if len(specs) >= WORTH else None
    for spec in specs:
        yield StoredRun(RunFolder(results, spec.id), spec, index)


def results_of(results: Path, ids: Sequence[str]) -> Iterator[Result]:
    """The results of finished runs, one at a time, from the index as far as it has them.

    Raises:
        DamagedError: one cannot be read.
    """
    index = ResultIndex(results, len(ids)) if len(ids) >= WORTH else None
    for run_id in ids:
        run = StoredRun(RunFolder(results, run_id), index=index)
        yield run.result or run.folder.read_result()


def find_run(results: Path, prefix: str) -> StoredRun:
    """The run whose id begins with `prefix`.

    Raises:
        UserError: there is none, or more than one.
    """
    ids = [run.id for run in stored_runs(results)]
    return StoredRun(RunFolder(results, find_id(ids, prefix, results)))


def find_id(ids: Sequence[str], prefix: str, results: Path) -> str:
    """The id that begins with `prefix`.

    Raises:
        UserError: there is none, or more than one.
    """
    found = [run_id for run_id in ids if prefix and run_id.startswith(prefix)]
    if prefix in found:
        return prefix
    if len(found) > 1:
        more = ", ..." if len(found) > 5 else ""
        raise UserError(f"'{prefix}' is the beginning of {len(found)} run ids: {', '.join(found[:5])}{more}")
    if not found:
        raise UserError(f"no run '{prefix}' in '{results}'.{nearest(prefix, ids)} `skipbench runs` lists all")
    return found[0]
