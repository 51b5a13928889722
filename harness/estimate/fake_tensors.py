"""Fake tensors, without memory, of which small ones still have values.

Under torch's `FakeTensorMode` every operator computes only shapes. But some shapes depend on values: the number of
tokens up to end-of-text, or which ranks of classes are kept. These values follow from token ids, labels and seeds, not
from weights or images, so they are computed for real, together with the shapes. Values that images decide, such as
which classes are nearest to a batch, are unknown; there the case that takes the most memory is assumed.
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
    OperatorMode,
    WeakIdKeyDictionary,
    is_in_place,
    no_dispatch,
    operator_name,
    storage_id,
    tree_leaves,
    tree_map_only,
    written_tensors,
)

# Largest number of elements whose values are computed: ids, labels, positions and masks of all classes are below the
# first limit, random draws and tables of ranks below the second. Larger tensors are weights or images.
KNOWN_INTEGERS = 2**23
KNOWN_FLOATS = 2**13
INTEGERS = (torch.int64, torch.int32, torch.bool)
# What is read where no number is known, by (is a floating point number, is a truth value).
MADE_UP: dict[tuple[bool, bool], float | bool] = {(True, False): 1.0, (False, False): 1, (False, True): False}
MOST_MADE_UP = 20_000
# Operators whose results hold whatever was in memory before.
UNINITIALISED = {f"aten::{name}" for name in ("empty", "empty_like", "empty_permuted", "empty_strided")} | {
    "aten::new_empty",
    "aten::new_empty_strided",
}


class FakeMode(FakeTensorMode):
    """A `FakeTensorMode` whose tensors can be deep-copied: each refers to its mode, which must not be copied."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FakeMode":
        return self


@contextmanager
def fake_tensors(mode: FakeMode) -> Iterator["KnownValues"]:
    """Inside, every new tensor is fake; small ones have values if these do not depend on weights or images."""
    with warnings.catch_warnings(), mode, KnownValues(mode) as known:
        # A deep copy asks a tensor for its address, and accepts that there is none.
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield known


