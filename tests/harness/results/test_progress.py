"""What an interrupted run goes on from is believed only if it is whole, of that run and of its training."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import UserError
from harness.results.files import nothing
from harness.results.progress import Progress, digest_of, load_progress, save_progress
from harness.results.record import DamagedError

TENSORS = {
    "w": torch.arange(6.0).reshape(2, 3),
    "momentum.w": torch.ones(2, 3),
    "half": torch.ones(3).bfloat16(),
    "mask": torch.tensor([True, False]),
    "count": torch.tensor(7),
    "none": torch.empty(0, 3),
}
PROGRESS = Progress(epoch=2, starts=1, flops={"train": 1e9})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "progress.safetensors"
    save_progress(file, "run1", TENSORS, PROGRESS, nothing)
    return file


def metadata(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return found


def test_what_was_saved_is_read(path: Path) -> None:
    found = load_progress(path, "run1", epochs=2)
    assert found is not None
    tensors, progress = found
    assert progress == PROGRESS
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert load_progress(path.with_name("other"), "run1") is None


def other_run(path: Path) -> None:
    save_progress(path, "run2", TENSORS, PROGRESS, nothing)


def without_momentum(path: Path) -> None:
    kept = {name: value for name, value in load_file(path).items() if not name.startswith("momentum")}
    save_file(kept, path, metadata=metadata(path))


def without_tensors(path: Path) -> None:
    save_progress(path, "run1", {}, PROGRESS, nothing)


def other_shape(path: Path) -> None:
    tensors = load_file(path)
    save_file({**tensors, "w": tensors["w"].reshape(3, 2)}, path, metadata=metadata(path))


def other_type(path: Path) -> None:
    tensors = load_file(path)
    save_file({**tensors, "w": tensors["w"].view(torch.int32)}, path, metadata=metadata(path))


def other_name(path: Path) -> None:
    tensors = load_file(path)
    tensors["v"] = tensors.pop("w")
    save_file(tensors, path, metadata=metadata(path))


def epoch_99(path: Path) -> None:
    save_progress(path, "run1", TENSORS, PROGRESS.model_copy(update={"epoch": 99}), nothing)


def epoch_changed(path: Path) -> None:
    about = json.loads(metadata(path)["about"])
    about["progress"]["epoch"] = 1
    save_file(load_file(path), path, metadata={"about": json.dumps(about)})


def epoch_0(path: Path) -> None:
    save_progress(path, "run1", TENSORS, PROGRESS.model_copy(update={"epoch": 0}), nothing)


def earlier_version(path: Path) -> None:
    save_file(load_file(path), path, metadata={"about": json.dumps(PROGRESS.model_dump(mode="json"))})


def deep(path: Path) -> None:
    save_file(load_file(path), path, metadata={"about": "[" * 100_000})


def no_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def endless_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 16)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_run, "it is of run run2"),
        (without_momentum, "its content does not match its digest"),
        (without_tensors, "it has 0 tensors"),
        (other_shape, "does not match its digest"),
        (other_type, "does not match its digest"),
        (other_name, "does not match its digest"),
        (epoch_99, "is of epoch 99 of 3"),
        (epoch_changed, "does not match its digest"),
        (epoch_0, "is of epoch 0 of 3"),
        (earlier_version, "it has no digest, as those of SkipBench 0.2 and earlier"),
        (deep, "it is no complete file of tensors"),
        (no_metadata, "it is no complete file of tensors"),
        (cut, "it is no complete file of tensors"),
        (empty, "it is no complete file of tensors"),
        (endless_header, "it is no complete file of tensors"),
    ],
)
def test_anything_else_is_damaged(change: Callable[[Path], None], reason: str, path: Path) -> None:
    change(path)
    with pytest.raises(DamagedError, match=rf"^'{re.escape(str(path))}' is damaged \(.*{reason}.*\)$"):
        load_progress(path, "run1", epochs=3)


def test_no_flipped_bit_is_believed(path: Path) -> None:
    content = path.read_bytes()
    chance = random.Random(1)
    size = 8 + int.from_bytes(content[:8], "little")
    for position in (*range(size, len(content)), *chance.sample(range(size), 60)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            found = load_progress(path, "run1", epochs=3)
        except UserError:
            continue
        # White space and the like in the header.
        assert found is not None, position
        assert digest_of("run1", found[0], found[1]) == digest_of("run1", TENSORS, PROGRESS), position


def test_a_folder_or_a_pipe_of_that_name_is_no_progress(tmp_path: Path) -> None:
    import os

    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert load_progress(tmp_path / "folder", "run1") is None
    assert load_progress(tmp_path / "pipe", "run1") is None
