"""Tensors without memory that still know their small numbers.

Under torch's `FakeTensorMode` every operator runs on shapes alone. But some shapes follow from values: how many tokens
stand before end of text, which ranks of classes are kept. Those values come from token ids, labels and seeds, not from
weights or pictures; so they are computed beside the shapes, for real. What pictures decide (which classes are nearest
to a batch) nobody knows; there the case that takes the most memory is assumed.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.errors import UserError
from harness.machine.torch_internals import (
    LAYER_NORM,
    OVERFLOW_CHECK,
    READ_DEVICE,
    READ_NUMBER,
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    TorchDispatchMode,
    WeakIdKeyDictionary,
    is_in_place,
    no_dispatch,
    storage_id,
    tree_leaves,
    tree_map_only,
    written_tensors,
)

# Ids, labels, positions and masks of all classes are below the first limit; random draws and tables of ranks below the
# second. Everything larger is weights or pictures.
KNOWN_INTEGERS = 2**21
KNOWN_FLOATS = 2**13
INTEGERS = (torch.int64, torch.int32, torch.bool)


class FakeMode(FakeTensorMode):
    """A `FakeTensorMode` whose tensors can be copied deeply: each holds its mode, of which there must be only one."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FakeMode":
        return self


@contextmanager
def fake_tensors(mode: FakeMode) -> Iterator["KnownValues"]:
    """Inside, every new tensor is fake, and small ones whose values follow from no weight and no picture know them."""
    with warnings.catch_warnings(), mode, KnownValues(mode) as known:
        # Copying a tensor deeply asks for its address, and takes the answer that there is none.
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield known


class KnownValues(TorchDispatchMode):
    """Computes the values of small tensors beside their fakes, as long as nothing unknown enters them.

    Args:
        mode: makes the fakes; it is active below this one.

    Attributes:
        assumed: whether a shape that only data can tell was met; then the largest possible one was taken.
    """

    def __init__(self, mode: FakeMode) -> None:
        super().__init__()
        self.mode = mode
        self.assumed = False
        self._values: Any = WeakIdKeyDictionary()

    def for_real(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """A function of plain data, computed for real in one go; its outcome is a fake whose value is known."""

        def run(*args: Any, **kwargs: Any) -> Tensor:
            with no_dispatch():
                value = function(*args, **kwargs)
            fake: Tensor = self.mode.from_tensor(value)
            self._values[fake] = value
            return fake

        return run

    def value(self, tensor: Tensor) -> Tensor | None:
        """The real value of a tensor, None if it is not known."""
        known: Tensor | None = self._values.get(tensor) if isinstance(tensor, FakeTensor) else tensor
        return known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is READ_DEVICE:
            return func(*args, **kwargs)
        values = [self.value(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        is_known = all(value is not None for value in values)
        try:
            result = func(*args, **kwargs)
        except (DynamicOutputShapeException, DataDependentOutputException):
            return self._decide(func, args, kwargs, is_known)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if is_known and outputs and all(map(may_be_known, outputs)):
            self._remember(result, self._compute(func, args, kwargs))
            return result
        if func is LAYER_NORM:
            return self._with_statistics_of_weights(result, *args)
        # Values decide whether gradients overflow. What is measured is a step that is not left out.
        if is_in_place(func) and func is not OVERFLOW_CHECK:
            self._forget_written(func, args, kwargs)
        if func is torch.ops.aten.index.Tensor:
            self._assume_selection(result, *args)
        return result

    def _decide(self, func: Any, args: Any, kwargs: Any, is_known: bool) -> Any:
        """Result of an operator whose result, or its shape, is decided by values."""
        if is_known:
            result = self._compute(func, args, kwargs)
        elif func is READ_NUMBER:
            raise UserError(
                "this method's step reads a number that only real weights and pictures can tell (such as .item() of a "
                "loss), so it cannot be estimated: measure it, with `skipbench speed` or a run"
            )
        else:
            self.assumed = True
            result = self._compute(func, *tree_map_only(Tensor, self._value_or_largest, (args, kwargs)))
        fakes = tree_map_only(Tensor, self.mode.from_tensor, result)
        if is_known:
            self._remember(fakes, result)
        return fakes

    def _value_or_largest(self, tensor: Tensor) -> Tensor:
        """The value of a tensor, or one that leads to the largest shapes: all true, all different."""
        value = self.value(tensor)
        if value is not None:
            return value
        with no_dispatch():
            if tensor.dtype == torch.bool:
                return torch.ones(tensor.shape, dtype=torch.bool)
            return torch.arange(1, tensor.numel() + 1).view(tensor.shape).to(tensor.dtype)

    def _assume_selection(self, result: Tensor, table: Tensor, places: Any) -> None:
        """A choice that only data can tell, from a list of known numbers, is taken to be that of the largest ones.

        The numbers are end-of-text positions, and the longest prompts take the most memory.
        """
        value = self.value(table)
        if value is None or value.dim() != 1 or value.dtype != torch.int64 or not isinstance(result, FakeTensor):
            return
        self.assumed = True
        with no_dispatch():
            largest = value.sort(descending=True).values
            self._values[result] = largest[torch.arange(result.numel()).clamp(max=len(largest) - 1)].view(result.shape)

    def _with_statistics_of_weights(self, result: Any, x: Tensor, shape: Any, weight: Tensor | None, *_: Any) -> Any:
        """A LayerNorm keeps mean and deviation in the type of its weights; torch's fake one in the input's."""
        output, *statistics = result
        dtype = x.dtype if weight is None else weight.dtype
        return output, *(value.to(dtype) for value in statistics)

    def _compute(self, func: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = tree_map_only(FakeTensor, self._values.__getitem__, (args, kwargs))
        with no_dispatch():
            return func(*args, **kwargs)

    def _remember(self, fakes: Any, values: Any) -> None:
        for fake, value in zip(tree_leaves(fakes), tree_leaves(values), strict=True):
            if isinstance(fake, FakeTensor):
                self._values[fake] = value

    def _forget_written(self, func: Any, args: Any, kwargs: Any) -> None:
        """What an operator writes something unknown into, and all that shares its memory, is no longer known."""
        values = [self.value(leaf) for leaf in written_tensors(func, args, kwargs) if isinstance(leaf, FakeTensor)]
        lost = {storage_id(value) for value in values if value is not None}
        if lost:
            for tensor in [tensor for tensor, value in self._values.items() if storage_id(value) in lost]:
                del self._values[tensor]


def may_be_known(tensor: Tensor) -> bool:
    """Whether a tensor is small enough, and of such a type, that its values are worth computing."""
    if tensor.is_floating_point():
        return tensor.numel() <= KNOWN_FLOATS
    return tensor.dtype in INTEGERS and tensor.numel() <= KNOWN_INTEGERS
