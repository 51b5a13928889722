"""What it saves to train several runs as one (schedule.together), by method, on the embedded backbone.

    python experiments/measure_together.py [RUNS]

For each method whose runs can train as one: CPU time of a run in an epoch of training (drawing batches, steps, records)
one by one and as one, in turns on one thread; and how many operators a step gives to the device. On a GPU, which starts
every operator by itself and computes small ones faster than they are started, it is the latter that takes the time.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_names
from harness.machine.meter import Meter
from harness.machine.torch_internals import TorchDispatchMode
from harness.schedule.companions import is_on_features
from harness.training.run import Run
from harness.training.stacked import JointOptimizer, Stack
from harness.training.together import misfit, take_steps
from harness.training.trainer import Trainer

RUNS = 8
ROUNDS = 9
MIN_STEPS = 20


class Count(TorchDispatchMode):
    """Counts operators, views excepted, which start nothing on a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def trainers_of(method: str, runs: int, folder: Path) -> list[Trainer]:
    """Trainers of some seeds of the benchmark's few-shot protocol, whose features are there."""
    changes = {"methods": [method], "seeds": f"1..{runs}", "shots": [16], "protocol": "few_shot"}
    found = []
    for spec in expand(load_experiment(EXPERIMENTS / "bench.yaml", changes)):
        # Two views are enough to train on, and are soon computed.
        train = spec.train.model_copy(update={"views": 2, "fit_views": 1})
        run = Run(spec.model_copy(update={"train": train}), folder)
        trainer = run.make_trainer(run.set_up(), Meter(run.device))
        trainer.begin_epoch(0), trainer.begin_epoch(1)
        found.append(trainer)
    return found


def one_by_one(trainers: list[Trainer], epochs: int) -> None:
    """Train one after the other."""
    for trainer in trainers:
        for epoch in range(epochs):
            trainer.run_epoch(epoch)


def as_one(trainers: list[Trainer], epochs: int) -> None:
    """Train all at a time."""
    stack = Stack([trainer.method for trainer in trainers])
    optimizer = JointOptimizer([trainer.optimizer for trainer in trainers])
    for epoch in range(epochs):
        begun = [trainer.begin_epoch(epoch) for trainer in trainers]
        totals = take_steps(trainers, begun, stack, optimizer)
        for trainer, one, total in zip(trainers, begun, totals, strict=True):
            trainer.end_epoch(one, total)
    stack.release()


def cpu_seconds(work: Callable[[], None]) -> float:
    """CPU time of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def operators(work: Callable[[], None]) -> int:
    """How many operators some work gives to the device."""
    with Count() as counter:
        work()
    return counter.count


def measure(method: str, runs: int, folder: Path) -> str:
    """A line of the table."""
    trainers = trainers_of(method, runs, folder)
    if reason := misfit(trainers, 0):
        return f"{method}: {reason}"
    steps = trainers[0].steps_per_epoch
    epochs = max(2, MIN_STEPS // steps)
    one_by_one(trainers, epochs), as_one(trainers, epochs)
    pairs = [
        (cpu_seconds(lambda: one_by_one(trainers, epochs)), cpu_seconds(lambda: as_one(trainers, epochs)))
        for _ in range(ROUNDS)
    ]
    alone, joint = (statistics.median(times) / runs / epochs * 1e3 for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    counts = [operators(lambda work=work: work(trainers, epochs)) / epochs for work in (one_by_one, as_one)]
    return (
        f"| `{method}` | {steps} | {alone:.2f} ms | {joint:.2f} ms | {ratio:.2f} | "
        f"{counts[0] / steps:.0f} | {counts[1] / steps:.0f} | {counts[0] / counts[1]:.1f} |"
    )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    runs = int(sys.argv[1]) if sys.argv[1:] else RUNS
    print(f"{runs} runs; epoch of a run one by one and as one; operators a step of all runs one by one and as one")
    with tempfile.TemporaryDirectory() as folder:
        for method in method_names():
            if is_on_features(method):
                print(measure(method, runs, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
