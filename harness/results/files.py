"""Files of results: written atomically under names that no two writers share, tensors without pickle."""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import NoSpaceError, UserError
from harness.machine.processes import start_of, this_machine
from harness.machine.units import MIB

if TYPE_CHECKING:  # torch and pandas take a second each, and listing runs needs neither
    from torch import Tensor


TEMPORARY = ".tmp"
# Machine, process and its start, and a random part: no two writers have the same temporary file.
WRITER = re.compile(rf"\.([0-9a-f]{{8}})-(\d+)-(\d*)-[0-9a-f]{{8}}{re.escape(TEMPORARY)}$")
# Seconds after which nobody writes a temporary file of another machine any more.
ABANDONED = 3600.0
# How often a file is written whose temporary file vanishes meanwhile.
ATTEMPTS = 5
# Bytes of the largest file of a run that is read as a whole, tensors apart.
LARGEST = 64 * MIB


Json = dict[str, Any]


# Names of types in a file, in the order in which safetensors writes tensors.
SAFETENSORS_TYPES = {
    "torch.uint64": "U64",
    "torch.int64": "I64",
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.uint32": "U32",
    "torch.int32": "I32",
    "torch.bfloat16": "BF16",
    "torch.float16": "F16",
    "torch.uint16": "U16",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


def nothing() -> None:
    """The check of a file that belongs to no claimed run."""


def this_writer() -> tuple[str, str, str]:
    """Machine, process and its start, as they stand in the names of temporary files."""
    return writer(this_machine(), os.getpid())


@cache
def writer(machine: str, process: int) -> tuple[str, str, str]:
    """A digest of the name of this machine, a process of it that lives, and its start."""
    return hashlib.sha256(machine.encode()).hexdigest()[:8], str(process), start_of(process) or ""


def temporary_path(path: Path) -> Path:
    """A name beside a file, for its content until that is complete; no other call, process or machine has the same."""
    stem = path.name.encode(errors="replace")[:100].decode(errors="ignore")
    return path.with_name(f"{stem}.{'-'.join(this_writer())}-{secrets.token_hex(4)}{TEMPORARY}")


def remove_leftovers(folder: Path, beginning: str = "") -> None:
    """Remove temporary files whose writers are gone; those of living processes stay.

    Args:
        folder: where they are.
        beginning: of their names.
    """
    with suppress(OSError):
        for name in os.listdir(folder):
            if (
                name.startswith(beginning)
                and (match := WRITER.search(name))
                and is_abandoned(folder / name, *match.groups())
            ):
                (folder / name).unlink(missing_ok=True)


def is_abandoned(path: Path, machine: str, pid: str, start: str) -> bool:
    """Whether the writer of a temporary file is gone: by its process on this machine, by the file's age on others."""
    if machine == this_writer()[0]:
        return start_of(int(pid)) != start
    return file_system_time(path.parent) - path.lstat().st_mtime > ABANDONED


def file_system_time(folder: Path) -> float:
    """The time by the clock of the file system, which may be the clock of another machine.

    Raises:
        OSError: nothing can be written there.
    """
    probe = temporary_path(folder / "clock")
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, check: Callable[[], None] = nothing) -> None:
    """Write a file so that it exists completely or not at all.

    Whoever takes over a run removes the temporary files of the process that had it. So that process fails here even if
    it falls asleep between the check and the renaming.

    Args:
        path: the file.
        data: its content.
        check: is called just before the file gets its name; raises if it must not.

    Raises:
        UserError: no space, no permission; or what `check` raises.
    """
    if check is nothing:
        remove_leftovers(path.parent, f"{path.name}.")
    for attempts_left in reversed(range(ATTEMPTS)):
        temporary = temporary_path(path)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            check()
            temporary.replace(path)
            return
        except FileNotFoundError as error:
            check()
            if not attempts_left or not path.parent.is_dir():
                raise write_error(path, error) from error
        except OSError as error:
            raise write_error(path, error) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        UserError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"'{path}' cannot be removed ({error.strerror}): move it away") from error


def write_error(path: Path, error: OSError) -> UserError:
    """The error of a file that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (NoSpaceError if full else UserError)(f"'{path}' cannot be written: {error.strerror}")


def read_regular(path: Path, largest: int = LARGEST, last: int | None = None) -> bytes:
    """The content of a regular file; anything else of that name is refused, and never waited for.

    Args:
        path: the file.
        largest: bytes that it may have.
        last: read only so many bytes, at its end; then it may have any size.

    Raises:
        OSError: it is not there, may not be read, is no regular file, or is larger.
    """
    # Without O_NONBLOCK a named pipe would keep us waiting for its writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if last is not None:
            file.seek(max(0, found.st_size - last))
            return file.read(last)
        if found.st_size > largest:
            raise OSError(
                errno.EFBIG, f"it has {found.st_size / MIB:.0f} MiB, more than {largest / MIB:.0f}", str(path)
            )
        return file.read(largest)


def read_problem(path: Path, error: OSError) -> str:
    """Why a file cannot be read and what to do, in one line."""
    advice = "check its permissions" if error.errno in (errno.EACCES, errno.EPERM) else "move it away"
    return f"'{path}' cannot be read ({error.strerror}): {advice}"


def to_json(value: Json) -> bytes:
    """JSON for people: indented, keys in the order given."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def save_tensors(path: Path, tensors: "dict[str, Tensor]", about: Json, check: Callable[[], None] = nothing) -> int:
    """Write tensors and plain data as safetensors; returns the size in bytes. `check` as in `write_atomically`."""
    # Not at the top: listing runs does not need torch, which takes seconds to import.
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(own, metadata={"about": json.dumps(about)})
    write_atomically(path, data, check)
    return len(data)


def saved_bytes(tensors: "dict[str, Tensor]", about: Json) -> int:
    """Size of the file that `save_tensors` would write, from shapes alone."""
    header: Json = {"__metadata__": {"about": json.dumps(about)}}
    end = 0
    types = list(SAFETENSORS_TYPES)
    for name in sorted(tensors, key=lambda name: (types.index(str(tensors[name].dtype)), name)):
        shape, begin = list(tensors[name].shape), end
        end += tensors[name].numel() * tensors[name].dtype.itemsize
        dtype = SAFETENSORS_TYPES[str(tensors[name].dtype)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + length + -length % 8 + end


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], Json]":
    """Read what `save_tensors` wrote.

    Raises:
        UserError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["about"])  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is damaged ({error}): remove it to start the run anew") from error


def cannot_write(folder: Path, error: OSError) -> UserError:
    """The error of a results folder that cannot be written."""
    return UserError(
        f"results folder '{folder}' cannot be written ({error.strerror}): choose another with RESULTS=/path "
        "or change its permissions"
    )


def check_writable(root: Path) -> None:
    """Raise a UserError if nothing can be written to the results folder."""
    probe = temporary_path(root / "writable")
    try:
        root.mkdir(parents=True, exist_ok=True)
        remove_leftovers(root, "writable.")
        probe.write_text("")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(root, error) from error


def free_place(folder: Path, name: str) -> Path:
    """`<folder>/<name>-<n>` with the next number; one that was removed is not given again while a later one exists."""
    taken = [path.name.rpartition("-")[2] for path in folder.glob(f"{name}-*")]
    return folder / f"{name}-{1 + max((int(word) for word in taken if word.isdecimal()), default=0)}"
