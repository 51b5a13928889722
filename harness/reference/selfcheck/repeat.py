"""Whether the same training gives the same bytes: when it is done twice, and when it is interrupted."""

from contextlib import suppress
from functools import partial
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec
from harness.reference.selfcheck.findings import Asked, Finding, Say
from harness.reference.selfcheck.specs import methods_of, small_spec
from harness.results.folder import RunFolder
from harness.training.events import Event, TrainingProgress
from harness.training.run import Run

SECTION = "repeat"
SETTINGS = ("train.epochs=2", "train.iterations_per_shot=null", "train.warmup_epochs=0")


class _StoppedError(Exception):
    """A training was stopped on purpose."""


def check(asked: Asked, say: Say) -> list[Finding]:
    """Bytes of checkpoints in which trainings of the same run differ; none may."""
    found: list[Finding] = []
    for name in methods_of(asked, SECTION):
        if method_class(name).trains:
            found += asked.items.look(SECTION, name, partial(_repeat, name, asked, say))
    return found


def _repeat(name: str, asked: Asked, say: Say) -> list[Finding]:
    """Train a method three times."""
    spec = small_spec(name, asked, *SETTINGS)
    with TemporaryDirectory(dir=asked.folder) as folder:
        once, twice, interrupted = (Path(folder) / place for place in ("once", "twice", "interrupted"))
        say(f"{name}, first training")
        first = train(spec, once)
        say(f"{name}, second training")
        second = train(spec, twice)
        say(f"{name}, interrupted after an epoch")
        resumed = train_interrupted(spec, interrupted)
        # Otherwise it began anew, and equal bytes would say nothing about going on.
        times = resumed.read_result().interruptions
        return [
            _difference(name, "bytes apart, trained twice", first, second),
            _difference(name, "bytes apart, interrupted", first, resumed),
            Finding(SECTION, name, "interruptions", times, "", 1, times == 1),
        ]


def train(spec: RunSpec, results: Path) -> RunFolder:
    """Compute a run; returns its folder."""
    run = Run(spec, results)
    run.execute()
    return run.folder


def train_interrupted(spec: RunSpec, results: Path) -> RunFolder:
    """Compute a run that is stopped after its first epoch and started again; returns its folder."""

    def stop(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == 1:
            raise _StoppedError

    with suppress(_StoppedError):
        Run(spec, results, stop).execute()
    return train(spec, results)


def _difference(name: str, quantity: str, one: RunFolder, other: RunFolder) -> Finding:
    """In how many bytes the checkpoints of two runs differ."""
    contents = (folder.checkpoint_file.read_bytes() for folder in (one, other))
    number = sum(a != b for a, b in zip_longest(*contents))
    return Finding(SECTION, name, quantity, number, "bytes", 0, number == 0)
