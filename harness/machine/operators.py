"""What a piece of code asks of a device, seen operator by operator: how often, and whether it waits for the answer."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.machine.torch_internals import READ_DEVICE, OperatorMode, tree_leaves

WAITING = frozenset(
    (
        "_local_scalar_dense", "item", "is_nonzero", "equal", "allclose",
        "nonzero", "nonzero_numpy", "masked_select", "argwhere", "bincount",
        "_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive",
    )
)  # fmt: skip
"""Operators of torch whose result, or its size, the host must read before it can go on."""
FROM_HOST = frozenset(("lift_fresh", "lift_fresh_copy", "lift"))
"""Operators by which torch takes a tensor that the host made of its own numbers."""
INDEXING = frozenset(("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"))
READING = (Tensor.tolist, Tensor.numpy, Tensor.__array__)
WITHOUT_KERNEL = frozenset(
    (
        "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided",
        "detach", "alias", "_unsafe_view", "_reshape_alias", "lift_fresh",
        "_record_function_enter_new", "_record_function_exit",
    )
)  # fmt: skip
"""Operators that are no views by their schema and compute nothing."""


class WaitingError(RuntimeError):
    """Code asked for something that makes the host wait for the device."""


@contextmanager
def refuse_waiting() -> Iterator[None]:
    """Inside, what makes the host wait for a device raises a WaitingError, on a CPU too.

    That are operators whose result the host reads, those whose output has a size that depends on values, indexing with
    truth values, copies from one device to another, and tensors that the host makes of its own numbers.
    """
    with _RefuseReading(), _RefuseOperators():
        yield


class _RefuseReading(TorchFunctionMode):
    """Sees what of a CPU tensor is read without an operator."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READING:
            raise WaitingError(f"{func.__name__}: the host reads all numbers")
        return func(*args, **(kwargs or {}))


class _RefuseOperators(OperatorMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if reason := reason_to_wait(func, args, kwargs):
            raise WaitingError(f"{func}: {reason}")
        return func(*args, **kwargs)


def reason_to_wait(operator: Any, args: Any, kwargs: Any) -> str | None:
    """Why the host must wait for a device where an operator is called like that; None if it need not."""
    name = operator.overloadpacket.__name__
    if name in WAITING or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        return "its result, or its size, is read by the host"
    if name in FROM_HOST:
        return "it takes a tensor that the host made"
    if name in INDEXING and any(is_truth(place) for place in args[1] if place is not None):
        return "how much it takes depends on truth values"
    if name == "_to_copy" and kwargs.get("device") not in (None, args[0].device):
        return "it copies from one device to another"
    return None


def is_truth(places: Tensor) -> bool:
    """Whether places are given by truth values."""
    return places.dtype in (torch.bool, torch.uint8)


class CountLaunches(OperatorMode):
    """Counts the operators of torch that compute something, about one kernel each on a GPU.

    Views and the allocation of memory are not counted. An operator on a whole list of tensors, such as a fused step of
    an optimizer, counts once, and so does a compiled function's own code, which torch hides.

    Attributes:
        of: name of an operator -> how often it was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Number of all of them."""
        return self.of.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not READ_DEVICE and computes(func, args, result):
            self.of[func.overloadpacket.__name__] += 1
        return result


def computes(operator: Any, args: Any, result: Any) -> bool:
    """Whether an operator does more than to look at memory in another way or to allocate it."""
    if operator.is_view or operator.overloadpacket.__name__ in WITHOUT_KERNEL:
        return False
    # Some give back their own argument where there is nothing to do.
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    return not outputs or any(output.numel() for output in outputs)


def count_launches(work: Callable[[], object]) -> int:
    """Number of operators that compute something while `work` runs."""
    with CountLaunches() as counter:
        work()
    return counter.total


class CountTraffic(OperatorMode):
    """Counts the bytes of tensors that operators read and write, as if nothing stayed in a cache between two of them.

    Attributes:
        num_bytes: of inputs and outputs of all operators that compute something; a tensor that is read twice counts
            twice, and a view only with its own elements.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not READ_DEVICE and computes(func, args, result):
            tensors = (leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor))
            self.num_bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def count_traffic(work: Callable[[], object]) -> int:
    """Bytes that operators read and write while `work` runs."""
    with CountTraffic() as counter:
        work()
    return counter.num_bytes
