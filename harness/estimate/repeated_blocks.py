"""Blocks without gradients whose costs are known, because one of the same shapes was computed before.

A frozen tower has many blocks of the same shapes, and ensembles of prompts go through them many times. With fake
tensors each would take as long as the first, and tell nothing new.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.clip.blocks import NOTHING, Beside, run_packed
from harness.clip.packing import Packing
from harness.estimate.fake_tensors import FakeMode, KnownValues
from harness.machine.meter import LiveBytes
from harness.machine.torch_internals import FakeTensor, active_modes


class RepeatedBlocks:
    """Stands in for `run_packed` and computes each shape once: afterwards it adds the same peak to what is alive.

    Only what keeps nothing is left out: blocks without gradients whose whole output is needed, as long as nobody but a
    meter of live bytes watches the operators.
    """

    def __init__(self) -> None:
        self._costs: dict[Any, tuple[int, torch.dtype]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "RepeatedBlocks":
        return self

    def __call__(
        self,
        block: nn.Module,
        x: Tensor,
        packing: Packing,
        mask: Tensor | None,
        recompute: bool = False,
        read: Tensor | None = None,
        beside: Beside = NOTHING,
    ) -> Tensor:
        """As `run_packed`."""

        def compute() -> Tensor:
            return run_packed(block, x, packing, mask, recompute, read, beside)

        watches = [mode for mode in active_modes() if not isinstance(mode, FakeMode | KnownValues)]
        if not (keeps_nothing(block, x) and read is None and beside is NOTHING and len(watches) <= 1):
            return compute()
        inputs = [x, *block.parameters(), *(given for given in (mask, packing.own) if given is not None)]
        watch = watches[0] if watches else None
        # What a meter does not know yet, it would count when it meets it in the block.
        if watch and not (isinstance(watch, LiveBytes) and watch.knows(inputs)):
            return compute()
        key = shapes(block, x, packing, mask)
        if key in self._costs:
            more, dtype = self._costs[key]
            if watch:
                watch.add_peak(more)
            return torch.empty(x.shape, dtype=dtype, device=x.device)
        if watch:
            return self._learn(key, watch, compute)
        with LiveBytes(inputs) as own:
            return self._learn(key, own, compute)

    def _learn(self, key: Any, watch: LiveBytes, compute: Callable[[], Tensor]) -> Tensor:
        before = watch.live
        output, more = watch.peak_within(compute)
        # Something else that stays alive would be missing the next time.
        if watch.live - before == output.nbytes:
            self._costs[key] = more, output.dtype
        return output


def keeps_nothing(block: nn.Module, x: Tensor) -> bool:
    """Whether only the output of a block stays; autocast keeps copies of weights that train."""
    if torch.is_grad_enabled() or not isinstance(x, FakeTensor):
        return False
    return not torch.is_autocast_enabled(x.device.type) or not any(p.requires_grad for p in block.parameters())


def shapes(block: nn.Module, x: Tensor, packing: Packing, mask: Tensor | None) -> Any:
    """All on which the costs of a block depend."""
    device = x.device.type
    return (
        tuple((name, p.shape, p.dtype) for name, p in block.named_parameters()),
        tuple((type(module), getattr(module, "num_heads", None)) for module in block.modules()),
        (x.shape, x.stride(), x.dtype),
        (packing.rows, packing.length, packing.shared, packing.groups, packing.own is None),
        None if mask is None else (mask.shape, mask.dtype),
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
    )
