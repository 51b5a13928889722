"""The file beside the runs of a results folder that spares reading thousands of results one by one.

`index.tsv` has one line for each finished run: its id, the state of its `result.json` (size, times of change, inode), a
checksum, and the result as compact JSON. It is a copy and never believed over
the files: a line counts only as long as the state of the file is the one that it was made from, so that a result that
was changed, replaced or copied here is read anew. It may be removed at any moment; a damaged line is as good as none.
Any number of processes may write it: each writes the whole file under another name and renames it.
"""

import json
import os
import stat
import time
import zlib
from collections.abc import Collection
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from harness.errors import UserError
from harness.machine.digests import SETTLED
from harness.results.files import write_atomically
from harness.results.numbers import read_json
from harness.results.record import SCHEMA_VERSION, Result

INDEX = "index.tsv"
FORM = b"skipbench-index\t1"
"""The first line; another form of the file is read as if there were none."""
WORTH = 100
"""So many results are read from their own files faster than from an index, or before it is written anew."""
LARGEST = 1 << 31


class State(NamedTuple):
    """What tells that a file was not changed: its size, its times of change in nanoseconds and its inode."""

    size: int
    modified: int
    changed: int
    inode: int


def state_of(path: Path) -> State | None:
    """The state of a regular file; None if it is none, or cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return State(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def marks_of(state: State) -> bytes:
    """A state as it stands in the index."""
    return b"%d\t%d\t%d\t%d\t" % state


def checksum(text: bytes) -> bytes:
    """What tells that a text is whole, as it stands in the index."""
    return b"%08x\t" % zlib.crc32(text)


def compact(text: bytes) -> bytes:
    """A legible result as it stands in the index: all that it says, in one line."""
    return json.dumps(read_json(text), separators=(",", ":"), allow_nan=False).encode()


def parse_indexed(text: bytes, run_id: str) -> Result | None:
    """The result of a run from a text that was legible when it was written; None if it is no longer, or of another."""
    with suppress(ValueError):
        result = Result.model_validate_json(text)
        if result.id == run_id and result.schema_version <= SCHEMA_VERSION:
            return result
    return None


class ResultIndex:
    """The index of a results folder, and what is to be added to it.

    It is written when the last of the runs was asked for, if it lacked much.

    Args:
        results: the results folder.
        asked: how many runs will be asked for.
        known: the ids of all runs of the folder: the lines of others are dropped; None if only some are looked at.
    """

    def __init__(self, results: Path, asked: int, known: Collection[str] | None = None) -> None:
        self.path = results / INDEX
        self._asked, self._looked_at = asked, set[str]()
        self._known = known
        self._new: dict[str, bytes] = {}

    @cached_property
    def _lines(self) -> dict[str, bytes]:
        """Id -> the rest of its line, as it was found."""
        try:
            with self.path.open("rb") as file:
                found = file.read(LARGEST)
        except OSError:
            return {}
        first, *lines = found.split(b"\n")
        if first != FORM:
            return {}
        # A line that was cut has no checksum that fits.
        pairs = (line.partition(b"\t") for line in lines)
        return {name.decode("ascii", "replace"): rest for name, _, rest in pairs}

    def find(self, run_id: str, state: State | None) -> bytes | None:
        """The compact result of a run whose file has this state; None if the index has none of it."""
        line = self._lines.get(run_id) if state else None
        if line is None or state is None:
            return None
        marks, text = marks_of(state), line[line.find(b"{") :]
        return text if line == marks + checksum(text) + text else None

    def learn(self, run_id: str, state: State | None, text: bytes) -> None:
        """Take in a legible result as it was read from a file that had this state before."""
        # Of two changes within one tick of a clock the second would not be noticed.
        if state and time.time() - state.changed / 1e9 > SETTLED:
            short = compact(text)
            self._new[run_id] = marks_of(state) + checksum(short) + short

    def note(self, run_id: str) -> None:
        """Note that a run was asked for; after the last one, write the index if it lacked much.

        Where nothing can be written, results are read from their files again next time.
        """
        self._looked_at.add(run_id)
        if len(self._looked_at) < self._asked or len(self._new) < WORTH:
            return
        lines = {**self._lines, **self._new}
        if self._known is not None:
            lines = {run_id: lines[run_id] for run_id in sorted(lines.keys() & set(self._known))}
        content = [FORM, *(b"\t".join([run_id.encode(), rest]) for run_id, rest in lines.items()), b""]
        with suppress(UserError):
            write_atomically(self.path, b"\n".join(content))
