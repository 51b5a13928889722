"""The Ray executor as far as it needs no cluster; the rest is in tests/long/test_ray.py."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.schedule import run_all
from harness.schedule.ray import passed_on
from harness.spec import RunSpec, ScheduleSpec

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
