"""The optimizer of a training: built from the recipe, its learning rates, and its state by the names of parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.experiment.training_spec import TrainSpec
from harness.training.parameter_groups import FULL_RATE, OWN, groups_of
from harness.training.state import trained_parameters
from methods.base import Method

STATE_NAMES = {
    "momentum_buffer": "momentum",
    "exp_avg": "first_moment",
    "exp_avg_sq": "second_moment",
    "max_exp_avg_sq": "largest_second_moment",
    "step": "step",
}
"""torch's name of what an optimizer keeps for each parameter -> its prefix in a saved state."""
# L-BFGS keeps as many pairs of steps and changes of gradients as in scipy, and beside them a few vectors: the
# direction, the gradient before, and those of the line search.
LBFGS_HISTORY, LBFGS_VECTORS = 10, 6


def build_optimizer(method: Method, recipe: TrainSpec, precision: str = "fp32") -> torch.optim.Optimizer:
    """An optimizer of the parameters that train, in the groups of `groups_of`.

    L-BFGS with a line search knows one learning rate and no weight decay; it keeps nothing from one epoch to the next.

    Args:
        method: all its parameters that train have the recipe's weight decay, as in the authors' code, unless a group of
            its own says otherwise.
        recipe: names the optimizer and its settings.
        precision: of the training.

    Raises:
        GroupsError: the groups of the method's own cannot be trained like that.
    """
    groups = groups_of(method, recipe)
    if recipe.optimizer == "lbfgs":
        together = [parameter for group in groups for parameter in group["params"]]
        return torch.optim.LBFGS(
            [{"params": together, "name": "other", FULL_RATE: recipe.lr}],
            lr=recipe.lr,
            max_iter=recipe.lbfgs_iterations,
            history_size=LBFGS_HISTORY,
            line_search_fn="strong_wolfe",
        )
    # Fused steps are faster and need no scratch memory. But with half-precision weights the reference code rounds after
    # every term; and if a loss scale skips the first step, torch's fused SGD continues from a momentum that is not set.
    fused = precision in ("fp32", "tf32", "bf16")
    decay = recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=decay, fused=fused)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, betas=recipe.betas, eps=recipe.eps, weight_decay=decay, fused=fused)


@contextmanager
def lbfgs_memory(optimizer: torch.optim.LBFGS) -> Iterator[None]:
    """Inside, as much memory is taken as L-BFGS needs beside weights and gradients."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = sum(parameter.numel() for parameter in parameters)
    held = torch.empty((2 * LBFGS_HISTORY + LBFGS_VECTORS, numbers), device=parameters[0].device)
    yield
    del held


def set_rates(
    optimizer: torch.optim.Optimizer,
    recipe: TrainSpec,
    epoch: int,
    step: int = 0,
    steps: int = 1,
    epochs: float | None = None,
) -> None:
    """Set the learning rate of every group to that of a step; arguments as in `TrainSpec.lr_at`.

    A group of the method's own whose rate is 0 is frozen, in the warm-up too.
    """
    for group in optimizer.param_groups:
        full = group[FULL_RATE]
        frozen = full == 0 and group["name"].startswith(OWN)
        group["lr"] = 0.0 if frozen else recipe.lr_at(epoch, full, step, steps, epochs)


def prefixes_of(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> list[str]:
    """Prefixes of what an optimizer keeps for each parameter of a group after its first step."""
    if isinstance(optimizer, torch.optim.LBFGS):
        return []
    if isinstance(optimizer, torch.optim.SGD):
        return ["momentum"] if group["momentum"] else []
    return ["first_moment", "second_moment", "step", *(["largest_second_moment"] if group["amsgrad"] else [])]


def expected_state(method: Method, recipe: TrainSpec) -> dict[str, Tensor]:
    """Name -> parameter, of all that `optimizer_state` gives once a step has reached every parameter."""
    optimizer = build_optimizer(method, recipe)
    names = {id(parameter): name for name, parameter in trained_parameters(method).items()}
    return {
        f"{prefix}.{names[id(parameter)]}": parameter
        for group in optimizer.param_groups
        for prefix in prefixes_of(optimizer, group)
        for parameter in group["params"]
    }


def optimizer_state(optimizer: torch.optim.Optimizer, method: Method) -> dict[str, Tensor]:
    """What an optimizer keeps, such as `momentum.<parameter>`; empty before the first step, and for L-BFGS."""
    if isinstance(optimizer, torch.optim.LBFGS):
        return {}
    names = {id(parameter): name for name, parameter in trained_parameters(method).items()}
    return {
        f"{STATE_NAMES[key]}.{names[id(parameter)]}": value
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
        if value is not None
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, method: Method, state: dict[str, Tensor]) -> None:
    """Continue with what `optimizer_state` returned; other entries are left alone."""
    for name, parameter in trained_parameters(method).items():
        for key, prefix in STATE_NAMES.items():
            saved = state.get(f"{prefix}.{name}")
            if saved is not None:
                optimizer.state[parameter][key] = saved.to(parameter.device)


def is_optimizer_state(name: str) -> bool:
    """Whether an entry of a saved state belongs to an optimizer."""
    return name.startswith(tuple(f"{prefix}." for prefix in STATE_NAMES.values()))
