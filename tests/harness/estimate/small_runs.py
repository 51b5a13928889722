"""Small runs whose estimates are compared with what they measure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.estimate.batches import choose_batches
from harness.estimate.estimator import Estimate
from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec
from harness.training.run import Run
from tests.tiny_options import TINY_OPTIONS

Make = Callable[..., RunSpec]
CPU = torch.device("cpu")
# Six classes, and others for methods that know them; few blocks, so that nothing takes long.
SMALL = (
    "data.classes=base.base.base",
    "evaluate=[{name: seen, dataset: emoji, classes: base.base.base, splits: [val]}, "
    "{name: other, dataset: emoji, classes: base.base.new, splits: [val]}]",
    "train.batch_size=2",
    "runtime.device=cpu",
)
OPTIONS = {
    "skip": ["skip.depth=4"],
    "finetune": ["finetune.depth=4"],
    "maple": ["maple.depth=2"],
    "tcp": ["tcp.layer=3"],
    "clip_lora": ["train.iterations_per_shot=2"],
    "coprompt": ["coprompt.depth=2"],
    "promptsrc": ["promptsrc.depth_text=2", "promptsrc.depth_image=2", "data.teacher_templates=drawings"],
}


def small_spec(make_spec: Make, method: str, *overrides: str, shots: int = 1) -> RunSpec:
    epochs = ["train.epochs=1"] if method_class(method).trains else []
    return make_spec(method, *SMALL, *epochs, *OPTIONS.get(method, []), *overrides, shots=shots)


def tiny_spec(make_spec: Make, backbone: Path, method: str, *overrides: str) -> RunSpec:
    """Spec of a small run on the tiny backbone, whose checkpoint is given."""
    epochs = ["train.epochs=1"] if method_class(method).trains else []
    kept = [word for word in OPTIONS.get(method, []) if word.startswith("train.")]
    words = [*SMALL, *epochs, *TINY_OPTIONS.get(method, []), *kept, *overrides]
    return make_spec(method, *words, shots=1).model_copy(update={"backbone": str(backbone)})


def run(spec: RunSpec, results: Path) -> dict[str, Any]:
    """Costs of a real run, as its `result.json` tells them."""
    run = Run(spec, results, choose=choose_batches)
    run.execute()
    costs = json.loads(run.folder.result_file.read_text())["costs"]
    assert isinstance(costs, dict)
    return costs


def peaks_of(costs: dict[str, Any]) -> dict[str, int]:
    phases = costs["phases"].items()
    return {name: phase["peak_tensor_bytes"] for name, phase in phases if phase["peak_tensor_bytes"]}


def estimated_peaks(estimate: Estimate) -> dict[str, int]:
    return {name: peak.num_bytes for name, peak in estimate.phases.items()}
