"""`metrics.jsonl`: one line per epoch of a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from harness.results.files import read_problem, read_regular
from harness.results.numbers import Amount, Count, Number, Percent
from harness.results.record import DamagedError, Record

ACCURACY_KEY = "accuracy."
# What stands in a line under keys of its own -> the field that gathers them.
GATHERED = {ACCURACY_KEY: "accuracies", "seconds.": "seconds", "peak_bytes.": "peak_bytes", "system.": "system"}


class StepRecord(NamedTuple):
    """One of the training steps of an epoch that are recorded.

    Attributes:
        step: 0, 1, ... of the whole training.
        loss: of its batch.
        lr: learning rate of all weights but the image tower's own.
        lr_image: learning rate of the image tower's own weights.
    """

    step: Count
    loss: Number
    lr: Amount
    lr_image: Amount


class EpochRecord(Record):
    """One epoch: a line of `metrics.jsonl`.

    Attributes:
        epoch: 0, 1, ...
        loss: mean over the epoch's steps.
        lr: learning rate of all weights but the image tower's own.
        lr_image: learning rate of the image tower's own weights.
        steps: steps of the epoch.
        images: images of the epoch.
        train_seconds: time in training steps.
        cache_seconds: time in filling the cache.
        accuracies: evaluation -> accuracy in percent, if the epoch was validated.
        selection_accuracy: percent, on the images by which the epoch to keep is chosen.
        seconds: phase -> time in it since the epoch before, of the phases that are no part of training steps.
        peak_bytes: phase -> highest peak of its memory so far.
        system: what the run's processes used since the epoch before, if that is recorded (`harness.machine.usage`).
        step_records: some of its steps.
    """

    epoch: Count
    loss: Number
    lr: Amount
    lr_image: Amount | None = None
    steps: Count = 0
    images: Count = 0
    train_seconds: Amount = 0.0
    cache_seconds: Amount = 0.0
    accuracies: dict[str, Percent] = Field(default_factory=dict)
    selection_accuracy: Percent | None = None
    seconds: dict[str, Amount] = Field(default_factory=dict)
    peak_bytes: dict[str, Count] = Field(default_factory=dict)
    system: dict[str, Amount] = Field(default_factory=dict)
    step_records: tuple[StepRecord, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        found = dict(value)
        for prefix, field in GATHERED.items():
            if field not in value:
                found[field] = {key.removeprefix(prefix): value[key] for key in value if str(key).startswith(prefix)}
        return found

    @property
    def images_per_second(self) -> float:
        """Throughput of training and filling the cache together."""
        seconds = self.train_seconds + self.cache_seconds
        return self.images / seconds if seconds else 0.0

    def line(self) -> dict[str, Any]:
        """The record as it is written: accuracies as keys `accuracy.<evaluation>`, likewise other groups."""
        values = self.model_dump(mode="json", exclude=set(GATHERED.values()))
        if self.selection_accuracy is None:
            del values["selection_accuracy"]
        steps = values.pop("step_records")
        for prefix, field in GATHERED.items():
            values |= {f"{prefix}{name}": value for name, value in getattr(self, field).items()}
        return {**values, "step_records": steps} if steps else values


def read_bytes(path: Path) -> bytes:
    """The file as it is; empty if it is not there.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        return read_regular(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DamagedError(read_problem(path, error)) from None


def read_epochs(path: Path) -> list[EpochRecord]:
    """The recorded epochs: 0, 1, ... without a gap.

    Raises:
        DamagedError: the file cannot be read, or a line other than the last is not that of its epoch.
    """
    lines = read_bytes(path).decode(errors="replace").splitlines()
    records: list[EpochRecord] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = EpochRecord.model_validate_json(line)
        except ValueError:
            if number == len(lines):  # earlier versions could be killed while they wrote it
                break
            raise _damaged(path, f"in line {number}") from None
        if record.epoch != len(records):
            raise _damaged(path, f"in line {number}, which is of epoch {record.epoch}")
        records.append(record)
    return records


def epoch_lines(records: Sequence[EpochRecord]) -> bytes:
    """The content of the file."""
    return "".join(json.dumps(record.line()) + "\n" for record in records).encode()


def _damaged(path: Path, where: str) -> DamagedError:
    return DamagedError(
        f"'{path}' is damaged {where}: compute the run again with `skipbench rerun --anew {path.parent.name}`"
    )
