"""The peak of a run is that of its training step: how many pictures go through the backbone at once is rehearsed."""

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.estimate import batches
from harness.estimate.batches import choose_batches
from harness.estimate.estimator import Estimator
from harness.estimate.largest import largest_below
from harness.estimate.memory_breakdown import MemoryPeak
from harness.experiment.spec import RunSpec
from harness.machine.costs import Batches
from harness.schedule import worker
from harness.training.batches import batch_sizes, fewest, most
from harness.training.run import Run
from tests.harness.estimate.small_runs import CPU, Make, estimated_peaks, peaks_of, small_spec

FLOOR = 8
# More pictures than go through the backbone at once.
EVALUATED = "evaluate=[{name: seen, dataset: emoji, classes: all, splits: [val]}]"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which nothing is known yet, and one thread, on which the floor depends."""
    monkeypatch.setenv("SKIPBENCH_FEATURES", str(tmp_path / "features"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    return tmp_path / "features" / "batches"


@pytest.fixture
def spec(make_spec: Make) -> Callable[..., RunSpec]:
    """A small run, whose training step has room for some of the pictures of an evaluation."""

    def make(method: str, *overrides: str) -> RunSpec:
        return small_spec(make_spec, method, EVALUATED, *overrides)

    return make


def execute(spec: RunSpec, results: Path) -> tuple[dict[str, Any], Run]:
    run = Run(spec, results, choose=choose_batches)
    run.execute()
    return json.loads(run.folder.result_file.read_text()), run


def peak(spec: RunSpec, phase: str, given: str) -> int:
    section, key = given.split("=")[0].split(".")
    changed = getattr(spec, section).model_copy(update={key: int(given.split("=")[1])})
    changed_spec = spec.model_copy(update={section: changed})
    return Estimator().estimate(changed_spec, phases=("cache", "evaluate"), flops=False).phases[phase].num_bytes


@pytest.mark.parametrize(("method", "options"), [("finetune", []), ("skip", ["skip.class_ratio=1"])])
def test_no_phase_takes_more_memory_than_a_training_step(
    method: str, options: list[str], spec: Callable[..., RunSpec], tmp_path: Path
) -> None:
    open_spec = spec(method, *options)
    result, _ = execute(open_spec, tmp_path)
    peaks, found = peaks_of(result["costs"]), result["batches"]
    assert FLOOR < found["evaluate"] < 100
    assert peaks["evaluate"] <= peaks["train"]
    # One step further it would be more.
    assert peak(open_spec, "evaluate", f"runtime.eval_batch_size={found['evaluate'] + 8}") > peaks["train"]
    if found["cache"] > FLOOR and "cache" in peaks:
        assert peaks["cache"] <= peaks["train"]
    estimate = Estimator().estimate(open_spec, flops=False)
    assert estimated_peaks(estimate) == peaks
    assert estimate.batches == Batches(**found)


def test_a_given_number_is_obeyed(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    given = spec("finetune", "runtime.eval_batch_size=24", "train.cache_batch_size=3")
    result, _ = execute(given, tmp_path)
    assert result["batches"] == {"cache": 3, "evaluate": 24}
    peaks = peaks_of(result["costs"])
    assert peaks["evaluate"] > peaks["train"]


def test_results_are_the_same_whatever_the_batches(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    open_spec = spec("skip", "skip.class_ratio=1")
    first, run = execute(open_spec, tmp_path / "open")
    given = spec("skip", "skip.class_ratio=1", "runtime.eval_batch_size=100", "train.cache_batch_size=64")
    other, again = execute(given, tmp_path / "given")
    assert given.id == open_spec.id
    assert first["batches"] != other["batches"]
    assert [item["accuracy"] for item in first["evaluations"]] == [item["accuracy"] for item in other["evaluations"]]
    weights, same = (load_file(one.folder.path / "checkpoint.safetensors") for one in (run, again))
    for name, value in weights.items():
        torch.testing.assert_close(value, same[name], rtol=1e-5, atol=1e-6)


def test_where_nothing_trains_as_few_as_keep_the_device_busy(spec: Callable[..., RunSpec]) -> None:
    assert choose_batches(spec("finetune", "train.epochs=0")) == Batches(cache=FLOOR, evaluate=FLOOR)


def test_of_features_that_runs_share_the_rest_is_fixed(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    open_spec = spec("zeroshot")
    assert choose_batches(open_spec) == most(open_spec) == Batches(cache=64, evaluate=100)
    result, _ = execute(open_spec, tmp_path)
    assert result["batches"]["evaluate"] == FLOOR


def test_a_step_that_cannot_be_rehearsed_stops_no_run(
    spec: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(spec: RunSpec, device: str) -> Batches:
        raise RuntimeError("no such operator\nfor fake tensors")

    monkeypatch.setattr(batches, "rehearse", fail)
    open_spec = spec("finetune")
    assert choose_batches(open_spec) == fewest(open_spec, CPU)


def test_what_was_found_is_kept_for_other_seeds_and_for_nothing_else(
    spec: Callable[..., RunSpec], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def count(spec: RunSpec, device: str) -> Batches:
        asked.append(spec.seed)
        return Batches(cache=16, evaluate=16 + 8 * len(asked))

    monkeypatch.setattr(batches, "rehearse", count)
    open_spec = spec("finetune")
    state = torch.random.get_rng_state()
    found = [choose_batches(open_spec.model_copy(update={"seed": seed})) for seed in (3, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (found, asked) == ([Batches(cache=16, evaluate=24)] * 3, [1])
    for other in (
        spec("finetune", "train.batch_size=4"),
        spec("finetune", "runtime.eval_batch_size=7"),
        spec("finetune", "runtime.threads=2"),
    ):
        choose_batches(other)
    assert len(asked) == 4
    for path in store.glob("*.json"):
        path.write_text('{"cache": 0, "evaluate": 3}')
    assert choose_batches(open_spec).evaluate == 16 + 8 * 5
    choose_batches(spec("finetune", "runtime.feature_store_mib=0"))
    choose_batches(spec("finetune", "runtime.feature_store_mib=0"))
    assert len(asked) == 7


def test_the_process_of_a_run_rehearses(
    spec: Callable[..., RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []

    class Recorder:
        def __init__(self, *args: Any) -> None:
            made.append(args)
            self.id = open_spec.id

        def execute(self, train: object) -> None:
            pass

    open_spec = spec("finetune")
    monkeypatch.setattr("harness.training.run.Run", Recorder)
    monkeypatch.setattr(worker, "end_with_parent", lambda: None)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    _, sender = multiprocessing.Pipe(duplex=False)
    worker.compute(dict(os.environ), {open_spec.id: open_spec.settings()}, tmp_path, sender)
    assert [args[3] for args in made] == [choose_batches]


def test_sizes_are_multiples_of_what_features_are_computed_in() -> None:
    assert batch_sizes(16, 100) == [16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 100]
    assert batch_sizes(64, 64) == [64]
    assert batch_sizes(8, 8) == [8]


@pytest.mark.parametrize("limit", [5, 16, 31, 32, 33, 99, 1000])
def test_the_largest_size_below_a_limit(limit: int) -> None:
    sizes = [8, 16, 24, 32, 100]
    number, found = largest_below(lambda size: MemoryPeak(size, {}), limit, sizes)
    assert number == max((size for size in sizes if size <= limit), default=8)
    assert found.num_bytes == number
