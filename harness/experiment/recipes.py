"""Recipes: the settings that a method comes with, for a backbone, protocol, data set and number of shots."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from harness.errors import UserError, letters_of, nearest
from harness.experiment.layers import Layer, merged
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.registry import method_names
from harness.experiment.settings import Settings, by_sections, flat_settings, read_yaml
from harness.experiment.spec import SPEC_KEYS, check_shape

EXPERIMENTS = Path(str(files("experiments")))


RECIPES = EXPERIMENTS / "recipes"


OFFICIAL = "official"
AS_PUBLISHED = "as_published"
"""A recipe that follows the authors where a clean protocol does not: tables and figures mark whatever it gives."""
CHOSEN = "chosen"
"""A section that gives no settings: it says which choice those of its variant come from (`recipe_origin.py`)."""


# Axes of the grid: setting one for every run would undo the grid.
GRID = {
    "method": "METHOD",
    "seed": "SEEDS",
    "protocol": "PROTOCOL",
    "backbone": "BACKBONE",
    "recipe": "RECIPE",
    "data.dataset": "DATASET",
    "data.shots": "SHOTS",
}


@cache
def read_recipe_file(path: Path) -> Settings:
    """A recipe file, read once."""
    return read_yaml(path)


def recipe_variants(method: str) -> list[str]:
    """Names of the recipes that a method comes with."""
    path = RECIPES / f"{method}.yaml"
    return list(read_recipe_file(path)) if path.is_file() else []


def recipe_settings(method: str, variant: str, protocol: str, dataset: str, shots: int) -> Settings:
    """The settings of `recipe_layers`; arguments and errors are the same."""
    return merged(recipe_layers(method, variant, protocol, dataset, shots))


def recipe_layers(method: str, variant: str, protocol: str, dataset: str, shots: int) -> list[Layer]:
    """What a recipe gives: its `all` section, then those of protocol, protocol and shots, data set, and of protocol and
    data set.

    A protocol that validates another, on which settings for that one are chosen, has its sections too, each before its
    own: `few_shot` before `few_shot_validation`.

    Args:
        method: name of the method.
        variant: name of a variant in `experiments/recipes/<method>.yaml`, or the path of a YAML file of settings.
        protocol: name of the protocol.
        dataset: name of the training data set.
        shots: pictures a class.

    Raises:
        UserError: no such variant or file.
    """
    if variant.endswith((".yaml", ".yml")):
        settings = by_sections(read_recipe_file(Path(variant)))
        check_sections(settings, method_names())
        return [Layer(f"recipe {variant}", for_method(settings, method))]
    variants = recipe_variants(method)
    if variant not in variants:
        # A method without a recipe of its own runs with the defaults of its Config and of TrainSpec.
        if variant == OFFICIAL and not variants:
            return []
        raise UserError(f"method '{method}' has no recipe '{variant}'.{nearest(variant, variants)}")
    sections = read_recipe_file(RECIPES / f"{method}.yaml")[variant]
    names = protocol_names(protocol)
    keys = (
        "all",
        *names,
        *(f"{name}/{shots}shot" for name in names),
        dataset,
        *(f"{name}/{dataset}" for name in names),
    )
    name = f"recipe {method}/{variant}"
    return [Layer(name if key == "all" else f"{name}, {key}", sections[key]) for key in keys if sections.get(key)]


def protocol_names(protocol: str) -> list[str]:
    """The names under which a recipe may have sections for a protocol: of the one that it validates, and its own."""
    known = PROTOCOLS.get(protocol)
    return [known.validates, protocol] if known and known.validates else [protocol]


def choose_variant(asked: str | None, backbone: str, method: str) -> str:
    """The recipe variant of a method: the one asked for, else the backbone's own, else the official one."""
    if asked:
        return asked
    return backbone if backbone in recipe_variants(method) else OFFICIAL


def for_method(settings: Settings, method: str) -> Settings:
    """Settings without the sections of other methods."""
    return {key: value for key, value in settings.items() if key in SPEC_KEYS or key == method}


def check_sections(overrides: Settings, methods: Sequence[str]) -> None:
    """Raise a UserError for a setting that is an axis of the grid, or neither a spec's nor one of the methods'."""
    check_shape(overrides, *methods)
    for key in (*overrides, *(f"data.{key}" for key in overrides.get("data", {}))):
        if key in GRID:
            raise UserError(f"'{key}' is an axis of the experiment: set it with {GRID[key]}=...")
    for key in overrides:
        if key in SPEC_KEYS or key in methods:
            continue
        if key in method_names():
            raise UserError(f"settings for method '{key}' are given, but it is not run: add it to the methods")
        from harness.experiment.known_keys import setting_hint

        axis = next((axis for axis in GRID if letters_of(axis.rpartition(".")[2]) == letters_of(key)), None)
        if axis:
            raise UserError(f"unknown key '{key}': set it with {GRID[axis]}=... or --{GRID[axis].lower()}")
        whole = next(iter(flat_settings({key: overrides[key]})), key)
        raise UserError(f"unknown key '{key}'.{setting_hint(whole, methods, [*SPEC_KEYS, *methods])}")
