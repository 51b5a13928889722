"""`metrics.jsonl`: one line per epoch of a run."""

import json
from collections.abc import Sequence
from pathlib import Path

from harness.results.files import read_problem, read_regular
from harness.results.record import DamagedError, EpochRecord


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
