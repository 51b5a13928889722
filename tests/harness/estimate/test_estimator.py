"""An estimate is what a real run measures, to the byte; and it takes no memory, weights or data to make it."""

import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from harness.clip.towers import CLIP
from harness.errors import UserError
from harness.estimate.dry_run import DryRun
from harness.estimate.estimator import Estimator, measure
from harness.estimate.memory_breakdown import CACHE, GRADIENTS, INPUTS, KINDS, OPTIMIZER, WEIGHTS
from harness.experiment.registry import method_class, method_names
from harness.experiment.spec import RunSpec
from harness.machine.meter import UNLABELLED, Meter
from harness.training.precision import store_clip
from harness.training.state import trained_parameters
from tests.harness.estimate.small_runs import CPU, Make, estimated_peaks, peaks_of, run, small_spec, tiny_spec

PRECISIONS = ("fp32", "bf16", "fp16", "half")


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    """One for all tests: it builds the model once."""
    return Estimator()


# Each method in fp32 and in one other precision on the tiny backbone; these six also on the embedded one, whose blocks
# repeat. What is left of the pairs says the same once more and is `long`.
QUICK = {"skip": "half", "finetune": "bf16", "maple": "fp16", "coop": "bf16", "cocoop": "half", "clip_adapter": "fp16"}
TINY = [(method, precision) for method in method_names() for precision in ("fp32", QUICK.get(method, "bf16"))]
PAIRS = [
    pytest.param(method, precision, marks=[] if QUICK.get(method) == precision else [pytest.mark.long])
    for method in method_names()
    for precision in PRECISIONS
]


def assert_estimated_to_the_byte(spec: RunSpec, estimator: Estimator, results: Path) -> None:
    estimate, costs = estimator.estimate(spec, flops=False), run(spec, results)
    assert estimated_peaks(estimate) == peaks_of(costs)
    assert estimate.trainable_parameters == costs["trainable_parameters"]
    assert estimate.total_parameters == costs["total_parameters"]
    assert estimate.cache_bytes == costs["cache_bytes"]
    assert estimate.cache_location == costs["cache_location"]
    assert estimate.checkpoint_bytes == costs["checkpoint_bytes"]


@pytest.mark.parametrize(("method", "precision"), TINY)
def test_peaks_on_a_tiny_backbone_are_those_of_a_real_run_to_the_byte(
    method: str, precision: str, make_spec: Make, estimator: Estimator, tiny: Path, tmp_path: Path
) -> None:
    spec = tiny_spec(make_spec, tiny, method, f"train.precision={precision}")
    assert_estimated_to_the_byte(spec, estimator, tmp_path)


@pytest.mark.parametrize(("method", "precision"), PAIRS)
def test_peaks_are_those_of_a_real_run_to_the_byte(
    method: str, precision: str, make_spec: Make, estimator: Estimator, tmp_path: Path
) -> None:
    assert_estimated_to_the_byte(small_spec(make_spec, method, f"train.precision={precision}"), estimator, tmp_path)


@pytest.mark.parametrize(("method", "cache"), [("coop", "none"), ("skip", "fresh")])
def test_flops_are_those_of_a_real_run(
    method: str, cache: str, make_spec: Make, estimator: Estimator, tiny: Path, tmp_path: Path
) -> None:
    every_class = ["skip.class_ratio=1"] if method == "skip" else []
    spec = tiny_spec(make_spec, tiny, method, f"train.cache={cache}", *every_class)
    estimate, costs = estimator.estimate(spec), run(spec, tmp_path)
    assert estimated_peaks(estimate) == peaks_of(costs)
    assert estimate.train_flops_per_image == costs["train_flops_per_image"] > 0
    assert estimate.cache_flops_per_image == costs["cache_flops_per_image"]
    assert estimate.step_flops == 2 * costs["train_flops_per_image"]


