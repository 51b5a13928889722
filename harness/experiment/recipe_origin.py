"""Where the settings of a recipe come from: one setting for everything, settings of single data sets, or a choice.

Nothing here is believed that a recipe file claims without settings to show for it: sections of single data sets and
protocols are read, and what a run has is compared with what its recipe gives.
"""

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from harness.data.datasets import find_dataset
from harness.experiment import recipes
from harness.experiment.layers import merged
from harness.experiment.protocols import BASE_TO_NEW, FEW_SHOT, PROTOCOLS, find_protocol
from harness.experiment.recipes import CHOSEN, for_method, recipe_layers
from harness.experiment.registry import method_class
from harness.experiment.settings import Section, Settings, flat_settings, merge, validate
from harness.experiment.spec import DataSpec, RunSpec
from harness.experiment.training_spec import SelectSpec, TrainSpec

MOST_KEPT = 1024
BOTH_PROTOCOLS = (BASE_TO_NEW, FEW_SHOT)
"""A recipe without a choice has one setting for these two, and for the protocol of the run."""
EXCEPTED = frozenset(("data.templates", "data.teacher_templates"))
"""What sections of single data sets may change: the words around class names, which are part of a data set."""
EPOCHS = "train.epochs"
"""What sections of single numbers of shots may change: more pictures make longer epochs."""
OF_DATA = ("templates", "teacher_templates", "crop_scale", "flip")
"""Settings of `data` that a recipe may choose; the others say what the task is."""
NO_CHOICE = frozenset(("train.precision", "train.cache", "train.cache_batch_size", "train.validate_every"))
"""Settings of the training that say how it is computed."""


class ChosenSpec(Section):
    """What a variant of a recipe file says of the choice that it comes from, under `chosen`."""

    protocol: str = Field(description="of the trials")
    dataset: str = Field(description="training data set of the trials")
    shots: int = Field(ge=1, description="training pictures a class of the trials")
    trials: int | None = Field(None, ge=1, description="how many settings were tried; null: not counted")
    where: str = Field(description="file or command that shows the choice")


def chosen_of(method: str, variant: str) -> ChosenSpec | None:
    """What a recipe says of the choice that it comes from; None if it says nothing.

    Raises:
        UserError: something in it that is wrong.
    """
    about = sections_of(method, variant).get(CHOSEN)
    return None if about is None else validate(ChosenSpec, about, f"recipe {method}/{variant}: {CHOSEN}.")


def sections_of(method: str, variant: str) -> Settings:
    """The sections of a variant in the recipe file of a method; empty if there is none."""
    path = recipes.RECIPES / f"{method}.yaml"
    return dict(recipes.read_recipe_file(path).get(variant) or {}) if path.is_file() else {}


def comparable(method: str, settings: Mapping[str, Any]) -> Settings:
    """All settings that a recipe may choose, with defaults where it gives none, by dotted keys.

    Args:
        method: of the run.
        settings: nested; the options of the method stand under its name.

    Raises:
        UserError: the method is unknown, or it does not take the settings.
    """
    data = {key: value for key, value in (settings.get("data") or {}).items() if key in OF_DATA}
    found = whole_settings(method, {**settings, "data": data})
    chosen = {f"data.{key}" for key in OF_DATA}
    return {
        key: value
        for key, value in found.items()
        if key not in NO_CHOICE and (key in chosen or not key.startswith("data."))
    }


def whole_settings(method: str, settings: Mapping[str, Any]) -> Settings:
    """All settings of method, training, choice and data, with defaults where none is given, by dotted keys.

    Arguments and errors are those of `comparable`.
    """
    cls = method_class(method)
    train = {**(settings.get("train") or {}), **({} if cls.trains else {"epochs": 0})}
    found = {
        method: _whole_section(cls.Config, json.dumps(settings.get(method) or {}), f"{method}."),
        "train": _whole_section(TrainSpec, json.dumps(train), "train."),
        "select": _whole_section(SelectSpec, json.dumps(settings.get("select") or {}), "select."),
        "data": _whole_section(DataSpec, json.dumps(settings.get("data") or {}), "data."),
    }
    return flat_settings(found)


