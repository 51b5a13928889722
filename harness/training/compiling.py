"""The loss of a method and its gradients, compiled by torch as one graph.

none       operator by operator
default    compiled: small operators are fused, and what is cheap is computed again in the backward pass
graphs     and on a GPU replayed as CUDA graphs, so that the host launches a step and not its kernels

Compiled code adds up in another order, so that results are equal up to rounding; `train.compile` is part of a run's id.
"""

from typing import Any

import torch
from torch import Tensor

from harness.errors import UserError, first_line
from harness.machine.torch_internals import compile_errors
from harness.training.step import LossFunction, loss_of
from methods.base import Method

MODES = {"default": "default", "graphs": "reduce-overhead"}
"""`train.compile` -> torch's name."""
WARM_UP_STEPS = 3
"""After so many steps of one shape graphs are recorded, and nothing is compiled any more."""


def loss_function(kind: str) -> LossFunction:
    """What computes the loss.

    Args:
        kind: `train.compile`.

    Returns:
        A function as `loss_of`. It raises a UserError if the loss cannot be compiled.
    """
    if kind == "none":
        return loss_of
    compiled: Any = torch.compile(loss_of, fullgraph=True, dynamic=False, mode=MODES[kind])

    def compute(method: Method, x: Tensor, labels: Tensor, frozen: Tensor | None) -> Tensor:
        if kind == "graphs":
            # What the step before left in the memory of the graphs is not needed any more.
            torch.compiler.cudagraph_mark_step_begin()
        try:
            loss: Tensor = compiled(method, x, labels, frozen)
        except compile_errors() as error:
            name = type(method).__name__
            raise UserError(
                f"train.compile={kind}: torch cannot compile the loss of {name} ({first_line(error)}): "
                "use train.compile=none"
            ) from None
        return loss

    return compute
