"""The Ray executor as far as it needs no cluster; the rest is in tests/long/test_ray_cluster.py."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.schedule import run_all
from harness.schedule.cluster.ray import check_answers, passed_on

Make = Callable[..., RunSpec]


def test_without_ray_it_is_said_how_to_get_it(make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'skipbench\[ray\]'"):
        run_all([make_spec("zeroshot")], tmp_path, ScheduleSpec(executor="ray"))


def test_tasks_get_folders_and_tracking_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "pictures")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("PASSWORD", "x")
    monkeypatch.delenv("SKIPBENCH_METHODS", raising=False)
    passed = passed_on()
    assert passed["DATA"] == str(tmp_path / "pictures")
    assert passed["WANDB_PROJECT"] == "mine"
    assert not {"PASSWORD", "SKIPBENCH_METHODS"} & set(passed)


def test_an_address_where_nobody_answers_is_told_at_once() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen()
        check_answers(f"127.0.0.1:{port}")
        check_answers(f"ray://127.0.0.1:{port}")
    check_answers("local")
    with pytest.raises(UserError, match="no Ray answers at 'ray://127"):
        check_answers(f"ray://127.0.0.1:{port}")
