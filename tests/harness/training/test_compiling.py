"""Compiling is a phase of its own that leaves no trace; what compiled code computes is tested in test_steady_steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.experiment.no_effect import reason_in
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter
from harness.training.compiling import WARM_UP_STEPS
from harness.training.run import Run
from harness.training.state import trained_parameters
from tests.tiny_options import TINY_OPTIONS

Make = Callable[..., RunSpec]
WORDS = ("train.batch_size=4", "train.epochs=2", "train.iterations_per_shot=null", "data.classes=base.base.base")


def train(spec: RunSpec) -> tuple[dict[str, Tensor], Meter]:
    """Weights after a training, and its costs."""
    run = Run(spec, Path("nowhere"))
    meter = Meter(run.device)
    trainer = run.make_trainer(run.set_up(), meter)
    trainer.train(0, lambda record: None)
    return {name: value.detach().clone() for name, value in trained_parameters(trainer.method).items()}, meter


@pytest.mark.parametrize(("kind", "mode"), [("default", "default"), ("graphs", "reduce-overhead")])
def test_warming_up_changes_nothing_and_is_counted(
    kind: str, mode: str, make_spec: Make, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def compile_nothing(function: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
        assert options == {"fullgraph": True, "dynamic": False, "mode": mode}

        def call(*args: Any) -> Tensor:
            calls.append(kind)
            return function(*args)

        return call

    monkeypatch.setattr(torch, "compile", compile_nothing)
    words = [*WORDS, *TINY_OPTIONS["clip_lora"], "runtime.device=cpu"]  # its dropout draws in every step
    plain, compiled = (
        make_spec("clip_lora", *words, f"train.compile={name}", shots=2).model_copy(update={"backbone": str(tiny)})
        for name in ("none", kind)
    )
    expected, usual = train(plain)
    assert not calls
    found, meter = train(compiled)
    steps = 2 * (2 * 6 // 4)
    assert len(calls) == WARM_UP_STEPS + steps
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert meter.phases["compile"].seconds > 0
    assert "compile" not in usual.phases
    # A meter of operators does not see what compiled code keeps.
    assert meter.phases["train"].peak_tensor_bytes is None
    assert usual.phases["train"].peak_tensor_bytes is not None


def test_it_belongs_to_the_id_unless_nothing_is_compiled(make_spec: Make) -> None:
    ids = [make_spec("coop", *words).id for words in ([], ["train.compile=none"], ["train.compile=default"])]
    assert ids[0] == ids[1] != ids[2]
    assert reason_in(make_spec("zeroshot", "train.compile=default"), "train.compile") == "nothing trains"
