"""What is printed of running runs where there is no terminal: lines now and then, each whole and at once."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from harness.cli import watch
from harness.cli.watch import Watcher, in_words
from harness.experiment.spec import RunSpec
from harness.results.epochs import EpochRecord
from harness.training.events import ComputedElsewhere, Done, Failed, Notice, Retried, Started, TrainingProgress

Make = Callable[..., RunSpec]


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(watch, "time", found)
    return found


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed, to either stream."""
    text = io.StringIO()
    for name in ("console", "errors"):
        monkeypatch.setattr(watch, name, Console(file=text, highlight=False, width=80, force_terminal=False))
    return text


def epoch(number: int, epochs: int, **accuracies: float) -> TrainingProgress:
    record = EpochRecord(epoch=number - 1, loss=1.0, lr=0.1, accuracies=accuracies)
    return TrainingProgress(number, epochs, record)


def test_lines_about_epochs(make_spec: Make, clock: Clock, printed: io.StringIO) -> None:
    spec = make_spec("skip")
    watcher = Watcher(1)
    watcher.on_event(spec, Started("cpu"))
    watcher.on_event(spec, TrainingProgress(0, 50))
    for number in range(1, 51):
        clock.now += 3.0
        watcher.on_event(spec, epoch(number, 50, **({"base": 61.234, "new": 59.0} if number == 3 else {})))
    watcher.on_event(spec, Done())
    lines = printed.getvalue().splitlines()
    left = "about 2 min of training left, judged by the first epoch"
    assert lines[0] == f"skip-emoji-16shot-seed1: epoch 1 of 50, {left} ({spec.id})"
    assert lines[1] == (
        f"skip-emoji-16shot-seed1: epoch 3 of 50, base 61.23, new 59.00, about 2 min of training left ({spec.id})"
    )
    # Every 10 seconds from there on.
    assert lines[2].startswith("skip-emoji-16shot-seed1: epoch 7 of 50, about 2 min")
    assert f"epoch 47 of 50, about 9 s of training left ({spec.id})" in lines[-2]
    assert lines[-1] == f"[1/1] skip-emoji-16shot-seed1 done ({spec.id})"
    assert len(lines) == 2 + 11 + 1


def test_the_first_epoch_is_no_measure_of_the_others(make_spec: Make, clock: Clock, printed: io.StringIO) -> None:
    spec = make_spec("skip")
    watcher = Watcher(1)
    watcher.on_event(spec, TrainingProgress(0, 50))
    for number, seconds in ((1, 100.0), (2, 2.0), (3, 2.0), (4, 11.0)):
        clock.now += seconds
        watcher.on_event(spec, epoch(number, 50))
    first, *_, last = printed.getvalue().splitlines()
    assert "epoch 1 of 50, about 82 min of training left, judged by the first epoch" in first
    # Three epochs in 15 seconds.
    assert "epoch 4 of 50, about 4 min of training left (" in last


def test_time_left_of_a_continued_run_counts_its_own_epochs(
    make_spec: Make, clock: Clock, printed: io.StringIO
) -> None:
    spec = make_spec("skip")
    watcher = Watcher(1)
    watcher.on_event(spec, TrainingProgress(40, 50))
    clock.now += 2.0
    watcher.on_event(spec, epoch(41, 50))
    clock.now += 20.0
    watcher.on_event(spec, epoch(50, 50))
    first, last = printed.getvalue().splitlines()
    assert "epoch 41 of 50, about 18 s of training left" in first
    assert last == f"skip-emoji-16shot-seed1: epoch 50 of 50 ({spec.id})"


def test_of_a_run_on_a_cluster_the_first_thing_known_is_an_epoch(
    make_spec: Make, clock: Clock, printed: io.StringIO
) -> None:
    spec = make_spec("skip")
    watcher = Watcher(1)
    watcher.on_event(spec, epoch(3, 50))
    clock.now += 20.0
    watcher.on_event(spec, epoch(5, 50))
    first, second = printed.getvalue().splitlines()
    assert first == f"skip-emoji-16shot-seed1: epoch 3 of 50 ({spec.id})"
    assert "epoch 5 of 50, about 8 min of training left" in second


def test_time_left_of_all_runs(make_spec: Make, clock: Clock, printed: io.StringIO) -> None:
    watcher = Watcher(4)
    for seed in (1, 2, 3, 4):
        clock.now += 60.0
        watcher.on_event(make_spec("skip", seed=seed), Done())
    told = [line.rpartition(")")[2] for line in printed.getvalue().splitlines()]
    assert told == [", about 3 min left", ", about 2 min left", ", about 60 s left", ""]


def test_no_name_breaks_a_line(make_spec: Make, printed: io.StringIO) -> None:
    spec = make_spec("skip")
    watcher = Watcher(2)
    for event in (Notice("a\nb"), Retried("a\nb"), ComputedElsewhere("process 1 on a\x1b[2Jb"), Failed("why")):
        watcher.on_event(spec, event)
    lines = printed.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "note: a\\nb"
    assert lines[1].endswith(": a\\nb")
    assert "a\\x1b[2Jb" in lines[2]


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (7200, "2.0 h")])
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
