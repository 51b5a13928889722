"""Groups of parameters that train alike: the image tower's own weights, groups of the method's own, all others."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UserError, nearest
from harness.experiment.training_spec import TrainSpec
from harness.training.state import trained_parameters
from methods.base import Method

IMAGE_GROUP = "image"
"""The parameter group of the image tower's own weights."""
OWN = "own"
"""How the names of groups of a method's own begin."""
FULL_RATE = "full_rate"
"""Key of a group: its learning rate before the schedule."""
OF_HARNESS = frozenset(("foreach", "fused", "capturable", "differentiable"))
"""What torch's optimizers take and the harness decides: how they compute, not what."""
KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class GroupsError(UserError, ValueError):
    """What a method's `parameter_groups` returned cannot be trained."""


def groups_of(method: Method, recipe: TrainSpec) -> list[dict[str, Any]]:
    """All parameters that train, in the groups of torch's optimizers, each with a name and its full learning rate.

    Raises:
        GroupsError: the groups of the method's own have a mistake.
    """
    in_image_tower = {id(parameter) for parameter in method.clip.image.parameters()}
    rates = {IMAGE_GROUP: recipe.full_lr_image, "other": recipe.lr}

    def usual_group(parameter: Tensor) -> str:
        return IMAGE_GROUP if id(parameter) in in_image_tower else "other"

    own = own_groups(method, recipe)
    taken = {id(parameter) for group in own for parameter in group["params"]}
    members: dict[str, list[nn.Parameter]] = {IMAGE_GROUP: [], "other": []}
    for parameter in trained_parameters(method).values():
        if id(parameter) not in taken:
            members[usual_group(parameter)].append(parameter)
    for group in own:
        usual = {usual_group(parameter) for parameter in group["params"]}
        group.setdefault("lr", rates[IMAGE_GROUP] if usual == {IMAGE_GROUP} else recipe.lr)
    usual_groups = [{"params": params, "lr": rates[name], "name": name} for name, params in members.items() if params]
    return [{**group, FULL_RATE: group["lr"]} for group in [*usual_groups, *own]]


def own_groups(method: Method, recipe: TrainSpec) -> list[dict[str, Any]]:
    """The groups of a method's own, named and checked.

    Raises:
        GroupsError: they have a mistake.
    """
    where = f"{type(method).__name__}.parameter_groups"
    names = {id(parameter): name for name, parameter in trained_parameters(method).items()}
    found: list[dict[str, Any]] = []
    seen: set[int] = set()
    for number, given in enumerate(method.parameter_groups()):
        if not isinstance(given, Mapping) or "params" not in given:
            raise GroupsError(f"{where}: group {number} has no 'params': return a list such as [{{'params': [...]}}]")
        params = given["params"]
        group = {**given, "params": [params] if isinstance(params, Tensor) else list(params), "name": f"{OWN}{number}"}
        check_settings(where, group.keys() - {"params", "name"}, recipe)
        for parameter in group["params"]:
            name = names.get(id(parameter))
            if name is None:
                raise GroupsError(f"{where}: group {number} has a tensor that does not train: {described(parameter)}")
            if id(parameter) in seen:
                raise GroupsError(f"{where}: '{name}' is in two groups")
            seen.add(id(parameter))
        if "lr" in group:
            group["lr"] = checked_rate(where, number, group["lr"])
        if group["params"]:
            found.append(group)
    return found


def check_settings(where: str, keys: set[str], recipe: TrainSpec) -> None:
    """Raise a GroupsError if a group has a setting that the optimizer of the recipe does not take."""
    if not keys:
        return
    if recipe.optimizer == "lbfgs":
        raise GroupsError(f"{where}: train.optimizer=lbfgs trains all parameters alike: use sgd, adam or adamw")
    defaults = KINDS[recipe.optimizer]([torch.zeros(1)]).defaults
    known = defaults.keys() - OF_HARNESS
    if unknown := sorted(keys - known):
        raise GroupsError(
            f"{where}: '{unknown[0]}' is no setting of train.optimizer={recipe.optimizer}.{nearest(unknown[0], known)}"
        )


def checked_rate(where: str, number: int, rate: Any) -> float:
    """A learning rate as a number."""
    try:
        value = float(rate)
    except (TypeError, ValueError, RuntimeError):
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise GroupsError(f"{where}: group {number} has lr={rate!r}: give a number of at least 0")
    return value


def described(value: Any) -> str:
    """A tensor by its shape."""
    shape = f"shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
    hint = "" if isinstance(value, nn.Parameter) and not value.requires_grad else ", and it is no parameter of it"
    return shape + (hint or ", its requires_grad is False")
