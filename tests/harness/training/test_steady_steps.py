"""No method's training step makes the host wait for the device, and each compiles as one graph with equal results."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.errors import UserError
from harness.experiment.registry import method_class, method_names
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter
from harness.machine.operators import WaitingError, refuse_waiting
from harness.training.compiling import loss_function
from harness.training.feature_cache import Batch
from harness.training.run import Run
from harness.training.state import trained_parameters
from harness.training.step import loss_of
from harness.training.trainer import Trainer
from tests.tiny_options import TINY_OPTIONS

Make = Callable[..., RunSpec]
TRAINABLE = [name for name in method_names() if method_class(name).trains]
WORDS = (
    "train.batch_size=4",
    "train.epochs=1",
    "train.iterations_per_shot=null",
    "data.classes=base.base.base",
    "evaluate=[{name: seen, dataset: emoji, classes: base.base.base, splits: [test]}]",
    "runtime.device=cpu",
)
OPTIONS = {
    # Batches of more images than classes are always kept, so that labels must be rescued.
    "skip": ["skip.class_ratio=0.2"],
    "cocoop": ["train.batch_size=2"],
}
NO_GRAPH = ("prograd",)
"""Methods that take a gradient within their loss, which torch does not compile."""


@pytest.fixture(params=TRAINABLE)
def prepared(request: pytest.FixtureRequest, make_spec: Make, tiny: Path) -> tuple[Trainer, Batch]:
    """A trainer of a method, as a run makes it, and its first batch."""
    name = request.param
    spec = make_spec(name, *WORDS, *TINY_OPTIONS.get(name, []), *OPTIONS.get(name, []), shots=4)
    run = Run(spec.model_copy(update={"backbone": str(tiny)}), Path("nowhere"))
    trainer = run.make_trainer(run.set_up(), Meter(run.device))
    trainer.images.prepare(0)
    return trainer, next(iter(trainer.images.with_frozen(0, trainer.draw_batches(0)[:1])))


def test_a_step_never_waits_for_the_device(prepared: tuple[Trainer, Batch]) -> None:
    trainer, batch = prepared
    with refuse_waiting():
        for _ in range(2):  # momentum exists from the second on
            trainer.take_step(trainer.optimizer, trainer.scaler, batch)
    assert all(value.isfinite().all() for value in trained_parameters(trainer.method).values())


def test_a_step_compiles_as_one_graph(prepared: tuple[Trainer, Batch]) -> None:
    trainer, batch = prepared
    torch.compiler.reset()
    if trainer.spec.method in NO_GRAPH:
        with pytest.raises(
            UserError, match=r"^train\.compile=default: torch cannot compile .* use train\.compile=none$"
        ):
            loss_function("default")(trainer.method, batch.x, batch.labels, batch.frozen)
        return
    # The backward pass of a whole graph takes long to trace: of one method, whose classes are up to the batch.
    backend = "aot_eager" if trainer.spec.method == "skip" else "eager"
    compiled = torch.compile(loss_of, fullgraph=True, dynamic=False, backend=backend)

    def outcome(compute: Callable[..., Tensor]) -> dict[str, Tensor]:
        torch.manual_seed(0)
        loss = compute(trainer.method, batch.x, batch.labels, batch.frozen)
        loss.backward()
        with torch.no_grad():
            trainer.method.change_gradients()
        found = {name: value.grad for name, value in trained_parameters(trainer.method).items()}
        trainer.optimizer.zero_grad()
        return {"loss": loss.detach(), **{name: grad for name, grad in found.items() if grad is not None}}

    expected, found = outcome(loss_of), outcome(compiled)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-4, atol=1e-5 * max(1.0, float(value.abs().max())), msg=name
        )


WAITS: dict[str, Callable[[Tensor], object]] = {
    "a number is read": lambda x: x.sum().item(),
    "a truth value is read": lambda x: bool((x > 0).all()),
    "numbers are listed": lambda x: x.tolist(),
    "places are counted": lambda x: x.nonzero(),
    "truth values select": lambda x: x[x > 0],
    "truth values are written to": lambda x: x.index_put((x > 0,), torch.zeros_like(x[:1])),
    "a mask selects": lambda x: x.masked_select(x > 0),
    "equal values are dropped": lambda x: x.unique(),
    "numbers decide a length": lambda x: x.repeat_interleave(torch.ones_like(x, dtype=torch.int64)),
    "the host makes a tensor": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    "the host makes a number": lambda x: x + torch.tensor(1.0),
    "the host lists places": lambda x: x[[0, 2]],
    "tensors are compared as a whole": lambda x: torch.equal(x, x),
    "it goes to another device": lambda x: x.to("meta"),
}


@pytest.mark.parametrize("what", WAITS)
def test_what_makes_the_host_wait_is_refused(what: str) -> None:
    x = torch.arange(3.0)
    with pytest.raises(WaitingError), refuse_waiting():
        WAITS[what](x)


def test_what_does_not_is_not() -> None:
    x, places = torch.arange(3.0), torch.tensor([2, 0])
    with refuse_waiting():
        x[places].sum().where(x > 1, 2.0).sort().values[:2].to(torch.float64).masked_fill(x[:2] > 0, 1.0)
