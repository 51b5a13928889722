"""What compiling a training step brings and costs on this device (train.compile=default), by backbone and method.

    python experiments/measure_compile.py [BACKBONE [METHOD...]]

For each method: seconds of a step with and without, taken in turns; seconds of compiling, with nothing in torch's
caches; after how many steps the one has paid for the other. On a CPU all seconds are those that one thread and the
compilers that it starts compute, so that other processes on the machine change little; on a GPU they are those that
pass.
"""

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import torch

from harness.errors import UserError
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import read_yaml
from harness.machine.device import choose_device
from harness.reference.speed.benchmark import Benchmark
from harness.reference.speed.spec import choose_rows, settings_of, vary
from harness.reference.speed.subject import Subject
from harness.training.compiling import WARM_UP_STEPS, loss_function
from harness.training.step import LossFunction, loss_and_gradients, training_step

BACKBONES = ("clip-emoji", "ViT-B-16:random")
METHODS = ("coop", "skip", "maple", "finetune")
CLASSES = {"clip-emoji": 23}
SAMPLE_SECONDS, ROUNDS = 1.0, 7
# Long steps are repeated less.
FEWEST, ENOUGH_SECONDS = 3, 30.0


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """CPU seconds of this process and of those that it started, on a GPU seconds that passed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    before = now(device)
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return now(device) - before


def now(device: torch.device) -> float:
    """A clock for differences."""
    return time.perf_counter() if device.type == "cuda" else sum(os.times()[:4])


class Steps:
    """Training steps of a method on one batch, its frozen features cached."""

    def __init__(self, benchmark: Benchmark) -> None:
        row = benchmark.spec.rows[0]
        self.subject = Subject(benchmark, row, settings_of(row, each=False)[1])
        assert self.subject.optimizer
        self.optimizer = self.subject.optimizer
        self.x = self.subject.images() if self.subject.cached is None else self.subject.cached

    def take(self, loss: LossFunction) -> None:
        """One training step."""
        one = self.subject
        labels, precision = one.labels, one.spec.precision
        training_step(one.method, self.optimizer, one.scaler, self.x, labels, precision, one.cached_frozen, loss)

    def gradients(self, loss: LossFunction) -> torch.Tensor:
        """Of the loss, all in one vector."""
        one = self.subject
        loss_and_gradients(one.method, self.optimizer, self.x, one.labels, one.spec.precision, one.cached_frozen, loss)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def measure(backbone: str, method: str, kind: str, device: torch.device) -> str:
    """A line of the table."""
    changes = {"backbone": backbone, "classes": CLASSES.get(backbone, 50), "each": False}
    (spec,) = vary(read_yaml(EXPERIMENTS / "speed.yaml"), changes)
    spec = choose_rows(spec, [method], {})
    spec = spec.model_copy(update={"rows": spec.rows[:1]})
    steps = Steps(Benchmark(spec, device))
    plain, compiled = loss_function("none"), loss_function(kind)
    expected = steps.gradients(plain)
    try:
        first = seconds(lambda: [steps.gradients(compiled) for _ in range(WARM_UP_STEPS)], device)
    except UserError as error:
        return f"| `{backbone}` | `{method}` | {error} |"
    apart = float((steps.gradients(compiled) - expected).norm() / expected.norm())
    number = math.ceil(SAMPLE_SECONDS / max(1e-4, seconds(lambda: steps.take(plain), device)))
    steps.take(compiled)

    def sample(loss: LossFunction) -> float:
        return seconds(lambda: [steps.take(loss) for _ in range(number)], device) / number

    pairs: list[tuple[float, float]] = []
    while len(pairs) < ROUNDS and (len(pairs) < FEWEST or number * sum(map(sum, pairs)) < ENOUGH_SECONDS):
        pairs.append((sample(plain), sample(compiled)))
    without, with_it = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    compiling = first - WARM_UP_STEPS * with_it
    pays = f"{compiling / (without - with_it):,.0f}" if ratio > 1 and without > with_it else "never"
    low, high = min(a / b for a, b in pairs), max(a / b for a, b in pairs)
    return (
        f"| `{backbone}` | `{method}` | {1e3 * without:.1f} ms | {1e3 * with_it:.1f} ms | {ratio:.2f}x "
        f"({low:.2f}-{high:.2f}) | {compiling:.0f} s | {pays} | {apart:.0e} |"
    )


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    device = choose_device("auto")
    kind = "graphs" if device.type == "cuda" else "default"
    backbones = sys.argv[1:2] or BACKBONES
    print(f"train.compile={kind}, {device}, torch {torch.__version__}")
    print("| backbone | method | step without | step with | ratio (range) | compiling | pays after steps | gradients |")
    print("|---|---|---|---|---|---|---|---|")
    # In this process, one after the other, and nothing that an earlier measurement compiled.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    for backbone in backbones:
        for method in sys.argv[2:] or METHODS:
            with tempfile.TemporaryDirectory() as folder:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
                torch.compiler.reset()
                print(measure(backbone, method, kind, device), flush=True)


if __name__ == "__main__":
    main()
