"""What a SigLIP will need is estimated to the byte, without its weights and without its tokenizer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness.estimate.estimator import Estimator, measure
from harness.experiment.spec import RunSpec
from tests.harness.estimate.small_runs import estimated_peaks
from tests.small_siglip import write_configuration

OPTIONS = {"coop": ["coop.n_ctx=2"], "skip": ["skip.depth=3", "skip.class_ratio=1"]}


@pytest.mark.parametrize(("method", "precision"), [("coop", "bf16"), ("skip", "fp32")])
def test_peaks_of_a_siglip_are_measured_ones(
    method: str, precision: str, make_spec: Callable[..., RunSpec], tmp_path: Path
) -> None:
    write_configuration(tmp_path)
    (tmp_path / "open_clip_model.safetensors").touch()
    sizes = ["train.batch_size=2", "runtime.eval_batch_size=2", "train.cache_batch_size=2"]
    spec = make_spec(method, *sizes, f"train.precision={precision}", *OPTIONS[method], shots=1)
    spec = spec.model_copy(update={"backbone": str(tmp_path)})
    estimate = Estimator().estimate(spec, classes=3, flops=False)
    measured = {name: value.num_bytes for name, value in measure(spec, 3, torch.device("cpu")).items()}
    assert estimated_peaks(estimate) == measured
