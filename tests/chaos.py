"""An experiment whose processes are killed at random moments, beside the same experiment left alone."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import yaml

from harness.results.claim import ClaimedError, claimed, read_claim
from harness.results.files import TEMPORARY
from tests.commands import descendants, parents, results_of, skipbench, start, wait_for

EVALUATE = [{"name": "new", "dataset": "emoji", "classes": "base.new", "splits": ["train", "val"]}]


def write_experiment(path: Path, methods: list[str], seeds: int, epochs: int) -> Path:
    """An experiment of small runs."""
    experiment = {
        "methods": methods,
        "seeds": list(range(1, seeds + 1)),
        "shots": [1],
        "settings": {"train": {"epochs": epochs, "batch_size": 4}, "evaluate": EVALUATE},
        "schedule": {"devices": "cpu", "runs_per_device": 2, "threads": 1, "retries": 1000},
    }
    path.write_text(yaml.safe_dump(experiment))
    return path


class Chaos:
    """Kills processes of an experiment until a number of them were killed, then lets it end.

    Args:
        experiment: its file.
        results: the results folder.
        kills: how many processes are to be killed.
        seed: of all that is drawn.
        pause: seconds between two kills, from and to.
    """

    def __init__(self, experiment: Path, results: Path, kills: int, seed: int, pause: tuple[float, float]) -> None:
        self.words = ["run", str(experiment), "--results", str(results)]
        self.results = results
        self.kills = kills
        self.pause = pause
        self.chance = random.Random(seed)
        self.killed: list[str] = []
        self.seen: set[int] = set()

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """The last start of the experiment, which nobody disturbed."""
        while len(self.killed) < self.kills:
            self._disturb(start(*self.words, **environment))
        return skipbench(*self.words, **environment)

    def _disturb(self, main: subprocess.Popen[str]) -> None:
        """Kill workers and their server at random moments, at last the main process."""
        while len(self.killed) < self.kills:
            time.sleep(self.chance.uniform(*self.pause))
            family = descendants(main.pid)
            self.seen.update(family)
            if main.poll() is not None:
                # It came to its end before enough were killed: let it compute everything again.
                self._forget_one()
                break
            workers = family[1:]
            if not workers and self.chance.random() < 0.8:
                continue  # still starting; only now and then is that worth a kill
            victim = self.chance.choice(workers) if workers and self.chance.random() < 0.7 else main.pid
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                self.killed.append("main" if victim == main.pid else "worker")
            if victim == main.pid:
                break
        if main.poll() is None:
            main.kill()
        main.communicate()
        wait_for(lambda: not self.survivors(), 60)

    def _forget_one(self) -> None:
        for path in sorted(self.results.glob("runs/*/result.json"))[:3]:
            for file in path.parent.glob("*.*"):
                if file.is_file():
                    file.unlink()

    def survivors(self) -> list[int]:
        """Processes of this experiment that still live."""
        return sorted(self.seen & parents().keys())


class Crowd:
    """Several schedulers on one results folder, each as if on a machine of its own, disturbed at random moments.

    Workers and whole schedulers are killed, stopped so long that others take their runs over, and continued.

    Args:
        experiment: its file.
        results: the results folder.
        schedulers: how many.
        seed: of all that is drawn.
        lease: seconds after which a silent claim is taken over.
    """

    def __init__(self, experiment: Path, results: Path, schedulers: int, seed: int, lease: float) -> None:
        self.words = ["run", str(experiment), "--results", str(results)]
        self.results = results
        self.lease = lease
        self.chance = random.Random(seed)
        self.mains: dict[int, subprocess.Popen[str] | None] = dict.fromkeys(range(schedulers))
        self.stopped: dict[int, float] = {}
        self.done: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.printed: list[str] = []

    def disturb(self, times: int) -> None:
        """Kill, stop and continue until that was done so often; then continue all and wait for their ends."""
        while sum(self.done[kind] for kind in ("kill worker", "kill all", "stop", "continue")) < times:
            for number, main in self.mains.items():
                if main is None or main.poll() is not None:
                    self._start(number)
            time.sleep(self.chance.uniform(0.02, 0.5))
            self._disturb(self.chance.choice(list(self.mains)))
            if len(list(self.results.glob("runs/*/result.json"))) >= self.chance.randint(6, 8):
                self._forget()
        for number in list(self.stopped):
            self._signal(number, signal.SIGCONT)
        for main in filter(None, self.mains.values()):
            self._take(main)
        wait_for(lambda: not self.survivors(), 60)

    def _start(self, number: int) -> None:
        if main := self.mains[number]:
            self._take(main)
        self.stopped.pop(number, None)
        environment = {"SKIPBENCH_MACHINE": f"machine {number}", "SKIPBENCH_LEASE": str(self.lease)}
        self.mains[number] = start(*self.words, **environment)
        self.done["start"] += 1

    def _take(self, main: subprocess.Popen[str]) -> None:
        out, told = main.communicate(timeout=300)
        self.done[f"exit {main.returncode}"] += 1
        self.printed += [*out.splitlines(), *told.splitlines()]

    def _disturb(self, number: int) -> None:
        main = self.mains[number]
        assert main
        if main.poll() is not None:
            return
        family = descendants(main.pid)
        self.seen.update(family)
        if number in self.stopped:
            # Some wake up in time, most do not.
            if time.monotonic() > self.stopped[number]:
                self._signal(number, signal.SIGCONT)
                del self.stopped[number]
                self.done["continue"] += 1
            return
        if not self._holds(number) and self.chance.random() < 0.95:
            return  # still starting, or nothing to do: only now and then is that worth a disturbance
        kind = self.chance.choice(["kill worker", "kill worker", "kill all", "stop", "stop", "stop"])
        if kind == "stop":
            self._signal(number, signal.SIGSTOP)
            self.stopped[number] = time.monotonic() + self.lease * self.chance.uniform(0.5, 6)
        elif kind == "kill all":
            self._signal(number, signal.SIGKILL)
        elif len(family) > 1:
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(family[1:]), signal.SIGKILL)
        else:
            return
        self.done[kind] += 1

    def _holds(self, number: int) -> bool:
        """Whether a worker of a scheduler holds a run."""
        holders = map(read_claim, self.results.glob("runs/*/claim-*"))
        return any(holder and holder.machine == f"machine {number}" for holder in holders)

    def _signal(self, number: int, ending: signal.Signals) -> None:
        main = self.mains[number]
        assert main
        for process in descendants(main.pid):
            with suppress(ProcessLookupError):
                os.kill(process, ending)

    def _forget(self) -> None:
        """Let a few complete runs be computed again."""
        for path in sorted(self.results.glob("runs/*/result.json"))[:5]:
            with suppress(ClaimedError), claimed(path.parent):
                for file in path.parent.glob("*.*"):
                    file.unlink()
                self.done["forget"] += 1

    def survivors(self) -> list[int]:
        """Processes of these schedulers that still live."""
        return sorted(self.seen & parents().keys())

    @property
    def takeovers(self) -> int:
        """How many times a scheduler said that it had lost a run."""
        return sum("was taken over by" in line for line in self.printed)


def assert_same_results(disturbed: Path, calm: Path) -> None:
    """Every result, every trained tensor and every recorded loss is that of the undisturbed experiment."""
    mine, theirs = results_of(disturbed), results_of(calm)
    assert mine.keys() == theirs.keys()
    for name, result in mine.items():
        for part in ("id", "evaluations", "method_facts", "sample"):
            assert result[part] == theirs[name][part], f"{name}: {part}"
        folders = [root / "runs" / result["id"] for root in (disturbed, calm)]
        checkpoints = [(folder / "checkpoint.safetensors").read_bytes() for folder in folders]
        assert checkpoints[0] == checkpoints[1], name


def assert_nothing_left(results: Path) -> None:
    """No temporary file, claim or record of a failure lies about."""
    names = [path.name for path in results.rglob("*") if "wandb" not in path.parts]
    left = [
        name
        for name in names
        if name.endswith(TEMPORARY) or name.startswith(("claim", "progress", "failure", "features"))
    ]
    assert left == []
