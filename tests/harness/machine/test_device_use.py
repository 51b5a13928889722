"""Whether a run had its device to itself: noticed however short another run was, and never waited for."""

import fcntl
import os
import tempfile
import time
from pathlib import Path

import pytest
import torch

from harness.machine import device
from harness.machine.device import DeviceUse, both_alone, device_use, lock_folder

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the lock files of these tests are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(device, "LOCK_ATTEMPTS", 3)
    return tmp_path / f"skipbench-{os.getuid()}"


def test_a_run_alone_is_alone_and_the_next_one_too() -> None:
    for _ in range(2):
        with device_use(CPU) as use:
            use.check()
            assert (use.alone, use.problem) == (True, None)


def test_a_run_that_starts_and_ends_between_two_looks_is_noticed() -> None:
    with device_use(CPU) as use:
        use.check()
        with device_use(CPU) as other:
            assert other.alone is False
        use.check()
        assert use.alone is False
    with device_use(CPU) as later:
        assert later.alone is True


def test_who_was_there_before_and_left_is_noticed() -> None:
    before = DeviceUse(CPU)
    with device_use(CPU) as use:
        before.close()
        use.check()
        assert use.alone is False


def test_the_folder_is_the_users_alone(folder: Path) -> None:
    assert lock_folder() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    with device_use(CPU):
        assert (folder / "device-cpu").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "file of all"])
def test_something_else_of_the_folders_name_breaks_nothing(kind: str, folder: Path, tmp_path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(folder)
    elif kind == "folder":
        folder.mkdir()
        folder.chmod(0o777)
    elif kind == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.write_text("")
    begin = time.monotonic()
    with device_use(CPU) as use:
        use.check()
        assert use.alone is None
        assert use.problem == (
            f"'{folder}' cannot be used as a lock (it is no folder of this user alone): costs are not known to be "
            "measured alone"
        )
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "dangling link"])
def test_something_else_of_the_files_name_breaks_nothing(kind: str, folder: Path, tmp_path: Path) -> None:
    path = lock_folder() / "device-cpu"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        target = tmp_path / "target"
        if kind == "link":
            target.write_text("mine")
        path.symlink_to(target)
    begin = time.monotonic()
    with device_use(CPU) as use:
        use.check()
        assert use.alone is None
        assert use.problem
        assert use.problem.startswith(f"'{path}' cannot be used as a lock (")
    assert time.monotonic() - begin < 5
    if kind == "link":
        assert (tmp_path / "target").read_text() == "mine"


def test_a_file_of_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lock_folder() / "device-cpu"
    path.write_text("")
    really = os.fstat

    def of_another(descriptor: int) -> os.stat_result:
        values = list(really(descriptor))
        values[4] += 1
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", of_another)
    with device_use(CPU) as use:
        assert use.problem
        assert "it is no regular file of this user" in use.problem


def test_who_keeps_the_lock_exclusively_blocks_nobody(folder: Path) -> None:
    path = lock_folder() / "device-cpu"
    path.write_text("")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        begin = time.monotonic()
        with device_use(CPU) as use:
            use.check()
            assert use.alone is None
            assert use.problem
            assert "another process keeps it locked" in use.problem
        assert time.monotonic() - begin < 5


def test_a_lock_file_that_was_removed_meanwhile_proves_nothing(folder: Path) -> None:
    with device_use(CPU) as use:
        (folder / "device-cpu").unlink()
        with device_use(CPU) as other:
            assert other.alone is True
        use.check()
        assert use.alone is None
        assert use.problem


def test_without_any_temporary_folder_a_run_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/nowhere/at/all")
        with device_use(CPU) as use:
            assert use.alone is None
            assert use.problem


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [(True, True, True), (True, False, False), (None, False, False), (None, True, None), (True, None, None)],
)
def test_two_parts_of_a_run(one: bool | None, other: bool | None, both: bool | None) -> None:
    assert both_alone(one, other) is both