@lru_cache(MOST_KEPT)
def _whole_section(model: type[BaseModel], settings: str, where: str) -> Settings:
    """A section, given as JSON, with the defaults of its model; thousands of runs have the same few sections."""
    return dict(validate(model, json.loads(settings), where).model_dump(mode="json"))


def differing_keys(one: Settings, other: Settings) -> list[str]:
    """Dotted keys at which two results of `comparable` differ."""
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


def recipe_gives(spec: RunSpec) -> Settings:
    """What the recipe of a run gives, as `comparable` settings; with what a sweep set on top, if the run says so.

    Raises:
        UserError: the recipe, the method or the data set is unknown.
    """
    return comparable(spec.method, settings_of_recipe(spec))


def settings_of_recipe(spec: RunSpec) -> Settings:
    """The same, nested, without defaults."""
    tuned = spec.tuned
    protocol, dataset, shots, variant = spec.protocol, spec.data.dataset, spec.data.shots, spec.recipe
    if tuned and tuned.recipe and tuned.protocol and tuned.dataset and tuned.shots:
        protocol = find_protocol(tuned.protocol).validates or tuned.protocol
        dataset, shots, variant = tuned.dataset, tuned.shots, tuned.recipe
    own = find_dataset(spec.data.dataset).settings
    layers = recipe_layers(spec.method, variant, protocol, dataset, shots)
    return merge(own, merged(layers), for_method((tuned and tuned.settings) or {}, spec.method))


def given_by_hand(spec: RunSpec) -> list[str]:
    """Dotted keys of settings that differ from what the recipe of a run, and the sweep that it names, give.

    Raises:
        UserError: the recipe, the method or the data set is unknown.
    """
    return differing_keys(comparable(spec.method, spec.settings()), recipe_gives(spec))


Kind = Literal["data set", "protocol"]


def changes_of_sections(method: str, variant: str, protocol: str) -> tuple[tuple[Kind, str], ...]:
    """The sections of a recipe that change more than is excepted.

    Args:
        method: of the run.
        variant: of its recipe file.
        protocol: of the run: sections of other protocols than this and `BOTH_PROTOCOLS` do not matter.

    Returns:
        For each, whether it is of a data set or a protocol, and in words what it changes: `imagenet: train.epochs`.

    Raises:
        UserError: the recipe is not valid.
    """
    validated = PROTOCOLS[protocol].validates if protocol in PROTOCOLS else None
    matter = frozenset(filter(None, (*BOTH_PROTOCOLS, protocol, validated)))
    return _changes(recipes.RECIPES / f"{method}.yaml", method, variant, matter)


@cache
def _changes(path: Path, method: str, variant: str, matter: frozenset[str]) -> tuple[tuple[Kind, str], ...]:
    """As `changes_of_sections`; `path` of the recipe file, `matter` the protocols whose sections count."""
    assert path.name.startswith(method)
    sections = sections_of(method, variant)
    whole = sections.get("all") or {}
    found: list[tuple[Kind, str]] = []
    for name, changes in sections.items():
        first, _, second = str(name).partition("/")
        is_protocol = first in PROTOCOLS
        if name in ("all", CHOSEN) or not changes or (is_protocol and first not in matter):
            continue
        of_shots = second.endswith("shot") and second.removesuffix("shot").isdigit()
        dataset = first if not is_protocol else "" if of_shots else second
        # What the section of the protocol itself changes is told there.
        before = merge(whole, (sections.get(first) or {}) if is_protocol and second else {})
        keys = set(differing_keys(comparable(method, before), comparable(method, merge(before, changes))))
        keys -= {EPOCHS} if of_shots else _restored(dataset, changes) | EXCEPTED if dataset else set()
        if keys:
            found.append(("data set" if dataset else "protocol", f"{name}: {', '.join(sorted(keys))}"))
    return tuple(found)


def _restored(dataset: str, changes: Settings) -> set[str]:
    """Keys at which a section of a data set only gives back what this data set has under every recipe."""
    flat = flat_settings(changes)
    return {key for key, value in flat_settings(find_dataset(dataset).settings).items() if flat.get(key) == value}
