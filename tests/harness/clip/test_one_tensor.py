"""Files of one tensor, which options of methods name: what is read, and what is refused in one line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.clip import checkpoints
from harness.clip.checkpoints import read_tensor
from harness.errors import UserError

WEIGHT = torch.arange(6.0).view(2, 3)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.safetensors", lambda path: save_file({"weight": WEIGHT}, path)),
        ("x.pt", lambda path: torch.save({"weight": WEIGHT}, path)),
        ("x.pth", lambda path: torch.save({"state_dict": {"fc.weight": torch.nn.Parameter(WEIGHT)}}, path)),
        ("x.pt", lambda path: torch.save(WEIGHT, path)),
    ],
)
def test_the_only_tensor_is_read(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    found = read_tensor(tmp_path / name)
    assert torch.equal(found, WEIGHT)
    assert not found.requires_grad


class Code:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": WEIGHT, "b": WEIGHT}, "holds 2 tensors ('a', 'b'): keep one"),
        ({}, "is empty"),
        ({"weight": 3.0}, "'weight' is a float"),
        ([WEIGHT], "it holds a list"),
        (WEIGHT.long(), "must be floating-point numbers"),
        (WEIGHT / 0, "must be floating-point numbers, finite"),
        (torch.ones(1).expand(1 << 20, 1 << 20), "(1048576x1048576) must be floating-point numbers, finite and stored"),
        (WEIGHT.to_sparse(), "sparse"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError) as error:
        read_tensor(tmp_path / "x.pt")
    assert message in str(error.value)
    assert str(tmp_path / "x.pt") in str(error.value)
    assert "\n" not in str(error.value)


def test_no_code_is_run(tmp_path: Path) -> None:
    torch.save({"weight": Code(tmp_path / "touched")}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="could run code"):
        read_tensor(tmp_path / "x.pt")
    assert not (tmp_path / "touched").exists()


def test_only_regular_files_of_a_limited_size_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, tmp_path / "nowhere", Path("/dev/zero")):
        with pytest.raises(UserError, match="is no regular file, or does not exist"):
            read_tensor(place)
    torch.save(WEIGHT, tmp_path / "x.pt")
    monkeypatch.setattr(checkpoints, "LARGEST_TENSOR", 100)
    with pytest.raises(UserError, match="a file of one tensor has at most 100"):
        read_tensor(tmp_path / "x.pt")
