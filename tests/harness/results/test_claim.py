"""Claims: one process a run, whatever dies."""

import json
import multiprocessing
import os
import time
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.results import claim
from harness.results.claim import ClaimedError, claimed, claims, holder_of, read_claim, remove_dead_claims, this_process

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


def test_a_claim_of_another_machine_lasts_while_its_heart_beats(tmp_path: Path) -> None:
    link = forge(tmp_path, "a", claim.LEASE / 2, machine="another", host="node7")
    with pytest.raises(ClaimedError, match="on node7"), claimed(tmp_path):
        pass
    link.unlink()
    forge(tmp_path, "a", claim.LEASE * 2, machine="another", host="node7")
    with claimed(tmp_path):
        assert holder_of(tmp_path) == this_process()
    assert list(tmp_path.iterdir()) == []


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "HEARTBEAT", 0.01)
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
        with pytest.raises(ClaimedError, match="was taken over by another process"):
            mine.check()
    assert [link.name for link in claims(tmp_path)] == ["claim-b"], "a claim that was lost is not ours to remove"


def test_a_damaged_claim_is_nobody(tmp_path: Path) -> None:
    (tmp_path / "claim-3").symlink_to("nonsense")
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
