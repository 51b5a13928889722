"""Weights in several files, as the hub's libraries write large models: an index names the file of every tensor."""

from pathlib import Path
from typing import Any

from harness.clip.strict_json import MIB, read_json, shown
from harness.errors import UserError

ENDING = ".index.json"
# An index has a line for each tensor; the largest CLIP's has a tenth of that.
MOST_BYTES = 8 * MIB


def is_index(path: Path) -> bool:
    """Whether a file is an index of weights, by its name."""
    return path.name.endswith(ENDING)


def shards_of(index: Path) -> dict[Path, tuple[str, ...]]:
    """The files of an index -> the tensors that each of them holds.

    Raises:
        UserError: it is no index, or a file is missing or lies elsewhere.
    """
    files = named_in(index)
    if missing := [path.name for path in files if not path.is_file()]:
        raise UserError(
            f"index '{index}' names {len(files)} files of weights, and {len(missing)} of them are missing, such as "
            f"{shown(missing[0])}: copy or download them too"
        )
    return files


def named_in(index: Path) -> dict[Path, tuple[str, ...]]:
    """As `shards_of`, whether the files are there or not."""
    where = f"index '{index}'"
    names: Any = read_json(index, where, "an object with weight_map", MOST_BYTES).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise UserError(f"{where} has no weight_map from names of tensors to files")
    files: dict[Path, list[str]] = {}
    for tensor, name in names.items():
        if Path(name).name != name or name in ("", ".", ".."):
            raise UserError(f"{where} names the file {shown(name)}, which is not in its folder")
        files.setdefault(index.with_name(name), []).append(tensor)
    return {path: tuple(tensors) for path, tensors in files.items()}
