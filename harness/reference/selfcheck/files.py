"""Whether the file system of the results folder keeps what results rely on."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.reference.selfcheck.findings import Asked, Finding, Say
from harness.results.files import write_atomically

SECTION = "files"
LEAST = 2**28
"""Free bytes that there must be: a few runs keep as much."""


def check(asked: Asked, say: Say) -> list[Finding]:
    """Free bytes, and whether a file is replaced as a whole."""
    free = shutil.disk_usage(asked.folder).free
    with TemporaryDirectory(dir=asked.folder) as folder:
        replaced = _is_replaced(Path(folder) / "file")
    where = "results folder"
    return [
        Finding(SECTION, where, "free space", free, "bytes", LEAST, free >= LEAST),
        Finding(SECTION, where, "a file is replaced as a whole", "yes" if replaced else "no", "", "yes", replaced),
    ]


def _is_replaced(path: Path) -> bool:
    """Whether an open file keeps its content when another gets its name, and the name then has the new content."""
    old, new = b"old" * 1000, b"new" * 1000
    write_atomically(path, old)
    with path.open("rb") as opened:
        write_atomically(path, new)
        is_kept = opened.read() == old
    return is_kept and path.read_bytes() == new and os.listdir(path.parent) == [path.name]
