"""The undocumented parts of torch that we need: a release that changes one fails here, and the message says which."""

import gc
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import harness
from harness.machine import torch_internals
from harness.machine.torch_internals import (
    LAYER_NORM,
    OVERFLOW_CHECK,
    READ_DEVICE,
    READ_NUMBER,
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    OperatorMode,
    WeakIdKeyDictionary,
    is_in_place,
    no_dispatch,
    storage_id,
    take_step,
    tree_leaves,
    tree_map_only,
    written_tensors,
)

ROOT = Path(harness.__file__).parents[1]


class Operators(OperatorMode):
    """Notes every operator that is called, with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    @property
    def operators(self) -> list[Any]:
        return [operator for operator, _, _ in self.calls]


def test_a_storage_has_an_identity_that_its_views_share() -> None:
    tensor, other = torch.zeros(3), torch.zeros(3)
    assert storage_id(tensor) == storage_id(tensor[1:]) == storage_id(tensor.detach())
    assert storage_id(tensor) != storage_id(other)


def test_a_fake_tensor_has_a_storage_of_its_own_without_memory() -> None:
    with FakeTensorMode():
        tensor, other = torch.zeros(2**40), torch.zeros(2**40)
        assert isinstance(tensor, FakeTensor)
        assert storage_id(tensor) == storage_id(tensor[1:]) != storage_id(other)


@pytest.mark.parametrize(
    ("operator", "call"),
    [
        (READ_NUMBER, lambda: torch.zeros(1).item()),
        (LAYER_NORM, lambda: torch.nn.LayerNorm(4)(torch.zeros(2, 4))),
    ],
)
def test_a_dispatch_mode_sees_the_operators_that_we_know_by_name(operator: Any, call: Any) -> None:
    with Operators() as seen:
        call()
    assert operator in seen.operators, f"torch changed: {operator} is not what it calls any more"


def test_a_loss_scale_looks_for_overflow_with_the_operator_that_we_know() -> None:
    weight = torch.zeros(4, requires_grad=True)
    optimizer, scaler = torch.optim.SGD([weight], lr=0.1), torch.amp.GradScaler("cpu")
    scaler.scale(weight.sum()).backward()
    with Operators() as seen:
        scaler.step(optimizer)
    assert OVERFLOW_CHECK in seen.operators, f"torch changed: {OVERFLOW_CHECK} is not what GradScaler calls any more"
    assert is_in_place(OVERFLOW_CHECK)


def test_a_fake_tensor_is_asked_for_its_device_by_the_operator_that_we_know() -> None:
    with FakeTensorMode(), Operators() as seen:
        x = torch.zeros(2, 4, requires_grad=True)
        (x @ x.T).sum().backward()
    assert READ_DEVICE in seen.operators, f"torch changed: {READ_DEVICE} is not how a fake tensor tells its device"


def test_what_an_operator_writes_into_is_known() -> None:
    x, out = torch.ones(3), torch.zeros(3)
    with Operators() as seen:
        x.add_(1)
        torch.add(x, 1, out=out)
        torch._foreach_mul_([x, out], 2.0)
        x + out
    written = [written_tensors(operator, args, kwargs) for operator, args, kwargs in seen.calls]
    assert [[any(leaf is known for known in (x, out)) for leaf in leaves] for leaves in written] == [
        [True],
        [True],
        [True, True],
        [],
    ]
    assert [is_in_place(operator) for operator in seen.operators] == [True, True, True, False]


def test_fake_tensors_say_that_values_decide() -> None:
    with FakeTensorMode():
        mask = torch.zeros(3, dtype=torch.bool)
        with pytest.raises(DynamicOutputShapeException):
            mask.nonzero()
        with pytest.raises(DataDependentOutputException):
            mask[0].item()


def test_no_dispatch_computes_for_real_inside_a_mode() -> None:
    with FakeTensorMode(), Operators() as seen:
        with no_dispatch():
            real = torch.ones(2)
        assert not isinstance(real, FakeTensor)
        assert seen.calls == []
        assert isinstance(torch.ones(2), FakeTensor)


def test_trees_of_results_are_walked() -> None:
    x = torch.ones(1)
    assert tree_leaves(([x, 1], {"a": (x, None)})) in ([x, 1, x, None], [x, 1, x])
    assert tree_map_only(torch.Tensor, lambda leaf: 7, {"a": [x, "b"]}) == {"a": [7, "b"]}


def test_a_dictionary_by_identity_forgets_tensors_that_are_gone() -> None:
    known = WeakIdKeyDictionary()
    x, equal = torch.ones(1), torch.ones(1)
    known[x] = "x"
    assert (known.get(x), known.get(equal)) == ("x", None)
    del x
    gc.collect()
    assert len(known) == 0


def test_nothing_else_uses_undocumented_names_of_torch() -> None:
    private = re.compile(r"torch(\.\w+)*\._\w+|\._cdata|\._schema\b|\._get_growth_tracker|from torch\.utils\.weak")
    sources = [*ROOT.glob("harness/**/*.py"), *ROOT.glob("methods/**/*.py")]
    found = {path.name for path in sources if private.search(path.read_text())}
    # The others name what stands in a TorchScript archive and in a pickle, whatever torch calls it today.
    assert found == {Path(torch_internals.__file__).name, "torchscript.py", "pickled.py"}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
        (torch.optim.Adam, {"betas": (0.8, 0.9), "eps": 1e-6}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
    ],
)
def test_a_bare_step_is_the_step_of_the_optimizer(
    kind: type[torch.optim.Optimizer], settings: dict[str, Any], fused: bool
) -> None:
    def trained(step: Any) -> list[Any]:
        torch.manual_seed(0)
        weights = [torch.randn(3, 4, requires_grad=True), torch.randn(5, requires_grad=True)]
        groups = [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.01}]
        optimizer = kind(groups, fused=fused, **settings)  # type: ignore[call-arg]
        for _ in range(3):
            sum((weight**2).sum() for weight in weights).backward()  # type: ignore[union-attr]
            step(optimizer)
            assert torch.is_grad_enabled()
        return [*(weight.tolist() for weight in weights), *(str(optimizer.state[weight]) for weight in weights)]

    found = trained(take_step)
    assert found == trained(kind.step)
    assert found[0] != trained(lambda optimizer: None)[0]


@pytest.mark.parametrize("when", ["pre", "post"])
@pytest.mark.parametrize("of_all", [True, False])
def test_hooks_of_an_optimizer_are_called(when: str, of_all: bool) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    called: list[torch.optim.Optimizer] = []
    name = f"register_optimizer_step_{when}_hook" if of_all else f"register_step_{when}_hook"
    owner = import_module("torch.optim.optimizer") if of_all else optimizer
    hook = getattr(owner, name)(lambda one, args, kwargs: called.append(one))
    weight.sum().backward()
    take_step(optimizer)
    hook.remove()
    assert called == [optimizer]
    assert weight.tolist() == [0.5, 0.5]
