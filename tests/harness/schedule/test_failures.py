"""Runs that go wrong in every way there is: each is recorded and named, and the others come to their end."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.experiment.grid import expand, load_experiment
from tests.chaos import EVALUATE, assert_nothing_left
from tests.commands import results_of, run_process, skipbench, start, wait_for

METHOD = """
import os, signal, time
import torch
from methods.zeroshot import ZeroShot as Frozen
from methods.base import Method

class Broken(Method):
    \"\"\"A method that goes wrong.\"\"\"

    def build(self):
        self.weight = torch.nn.Parameter(torch.ones(()))

    def start_stages(self):
        return Frozen.start_stages(self)

    def loss(self, x, labels):
        {action}
        return self.weight * 0.0
"""
ACTIONS = {
    "hangs": "time.sleep(3600)",
    "starves": "torch.empty(2**60)",
    "diverges": "return self.weight * float('nan')",
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "stumbles": "raise KeyError('somewhere')",
}


def write_experiment(path: Path, methods: list[str], seeds: tuple[int, ...] = (1,), **schedule: Any) -> Path:
    experiment = {
        "methods": methods,
        "seeds": list(seeds),
        "shots": [1],
        "settings": {"train": {"epochs": 1, "batch_size": 4}, "evaluate": EVALUATE},
        "schedule": {"devices": "cpu", "threads": 1, **schedule},
    }
    path.write_text(yaml.safe_dump(experiment))
    return path


def failure_of(results: Path, method: str) -> dict[str, Any]:
    """What the folder of the only run of a method says of its failure."""
    for path in results.glob("runs/*/failure.json"):
        if yaml.safe_load((path.parent / "spec.yaml").read_text())["method"] == method:
            return json.loads(path.read_text())
    raise AssertionError(f"no failure of {method} is recorded")


def test_every_failure_is_recorded_and_named_and_the_rest_finishes(tmp_path: Path) -> None:
    for name, action in ACTIONS.items():
        (tmp_path / f"{name}.py").write_text(METHOD.format(action=action))
    results = tmp_path / "results"
    schedule = {"runs_per_device": 3, "time_limit": "15s", "retries": 0}
    experiment = write_experiment(tmp_path / "bad.yaml", [*ACTIONS, "clip_adapter"], **schedule)
    done = run_process("run", str(experiment), "--results", str(results), SKIPBENCH_METHODS=str(tmp_path))
    assert done.returncode == 1
    told = {line.split("-emoji")[0].removeprefix("error: "): line for line in done.stderr.splitlines()}
    assert set(told) == set(ACTIONS), done.stderr
    kinds = {name: failure_of(results, name)["kind"] for name in ACTIONS}
    assert kinds == {
        "hangs": "time_limit",
        "starves": "out_of_memory",
        "diverges": "diverged",
        "crashes": "killed",
        "stumbles": "error",
    }
    for name, words in {
        "hangs": "longer than its time limit of 15 s",
        "starves": "memory ran out",
        "diverges": "lower train.lr",
        "crashes": "SIGSEGV",
        "stumbles": "KeyError",
    }.items():
        assert words in failure_of(results, name)["reason"]
        assert words in told[name]
    assert set(results_of(results)) == {"clip_adapter-emoji-1shot-seed1"}
    assert not list(results.rglob("claim-*"))

    listed = skipbench("runs", "--failed", "--results", str(results)).stdout
    assert listed.count("failed ") == len(ACTIONS)
    assert listed.splitlines()[-1] == f"{len(ACTIONS)} failed"
    run_id = next(line.split()[1] for line in listed.splitlines() if "starves" in line)
    shown = skipbench("show", run_id[:8], "--results", str(results)).stdout
    for word in ("starves-emoji-1shot-seed1", "failed", "memory ran out", "method: starves", "Traceback"):
        assert word in shown
    assert f"skipbench rerun {run_id}" in shown


def test_a_failure_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    """The first attempt of a run that dies once; with it, one that can never go well is tried once only."""
    once = tmp_path / "once"
    action = (
        f"(open({str(once)!r}, 'x'), os.kill(os.getpid(), signal.SIGKILL)) if not os.path.exists({str(once)!r}) else 0"
    )
    (tmp_path / "dies_once.py").write_text(METHOD.format(action=action))
    (tmp_path / "diverges.py").write_text(METHOD.format(action=ACTIONS["diverges"]))
    results = tmp_path / "results"
    experiment = write_experiment(tmp_path / "bad.yaml", ["dies_once", "diverges"], retries=2)
    done = run_process("run", str(experiment), "--results", str(results), SKIPBENCH_METHODS=str(tmp_path))
    assert done.returncode == 1
    assert "dies_once-emoji-1shot-seed1 is tried again" in done.stdout
    assert "was killed (SIGKILL)" in done.stdout
    assert set(results_of(results)) == {"dies_once-emoji-1shot-seed1"}
    assert len(failure_of(results, "diverges")["attempts"]) == 1
    assert len(list(results.glob("runs/*/failure.json"))) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A results folder on a disk of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    for mounted in (*folder.glob("runs/*"), folder):
        subprocess.run(["umount", mounted], capture_output=True)


def test_a_full_disk_and_a_read_only_folder_stop_only_their_runs(small_disk: Path, tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "disk.yaml", ["finetune", "clip_adapter"], seeds=(1, 2), retries=0)
    specs = {f"{spec.method}{spec.seed}": spec for spec in expand(load_experiment(experiment))}
    read_only = small_disk / "runs" / specs["clip_adapter2"].id
    read_only.mkdir(parents=True)
    assert subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", read_only]).returncode == 0
    done = skipbench("run", str(experiment), "--results", str(small_disk))
    assert done.returncode == 1
    assert set(results_of(small_disk)) == {"clip_adapter-emoji-1shot-seed1"}
    told = done.stderr.splitlines()
    assert len(told) == 3, done.stderr
    assert sum("No space left on device" in line for line in told) == 2
    assert sum("clip_adapter" in line and "Read-only file system" in line for line in told) == 1
    failure = json.loads((small_disk / "runs" / specs["finetune1"].id / "failure.json").read_text())
    assert failure["kind"] == "no_space"
    assert not list(small_disk.rglob("*.tmp"))


def test_two_mains_at_once_compute_every_run_once(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path / "two.yaml", ["clip_adapter", "skip"], seeds=(1, 2))
    results = tmp_path / "results"
    mains = [start("run", str(experiment), "--results", str(results)) for _ in range(2)]
    for main in mains:
        out, told = main.communicate(timeout=300)
        assert main.returncode == 0, told
        assert len([line for line in out.splitlines() if " done (" in line or " complete already" in line]) >= 1
    assert len(results_of(results)) == 4
    logs = [path.read_text() for path in results.glob("runs/*/log.txt")]
    assert [log.count(" complete: ") for log in logs] == [1] * 4
    assert [log.count("epoch 0") for log in logs] == [1] * 4
    assert_nothing_left(results)


def test_sigterm_stops_as_ctrl_c_does_and_leaves_no_claim(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(METHOD.format(action=ACTIONS["hangs"]))
    experiment = write_experiment(tmp_path / "slow.yaml", ["hangs"])
    results = tmp_path / "results"
    main = start("run", str(experiment), "--results", str(results), SKIPBENCH_METHODS=str(tmp_path))
    wait_for(lambda: list(results.glob("runs/*/sample.json")))
    running = skipbench("runs", "--running", "--results", str(results)).stdout
    assert "hangs-emoji-1shot-seed1: 0 of 1 epoch, by process" in running
    begin = time.monotonic()
    os.kill(main.pid, 15)
    main.communicate(timeout=60)
    assert main.returncode == 130
    assert time.monotonic() - begin < 30
    assert not list(results.rglob("claim-*"))
