"""Claims: one process a run, whatever dies."""

import json
import multiprocessing
import os
import threading
import time
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.results.claim import (
    Claim,
    ClaimedError,
    TakenOverError,
    beats,
    claimed,
    claims,
    holder_of,
    lease,
    living_claims,
    read_claim,
    remove_dead_claims,
    this_process,
)

FORK = multiprocessing.get_context("fork")


def forge(folder: Path, name: str, seconds_ago: float = 0.0, **changes: object) -> Path:
    """A claim as another process would have made it."""
    link = folder / f"claim-{name}"
    link.symlink_to(json.dumps(asdict(replace(this_process(), **changes))))  # type: ignore[arg-type]
    moment = time.time() - seconds_ago
    os.utime(link, (moment, moment), follow_symlinks=False)
    return link


def test_a_claim_is_there_while_it_is_held_and_no_longer(tmp_path: Path) -> None:
    with claimed(tmp_path):
        assert holder_of(tmp_path) == this_process()
        with pytest.raises(ClaimedError, match=f"is being computed by process {os.getpid()} on"), claimed(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_given_back_when_the_run_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path):
        raise ZeroDivisionError
    assert claims(tmp_path) == []


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"started": "1"}])
def test_a_claim_of_a_process_that_is_gone_is_taken_over(changes: dict[str, object], tmp_path: Path) -> None:
    """Gone, or its number given to another process since."""
    forge(tmp_path, "a", **changes)
    assert holder_of(tmp_path) is None
    with claimed(tmp_path):
        assert [read_claim(link) for link in claims(tmp_path)] == [this_process()]
    assert claims(tmp_path) == []


def test_a_claim_of_another_machine_lasts_while_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = forge(tmp_path, "a", lease() / 2, machine="another", host="node7")
    with pytest.raises(ClaimedError, match="on node7"), claimed(tmp_path):
        pass
    link.unlink()
    monkeypatch.setenv("SKIPBENCH_LEASE", "0.8")
    forge(tmp_path, "a", lease() * 2, machine="another", host="node7")
    with claimed(tmp_path):
        assert holder_of(tmp_path) == this_process()
    assert list(tmp_path.iterdir()) == []


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPBENCH_LEASE", "0.12")
    with claimed(tmp_path) as mine:
        os.utime(mine.link, (1, 1), follow_symlinks=False)
        end = time.monotonic() + 20
        while mine.link.lstat().st_mtime < 2:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_who_slept_too_long_notices(tmp_path: Path) -> None:
    with claimed(tmp_path) as mine:
        mine.check()
        mine.link.unlink()
        forge(tmp_path, "b", machine="another")
        with pytest.raises(ClaimedError, match=r"was taken over by process .* while this process slept"):
            mine.check()
    assert [link.name for link in claims(tmp_path)] == ["claim-b"], "a claim that was lost is not ours to remove"


@pytest.mark.parametrize(
    "target", ["nonsense", "[1, 2]", "null", '{"machine": 3}', "[" * 2000, '{"machine": "a", "host": "b", "pid": "x"}']
)
def test_a_damaged_claim_is_nobody(target: str, tmp_path: Path) -> None:
    (tmp_path / "claim-3").symlink_to(target)
    assert holder_of(tmp_path) is None
    remove_dead_claims(tmp_path)
    assert claims(tmp_path) == []


def test_a_living_claim_is_not_removed(tmp_path: Path) -> None:
    with claimed(tmp_path):
        remove_dead_claims(tmp_path)
        assert len(claims(tmp_path)) == 1


def test_a_folder_that_takes_no_claim_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be claimed in"), claimed(tmp_path / "file"):
        pass


def compete(folder: Path, connection: Connection) -> None:
    """In another process: claim again and again; count how often a claim was had, and that it was ours alone."""
    had = 0
    connection.recv()
    for _ in range(300):
        try:
            with claimed(folder):
                had += 1
                (folder / "inside").mkdir()
                (folder / "inside").rmdir()
        except ClaimedError:
            pass
    connection.send(had)


def test_of_several_processes_only_one_is_inside(tmp_path: Path) -> None:
    forge(tmp_path, "a", pid=2**22 + 1)
    pipes = [FORK.Pipe() for _ in range(4)]
    processes = [FORK.Process(target=compete, args=(tmp_path, theirs)) for _, theirs in pipes]
    for process in processes:
        process.start()
    for mine, _ in pipes:
        mine.send("go")
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4, "mkdir fails where two are inside"
    assert sum(mine.recv() for mine, _ in pipes) > 0
    assert list(tmp_path.iterdir()) == []


def test_what_only_has_the_name_of_a_claim_is_nobody_and_stays(tmp_path: Path) -> None:
    (tmp_path / "claim-file").write_text("notes")
    (tmp_path / "claim-folder").mkdir()
    os.mkfifo(tmp_path / "claim-pipe")
    with claimed(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claim-file", "claim-folder", "claim-pipe"]


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_a_lease_that_is_none_is_told(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPBENCH_LEASE", text)
    with pytest.raises(UserError, match="SKIPBENCH_LEASE"), claimed(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=f"SKIPBENCH_LEASE={text}: give a number of seconds"):
        lease()


def test_a_wrong_clock_of_this_machine_makes_no_claim_look_dead_or_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ages are those of the file system: an hour forward or back in between changes nothing."""
    now = time.time()
    alive = forge(tmp_path, "a", lease() / 2, machine="another")
    dead = forge(tmp_path, "b", lease() * 2, machine="another")
    for wrong in (-3600.0, 3600.0):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: now + wrong)
        assert list(living_claims(tmp_path)) == [alive]
    assert dead.is_symlink()


def test_where_the_clock_was_set_forward_a_claim_that_beats_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the file system's clock, all claims look as if they had not been renewed for an hour."""
    monkeypatch.setenv("SKIPBENCH_LEASE", "4")
    link = forge(tmp_path, "a", 3600, machine="another", host="node7")
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(0.1):
            moment = time.time() - 3600
            os.utime(link, (moment, moment), follow_symlinks=False)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(ClaimedError, match="on node7"), claimed(tmp_path):
            pass
    finally:
        stopped.set()
        heart.join()
    assert claims(tmp_path) == [link]


def test_where_the_clock_was_set_back_a_dead_claim_is_dead_after_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last heartbeat is a day ahead."""
    monkeypatch.setenv("SKIPBENCH_LEASE", "0.4")
    link = forge(tmp_path, "a", -86400, machine="another")
    assert beats(link)
    time.sleep(0.5)
    assert holder_of(tmp_path) is None
    with claimed(tmp_path):
        assert not link.is_symlink()


def test_in_a_folder_that_may_only_be_read_claims_can_still_be_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> float:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("harness.results.claim.file_system_time", refuse)
    forge(tmp_path, "a", lease() / 2, machine="another", host="node7")
    assert "on node7" in str(holder_of(tmp_path))


def test_a_file_system_that_does_not_answer_is_no_loss_of_the_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> str:
        raise OSError(5, "Input/output error")

    with claimed(tmp_path) as mine:
        monkeypatch.setattr(os, "readlink", fail)
        with pytest.raises(OSError, match="Input/output error"):
            mine.check()
        monkeypatch.undo()


def test_a_claim_is_judged_by_its_link_even_when_another_is_there(tmp_path: Path) -> None:
    with claimed(tmp_path) as mine:
        forge(tmp_path, "b", machine="another")
        mine.check()
        mine.link.unlink()
        with pytest.raises(TakenOverError, match="process slept"):
            Claim.check(mine)