class KnownValues(OperatorMode):
    """Computes the values of small fake tensors, as long as they depend only on known values.

    Args:
        mode: creates the fake tensors; it is active below this mode.

    Attributes:
        assumed: whether a shape depended on unknown values, so that the largest possible one was assumed.
        made_up: how many numbers that depend on unknown values, and that count, were made up (`making_up_numbers`).
    """

    def __init__(self, mode: FakeMode) -> None:
        super().__init__()
        self.mode = mode
        self.assumed = False
        self.made_up = 0
        self._makes_up: bool | None = None
        self._assumes_least = False
        self._values: Any = WeakIdKeyDictionary()
        # Storages that nothing was written into yet. Kept alive, so that no other storage gets the same identity.
        self._unwritten: dict[int, Tensor] = {}

    def for_real(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """A function of plain data whose result is computed for real, and returned as a fake tensor of known value."""

        def run(*args: Any, **kwargs: Any) -> Tensor:
            with no_dispatch():
                value = function(*args, **kwargs)
            fake: Tensor = self.mode.from_tensor(value)
            self._values[fake] = value
            return fake

        return run

    @contextmanager
    def making_up_numbers(self, counted: bool) -> Iterator[None]:
        """Inside, code may read numbers that depend on weights and images, and gets 1, or false for a truth value.

        That is for what is computed once from all shots, such as a step size or whether to stop. In a training step it
        would be too slow for a run, so there it is refused.

        Args:
            counted: whether memory may depend on such a number, which counts as `made_up`.
        """
        before, self._makes_up = self._makes_up, counted
        try:
            yield
        finally:
            self._makes_up = before

    @contextmanager
    def assuming_least(self) -> Iterator[None]:
        """Inside, the case that takes the least memory is assumed where images decide."""
        before, self._assumes_least = self._assumes_least, True
        try:
            yield
        finally:
            self._assumes_least = before

    def value(self, tensor: Tensor) -> Tensor | None:
        """The real value of a tensor; None if it is unknown."""
        known: Tensor | None = self._values.get(tensor) if isinstance(tensor, FakeTensor) else tensor
        # Assigning to `data`, as converting weights does, gives a tensor another value without any operator.
        replaced = known is not None and (known.dtype, known.shape) != (tensor.dtype, tensor.shape)
        return None if replaced else known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is READ_DEVICE:
            return func(*args, **kwargs)
        values = [self.value(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        is_known = all(value is not None for value in values) and not self._reads_unwritten(func, args, kwargs)
        try:
            result = func(*args, **kwargs)
        except (DynamicOutputShapeException, DataDependentOutputException):
            return self._decide(func, args, kwargs, is_known)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if is_known and outputs and all(map(may_be_known, outputs)):
            self._remember(result, self._compute(func, args, kwargs))
            self._note_written(func, outputs)
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
        """The result of an operator whose result, or its shape, depends on values."""
        if is_known:
            result = self._compute(func, args, kwargs)
        elif func is READ_NUMBER and self._makes_up is not None:
            self.made_up += self._makes_up
            if self.made_up > MOST_MADE_UP:
                raise UserError(
                    f"this method reads more than {MOST_MADE_UP:,} numbers that depend on its shots, so it cannot be "
                    "estimated: measure it, with a run"
                )
            return MADE_UP[args[0].dtype.is_floating_point, args[0].dtype == torch.bool]
        elif func is READ_NUMBER:
            raise UserError(
                "this method's step reads a number that depends on weights and images (such as .item() of a loss), so "
                "it cannot be estimated: measure it, with `skipbench speed` or a run"
            )
        else:
            # Where the places are known, the shape is, too.
            places = args[1:] if func is torch.ops.aten.index.Tensor else args
            unknown = [leaf for leaf in tree_leaves(places) if isinstance(leaf, Tensor) and self.value(leaf) is None]
            self.assumed = self.assumed or bool(unknown)
            result = self._compute(func, *tree_map_only(Tensor, self._value_or_assumed, (args, kwargs)))
        fakes = tree_map_only(Tensor, self.mode.from_tensor, result)
        if is_known:
            self._remember(fakes, result)
        return fakes

    def _value_or_assumed(self, tensor: Tensor) -> Tensor:
        """The value of a tensor; if it is unknown, one that leads to the largest shapes: all true, all different.

        Where the least is assumed, one that leads to the smallest, but never to nothing, which no method expects.
        """
        value = self.value(tensor)
        if value is not None:
            return value
        with no_dispatch():
            if self._assumes_least:
                least = torch.zeros(tensor.shape, dtype=tensor.dtype)
                least.view(-1)[:1] = tensor.dtype == torch.bool
                return least
            if tensor.dtype == torch.bool:
                return torch.ones(tensor.shape, dtype=torch.bool)
            return torch.arange(1, tensor.numel() + 1).view(tensor.shape).to(tensor.dtype)

    def _assume_selection(self, result: Tensor, table: Tensor, places: Any) -> None:
        """If an unknown selection is taken from a list of known numbers, assume that it takes the largest ones.

        The numbers are end-of-text positions, and the longest prompts take the most memory, the shortest the least.

        Args:
            result: of the selection.
            table: from which it selects.
            places: the selected ones.
        """
        value = self.value(table)
        if value is None or value.dim() != 1 or value.dtype != torch.int64 or not isinstance(result, FakeTensor):
            return
        self.assumed = True
        with no_dispatch():
            ordered = value.sort(descending=not self._assumes_least).values
            self._values[result] = ordered[torch.arange(result.numel()).clamp(max=len(ordered) - 1)].view(result.shape)

    def _with_statistics_of_weights(self, result: Any, x: Tensor, shape: Any, weight: Tensor | None, *_: Any) -> Any:
        """Correct the result of a fake LayerNorm.

        A real one keeps mean and deviation in the type of its weights, torch's fake one in that of its input.
        """
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

    def _reads_unwritten(self, func: Any, args: Any, kwargs: Any) -> bool:
        """Whether an operator reads memory that nothing was written into: not if it needs only its shape."""
        name = operator_name(func)
        if not self._unwritten or func.is_view or name.startswith("aten::new_") or name.endswith("_like"):
            return False
        written = {id(leaf) for leaf in written_tensors(func, args, kwargs)}
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, FakeTensor)]
        values = [self.value(leaf) for leaf in leaves if id(leaf) not in written]
        return any(value is not None and storage_id(value) in self._unwritten for value in values)

    def _note_written(self, func: Any, outputs: list[Tensor]) -> None:
        """Note what an operator wrote. Who writes a part of a tensor is trusted to write the rest before reading it."""
        if func.is_view:
            return
        for output in outputs:
            value = self.value(output)
            if value is None:
                continue
            if operator_name(func) in UNINITIALISED:
                self._unwritten[storage_id(value)] = value
            else:
                self._unwritten.pop(storage_id(value), None)

    def _forget_written(self, func: Any, args: Any, kwargs: Any) -> None:
        """Forget the values of tensors into which an operator writes unknown values, and of all that share memory."""
        values = [self.value(leaf) for leaf in written_tensors(func, args, kwargs) if isinstance(leaf, FakeTensor)]
        lost = {storage_id(value) for value in values if value is not None}
        if lost:
            for tensor in [tensor for tensor, value in self._values.items() if storage_id(value) in lost]:
                del self._values[tensor]


def may_be_known(tensor: Tensor) -> bool:
    """Whether a tensor is small enough, and of a suitable type, to compute its values."""
    if tensor.is_floating_point():
        return tensor.numel() <= KNOWN_FLOATS
    return tensor.dtype in INTEGERS and tensor.numel() <= KNOWN_INTEGERS
