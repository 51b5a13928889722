"""Files of results: written atomically, tensors without pickle."""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import NoSpaceError, UserError

if TYPE_CHECKING:  # torch and pandas take a second each, and listing runs needs neither
    from torch import Tensor


TEMPORARY = ".tmp"


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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it exists completely or not at all.

    Raises:
        UserError: no space, no permission.
    """
    temporary = path.with_name(f"{path.name}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> UserError:
    """The error of a file that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (NoSpaceError if full else UserError)(f"'{path}' cannot be written: {error.strerror}")


def to_json(value: Json) -> bytes:
    """JSON for people: indented, keys in the order given."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def save_tensors(path: Path, tensors: "dict[str, Tensor]", about: Json) -> int:
    """Write tensors and plain data as safetensors; returns the size in bytes."""
    # Not at the top: listing runs does not need torch, which takes seconds to import.
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(own, metadata={"about": json.dumps(about)})
    write_atomically(path, data)
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
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"'{path}' is damaged ({error}): remove it to start the run anew") from error


def cannot_write(folder: Path, error: OSError) -> UserError:
    """The error of a results folder that cannot be written."""
    return UserError(
        f"results folder '{folder}' cannot be written ({error.strerror}): choose another with RESULTS=/path "
        "or change its permissions"
    )


def check_writable(root: Path) -> None:
    """Raise a UserError if nothing can be written to the results folder."""
    probe = root / f"writable{TEMPORARY}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise cannot_write(root, error) from error
