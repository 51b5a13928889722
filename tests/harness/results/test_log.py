"""The log of a run: what is written, and what is read from it."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.results.log import end_of_log, last_error, log, logging_to

INFO = "2026-01-01T00:00:00Z INFO going on from epoch 3"
ERROR = "2026-01-01T00:00:01Z ERROR 'emoji' is not there: set data.dataset"
TRACEBACK = [
    "2026-01-01T00:00:02Z ERROR failed",
    "Traceback (most recent call last):",
    '  File "run.py", line 3',
    "ValueError: odd",
]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([INFO, ERROR], "'emoji' is not there: set data.dataset"),
        ([INFO, *TRACEBACK], "ValueError: odd"),
        # It went on afterwards.
        ([ERROR, INFO], None),
        ([*TRACEBACK, INFO], None),
        ([ERROR, "2026-01-01T00:00:03Z WARNING stopped"], None),
        ([INFO], None),
        (["no line of ours", "ERROR like one"], None),
        ([], None),
    ],
)
def test_the_error_that_a_log_ends_with(lines: list[str], expected: str | None, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    assert last_error(path) == expected


def test_a_log_that_cannot_be_read_has_no_error(tmp_path: Path) -> None:
    assert last_error(tmp_path / "gone") is None
    assert last_error(tmp_path) is None
    (tmp_path / "log.txt").write_bytes(b"\xff\xfe\x00\n" + ERROR.encode() + b"\n")
    assert last_error(tmp_path / "log.txt") == "'emoji' is not there: set data.dataset"


def test_the_end_of_a_log_begins_at_its_last_error(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join([ERROR, INFO, *TRACEBACK]))
    assert end_of_log(path, 1) == TRACEBACK
    path.write_text("\n".join([INFO] * 5))
    assert end_of_log(path, 2) == [INFO] * 2
    assert end_of_log(tmp_path / "gone", 2) == []


@pytest.mark.parametrize(
    ("error", "level", "found"),
    [
        (UserError("no data"), "ERROR", "no data"),
        (ValueError("odd"), "ERROR", "ValueError: odd"),
        (SystemExit(1), "WARNING", None),
        (KeyboardInterrupt(), "WARNING", None),
    ],
)
def test_what_ends_a_run_is_logged(error: BaseException, level: str, found: str | None, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"

    def run() -> None:
        with logging_to(path):
            log.info("epoch 0")
            raise error

    with pytest.raises(type(error)):
        run()
    lines = path.read_text().splitlines()
    assert lines[0].endswith("Z INFO epoch 0")
    assert f"Z {level} " in lines[1]
    assert last_error(path) == found
    # The file is closed, and the next run appends to it.
    with logging_to(path):
        logging.getLogger("skipbench").info("again")
    assert path.read_text().splitlines()[-1].endswith("Z INFO again")
    assert last_error(path) is None


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_log_that_is_no_file_is_told_and_keeps_nobody_waiting(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "log.txt")
    with (
        pytest.raises(UserError, match=r"log\.txt' is no regular file: move it away"),
        logging_to(tmp_path / "log.txt"),
    ):
        pass


def test_of_a_huge_log_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    with path.open("wb") as file:
        file.truncate(2**34)
        file.seek(0, 2)
        file.write(b"\n2026-01-01T00:00:00Z ERROR the disk is full\n")
    assert last_error(path) == "the disk is full"
