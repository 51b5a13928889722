"""The optimizer of a training: built from the recipe, its learning rates, and its state by the names of parameters."""

import torch
from torch import Tensor, nn

from harness.experiment.training_spec import TrainSpec
from harness.training.state import trained_parameters
from methods.base import Method

IMAGE_GROUP = "image"
"""The parameter group of the image tower's own weights."""
STATE_NAMES = {"momentum_buffer": "momentum", "exp_avg": "first_moment", "exp_avg_sq": "second_moment", "step": "step"}
"""torch's name of what an optimizer keeps for each parameter -> its prefix in a saved state."""


def build_optimizer(method: Method, recipe: TrainSpec, precision: str = "fp32") -> torch.optim.Optimizer:
    """An optimizer of the parameters that train, with the image tower's own weights in a group of their own.

    Args:
        method: all its parameters that train have weight decay, as in the authors' code.
        recipe: names the optimizer and its settings.
        precision: of the training.
    """
    in_image_tower = {id(parameter) for parameter in method.clip.image.parameters()}
    members: dict[str, list[nn.Parameter]] = {IMAGE_GROUP: [], "other": []}
    for parameter in trained_parameters(method).values():
        members[IMAGE_GROUP if id(parameter) in in_image_tower else "other"].append(parameter)
    rates = {IMAGE_GROUP: recipe.lr if recipe.lr_image is None else recipe.lr_image, "other": recipe.lr}
    groups = [{"params": params, "lr": rates[name], "name": name} for name, params in members.items() if params]
    # Fused steps are faster and need no scratch memory. But with half-precision weights the reference code rounds after
    # every term; and if a loss scale skips the first step, torch's fused SGD continues from a momentum that is not set.
    fused = precision in ("fp32", "bf16")
    decay = recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=decay, fused=fused)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, betas=recipe.betas, eps=recipe.eps, weight_decay=decay, fused=fused)


def state_names(recipe: TrainSpec) -> set[str]:
    """Prefixes of what the optimizer of a recipe keeps for each parameter after its first step."""
    if recipe.optimizer == "sgd":
        return {"momentum"} if recipe.momentum else set()
    return {"first_moment", "second_moment", "step"}


def set_rates(optimizer: torch.optim.Optimizer, lr: float, lr_image: float) -> None:
    """Set the learning rates of the two groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr_image if group["name"] == IMAGE_GROUP else lr


def optimizer_state(optimizer: torch.optim.Optimizer, method: Method) -> dict[str, Tensor]:
    """What an optimizer keeps, such as `momentum.<parameter>`; empty before the first step."""
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
