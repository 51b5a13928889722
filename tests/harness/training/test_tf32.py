"""TF32 is a precision of its own: used where it is asked for and nowhere else, refused where there is none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.training.optimizer import build_optimizer
from harness.training.precision import use_tf32
from harness.training.run import Run

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave torch's switches as they were."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("precision", ["fp32", "bf16", "half"])
def test_other_precisions_switch_it_off_in_convolutions_too(precision: str) -> None:
    torch.backends.cudnn.allow_tf32 = True
    use_tf32(precision, CPU)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_gpu_that_has_it_uses_it_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    use_tf32("tf32", torch.device("cuda"))
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(UserError, match=r"older than Ampere, has none: use train\.precision=fp32$"):
        use_tf32("tf32", torch.device("cuda"))


def test_a_run_on_a_cpu_is_refused_before_it_has_a_folder(make_spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    spec, usual = (make_spec("coop", f"train.precision={name}", "runtime.device=cpu") for name in ("tf32", "fp32"))
    assert spec.id != usual.id
    with pytest.raises(UserError, match=r"^train\.precision=tf32 needs a GPU with TF32, and a CPU has none"):
        Run(spec, tmp_path / "results").execute()
    assert not (tmp_path / "results").exists()


def test_its_optimizer_is_that_of_fp32(make_spec: Callable[..., RunSpec]) -> None:
    run = Run(make_spec("clip_adapter", "runtime.device=cpu"), Path("nowhere"))
    method = run.set_up().method
    tf32, fp32 = (build_optimizer(method, run.spec.train, name).defaults for name in ("tf32", "fp32"))
    assert tf32 == fp32