@pytest.mark.long
@pytest.mark.parametrize("method", method_names())
def test_peaks_of_vit_b_16_with_50_classes_are_measured_ones(method: str, make_spec: Make) -> None:
    overrides = ["train.batch_size=4", "runtime.eval_batch_size=8", "train.cache_batch_size=8"]
    depth = {
        "maple": ["maple.depth=6"],
        "coprompt": ["coprompt.depth=6"],
        "promptsrc": ["promptsrc.depth_text=6", "promptsrc.depth_image=6", "data.teacher_templates=imagenet_7"],
    }.get(method, [])
    spec = make_spec(method, *overrides, *depth, shots=4).model_copy(update={"backbone": "ViT-B-16:random"})
    estimate = Estimator().estimate(spec, classes=50, flops=False)
    measured = {name: value.num_bytes for name, value in measure(spec, 50, CPU).items()}
    estimated = estimated_peaks(estimate)
    if estimate.is_bound:
        assert estimated.pop("train") >= measured.pop("train")
    assert estimated == measured


def folder_of_classes(root: Path, names: list[str]) -> Path:
    """A data set of the user's own, with four training pictures a class."""
    for name in names:
        for split, number in (("train", 4), ("test", 2)):
            (root / split / name).mkdir(parents=True)
            for picture in range(number):
                Image.new("RGB", (48, 48), (picture * 40, 90, 20)).save(root / split / name / f"{picture}.png")
    return root


def test_skip_is_exact_where_all_prompts_are_equally_long(
    make_spec: Make, estimator: Estimator, tiny: Path, tmp_path: Path
) -> None:
    folder = folder_of_classes(tmp_path / "own", ["cat", "dog", "sun", "car", "egg", "hat", "cup", "key"])
    overrides = ["data.classes=all", "train.epochs=1", "train.batch_size=4", "runtime.device=cpu", "skip.depth=1"]
    spec = make_spec("skip", *overrides, shots=4)
    item = spec.evaluate[0].model_copy(update={"dataset": f"folder:{folder}", "classes": "all"})
    data = spec.data.model_copy(update={"dataset": f"folder:{folder}"})
    spec = spec.model_copy(update={"data": data, "evaluate": (item,), "backbone": str(tiny)})
    estimate, costs = estimator.estimate(spec), run(spec, tmp_path)
    assert estimate.is_bound
    assert estimated_peaks(estimate) == peaks_of(costs)
    assert estimate.train_flops_per_image == costs["train_flops_per_image"]


def test_skip_is_never_below_what_is_measured(make_spec: Make, estimator: Estimator) -> None:
    overrides = ["data.classes=base.base", "train.batch_size=4", "skip.depth=5", "skip.class_ratio=0.3"]
    spec = small_spec(make_spec, "skip", *overrides, shots=4)
    estimate = estimator.estimate(spec, phases=("train",), flops=False)
    assert estimate.is_bound
    assert estimate.phases["train"].num_bytes >= measure(spec, None, CPU)["train"].num_bytes


def test_a_peak_is_made_of_kinds(make_spec: Make, estimator: Estimator) -> None:
    found = estimator.estimate(small_spec(make_spec, "finetune"))
    for peak in found.phases.values():
        assert set(peak.by_kind) == set(KINDS)
        assert sum(peak.by_kind.values()) == peak.num_bytes
        assert all(size >= 0 for size in peak.by_kind.values())
    kinds = found.phases["train"].by_kind
    # Every trained weight has a momentum, everything is in float32.
    assert kinds[OPTIMIZER] == 4 * found.trainable_parameters
    assert 4 * found.total_parameters <= kinds[WEIGHTS] < 4 * found.total_parameters + 8192
    assert kinds[GRADIENTS] > 0
    assert kinds[UNLABELLED] > 0
    assert kinds[CACHE] > found.cache_bytes > 0
    assert kinds[INPUTS] > 0


