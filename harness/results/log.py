"""The log of a run: written by its processes, read for the reason of a failure."""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from harness.errors import UserError
from harness.machine.masking import masked
from harness.results.claim import TakenOverError
from harness.results.files import read_regular

log = logging.getLogger("skipbench")

LINE = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:]+)Z ([A-Z]+) (.*)$")
# Bytes at the end of a log that are read.
LOG_BYTES = 1 << 20


class MaskingFormatter(logging.Formatter):
    """Formats records, tracebacks included, without the secrets in them."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return masked(super().format(record))


UNEXPECTED = "failed"
"""Message of an unexpected error, whose traceback follows it."""


@contextmanager
def writing_to(path: Path, opened: bool = True) -> Iterator[None]:
    """Append what is logged to a file, and to no other that was written to before.

    Args:
        path: the file.
        opened: whether it is opened at once, not only when something is logged.

    Raises:
        UserError: something else has the file's name; a named pipe would keep the run waiting for its reader.
    """
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"'{path}' is no regular file: move it away")
    logging.raiseExceptions = False  # a full disk must not hide the error that says so
    handler = logging.FileHandler(path, delay=not opened)
    formatter = MaskingFormatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    outer = log.handlers[:]
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.handlers[:] = outer
        handler.close()


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """As `writing_to`, and an exception that passes is logged there."""
    with writing_to(path):
        try:
            yield
        except TakenOverError:
            # The log is the other process's now.
            raise
        except UserError as error:
            log.error("%s", error)
            raise
        except (SystemExit, KeyboardInterrupt):
            log.warning("stopped")
            raise
        except BaseException:
            log.exception(UNEXPECTED)
            raise


def read_log(path: Path) -> list[str]:
    """Lines of the end of a log; none if it cannot be read."""
    try:
        return read_regular(path, last=LOG_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []


def last_error(path: Path) -> str | None:
    """The error that a log ends with, in one line; None if it does not end with one."""
    lines = read_log(path)
    entries = [match for match in map(LINE.match, lines) if match]
    if not entries or entries[-1][2] != "ERROR":
        return None
    # The last line of a traceback says what the error was.
    return lines[-1] if entries[-1][3] == UNEXPECTED else entries[-1][3]


def last_entry_time(path: Path) -> datetime | None:
    """When a process of the run wrote into its log last, in UTC; None if there is no log."""
    for line in reversed(read_log(path)):
        if match := LINE.match(line):
            with suppress(ValueError):
                return datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)
    return None


def end_of_log(path: Path, count: int) -> list[str]:
    """The last lines of a log: from its last error on if there is one, else `count` of them."""
    lines = read_log(path)
    errors = [number for number, line in enumerate(lines) if (match := LINE.match(line)) and match[2] == "ERROR"]
    return lines[errors[-1] :] if errors else lines[-count:]
