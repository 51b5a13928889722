"""The parts of torch that its documentation does not promise, and that measuring needs.

Everything else takes them from here, so that a release of torch that changes one of them breaks this module and its
tests, which say what changed, and nothing that is harder to understand.
"""

import inspect
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import _FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from torch.utils.weak import WeakIdKeyDictionary

__all__ = [
    "FLOPS_ON_CPU",
    "LAYER_NORM",
    "OVERFLOW_CHECK",
    "READ_DEVICE",
    "READ_NUMBER",
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "FakeTensor",
    "FakeTensorMode",
    "OperatorMode",
    "WeakIdKeyDictionary",
    "active_modes",
    "allow_tf32",
    "compile_errors",
    "is_in_place",
    "no_dispatch",
    "storage_id",
    "take_step",
    "tree_leaves",
    "tree_map_only",
    "written_tensors",
]

READ_DEVICE = torch.ops.prim.device.default
"""The operator by which a fake tensor is asked for its device; it is called more often than any other."""
READ_NUMBER = torch.ops.aten._local_scalar_dense.default
"""The operator of `Tensor.item()`."""
LAYER_NORM = torch.ops.aten.native_layer_norm.default
OVERFLOW_CHECK = torch.ops.aten._amp_foreach_non_finite_check_and_unscale_.default
"""The operator by which a loss scale looks for gradients that overflowed."""


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(
    gradient: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


FLOPS_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
"""Attention on a CPU, which torch's counter of operations leaves out: operator -> operations, by shapes of inputs."""


class OperatorMode(TorchDispatchMode):
    """Inside it, every operator is given to its `__torch_dispatch__`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler at the first operator, only to keep it away from that function.
        return False


def do_not_compile(function: Any) -> None:
    """Let torch call a function directly that it hides from its compiler, and that nobody compiles.

    To hide it, torch would import the compiler at the first call, which takes nearly as long as importing torch.
    """
    hidden = function.__wrapped__
    hidden.__dict__.setdefault("__dynamo_disable", hidden)


do_not_compile(torch.optim.Optimizer.add_param_group)
do_not_compile(_FlopCounterMode.__torch_dispatch__)


@cache
def bare_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """The step of an optimizer's class without what torch has wrapped it in: hooks, its profiler and its compiler."""
    return inspect.unwrap(step)


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """Do what `optimizer.step()` does, without importing torch's compiler unless there are hooks.

    Args:
        optimizer: one that needs no closure.
    """
    own = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    if own or _global_optimizer_pre_hooks or _global_optimizer_post_hooks:
        optimizer.step()
        return
    with torch.no_grad():
        bare_step(type(optimizer).step)(optimizer)


def compile_errors() -> tuple[type[Exception], ...]:
    """What torch raises where it cannot compile something."""
    # Not at the top: it takes seconds to import, and few runs compile anything.
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    return TorchDynamoException, FailOnRecompileLimitHit


def allow_tf32(allowed: bool) -> None:
    """Whether this process may use TF32 on a GPU, in products and in convolutions."""
    # The newer names of these settings are not there in all versions, and torch refuses to read a mix of both.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.backends.cudnn.allow_tf32 = allowed


def storage_id(tensor: Tensor) -> int:
    """Identity of the storage of a tensor, while that lives; fake tensors have one too, but no address."""
    return tensor.untyped_storage()._cdata


def active_modes() -> list[Any]:
    """The modes through which every operator goes now, the innermost last."""
    return list(_get_current_dispatch_mode_stack())


def operator_name(operator: Any) -> str:
    """The name of an operator without that of its overload, such as `aten::empty`."""
    return str(operator._schema.name)


def is_in_place(operator: Any) -> bool:
    """Whether an operator writes into one of its arguments, by its schema."""
    return bool(operator._schema.is_mutable)


def written_tensors(operator: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors among the arguments of a call that the operator writes into, by its schema."""
    arguments = operator._schema.arguments
    given = [*zip(arguments, args, strict=False), *((item, kwargs.get(item.name)) for item in arguments)]
    written = [value for item, value in given if item.alias_info is not None and item.alias_info.is_write]
    return [leaf for leaf in tree_leaves(written) if isinstance(leaf, Tensor)]
