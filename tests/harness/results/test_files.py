"""Files of results: written whole or not at all, and tensors without pickle."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import UserError
from harness.results.files import (
    SAFETENSORS_TYPES,
    check_writable,
    save_tensors,
    saved_bytes,
    to_json,
    write_atomically,
)

FilesUpTo = Callable[[int], AbstractContextManager[None]]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for data in (b"old", b"", b"new"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert names(tmp_path) == {"a.json"}


def test_the_old_file_stays_when_the_new_one_cannot_be_written(tmp_path: Path, files_up_to: FilesUpTo) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    with files_up_to(1000), pytest.raises(UserError, match=r"a\.json' cannot be written: File too large"):
        write_atomically(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"a.json"}


def test_no_temporary_stays_when_the_place_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.json" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=r"a\.json' cannot be written: Is a directory"):
        write_atomically(tmp_path / "a.json", b"new")
    assert names(tmp_path) == {"a.json"}


def test_a_missing_folder_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: No such file"):
        write_atomically(tmp_path / "gone" / "a.json", b"new")


def test_a_file_in_place_of_the_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "a.json", b"new")


def test_json_is_readable_and_has_no_nan() -> None:
    assert to_json({"b": "é", "a": [1.5, None]}) == '{\n "b": "é",\n "a": [\n  1.5,\n  null\n ]\n}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"a": float("nan")})


def test_a_writable_results_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "results")
    assert names(tmp_path / "new" / "results") == set()


@pytest.mark.parametrize("about", [{}, {"id": "ü", "spec": {"text": 'a "b" \\ c', "n": 1.5}}])
def test_the_size_of_a_file_is_known_before_it_is_written(about: dict[str, Any], tmp_path: Path) -> None:
    tensors = {
        "b.weight": torch.randn(3, 5),
        "a.half": torch.randn(7).half(),
        "z.count": torch.zeros((), dtype=torch.int64),
        "mask": torch.ones(9, dtype=torch.bool),
        "a.weight": torch.randn(1000),
    }
    # A method may have buffers of any type; sizes differ, so that a wrong order would change the length of the header.
    for number, dtype in enumerate(SAFETENSORS_TYPES):
        tensors[f"{number}"] = torch.zeros(7**number % 10007, dtype=getattr(torch, dtype.removeprefix("torch.")))
    for names in (list(tensors), ["mask"], []):
        some = {name: tensors[name] for name in names}
        assert saved_bytes(some, about) == save_tensors(tmp_path / "some.safetensors", some, about)