def test_a_gpu_has_no_features_that_lie_on_the_host(make_spec: Make, estimator: Estimator, tiny: Path) -> None:
    spec = tiny_spec(make_spec, tiny, "skip", "runtime.cache_gpu_mib=0")
    on_cpu, on_gpu = (estimator.estimate(spec, device=device, flops=False) for device in ("cpu", "cuda"))
    features = on_gpu.cache_bytes
    assert features == on_cpu.cache_bytes > 0
    assert (on_gpu.cache_location, on_gpu.host_cache_bytes) == ("host", features)
    assert on_gpu.device_cache_bytes == on_cpu.device_cache_bytes - features == on_cpu.text_cache_bytes > 0
    assert on_cpu.phases["train"].num_bytes - on_gpu.phases["train"].num_bytes == features
    spec = tiny_spec(make_spec, tiny, "skip")
    there = estimator.estimate(spec, device="cuda", flops=False)
    assert (there.cache_location, there.phases) == ("gpu", on_cpu.phases)


def test_nothing_is_allocated_for_a_large_model(make_spec: Make) -> None:
    spec = make_spec("skip", "train.batch_size=4", "train.cache_batch_size=256", shots=4)
    spec = spec.model_copy(update={"backbone": "ViT-L-14"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = Estimator().estimate(spec, classes=100, phases=("cache",), flops=False)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < found.peak_bytes / 4
    assert found.total_parameters == 427_616_513
    assert found.phases["train"].num_bytes > 3 * 2**30
    assert found.classes == 100
    assert found.train_images == 400


def test_a_data_set_that_is_not_here_has_its_known_size(make_spec: Make, estimator: Estimator) -> None:
    spec = make_spec("clip_adapter", "train.batch_size=4", shots=4)
    data = spec.data.model_copy(update={"dataset": "dtd"})
    found = estimator.estimate(spec.model_copy(update={"data": data}), phases=("train",), flops=False)
    assert (found.classes, found.train_images, found.stand_ins) == (24, 96, ("dtd",))


@pytest.mark.parametrize(("method", "cached"), [("skip", True), ("coop", True), ("finetune", False)])
def test_a_measurement_on_a_device_goes_through_the_phases_of_a_run(
    method: str, cached: bool, make_spec: Make, clip: CLIP
) -> None:
    overrides = ["finetune.depth=0"] if method == "finetune" else []
    spec, meter = small_spec(make_spec, method, *overrides), Meter(CPU)
    # As `measure` does on a GPU, where no test can look.
    dry_run = DryRun(spec, store_clip(clip, spec.train.precision), None, CPU)
    before = {name: value.detach().clone() for name, value in trained_parameters(dry_run.method).items()}
    dry_run.run(meter)
    assert {name for name, phase in meter.phases.items() if phase.seconds} == {
        "setup", "train", "evaluate", *(["cache"] if cached else []),
    }  # fmt: skip
    assert dry_run.trainer
    assert dry_run.trainer.images.is_cached == cached
    after = trained_parameters(dry_run.method)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_batch_that_is_larger_than_the_training_set_is_the_training_set(
    make_spec: Make, estimator: Estimator
) -> None:
    six, seven = (estimator.estimate(small_spec(make_spec, "coop", f"train.batch_size={size}")) for size in (6, 7))
    assert seven.phases == six.phases
    same_class = small_spec(make_spec, "skip", "train.batch_size=5", "train.batches=same_class", shots=4)
    with pytest.raises(UserError, match="of one class"):
        estimator.estimate(same_class)


def test_a_method_that_reads_values_is_refused(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = method_class("clip_adapter")
    loss = cls.loss

    def reading_loss(self: Any, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        found = loss(self, x, labels)
        return found * found.item()

    monkeypatch.setattr(cls, "loss", reading_loss)
    with pytest.raises(UserError, match=r"\.item\(\)"):
        Estimator().estimate(small_spec(make_spec, "clip_adapter"))


def test_a_method_may_copy_its_modules_deeply(make_spec: Make, estimator: Estimator) -> None:
    spec = small_spec(make_spec, "maple", "maple.depth=4")
    found = estimator.estimate(spec, phases=("train",), flops=False)
    assert found.phases["train"].by_kind[OPTIMIZER] == 4 * found.trainable_parameters
