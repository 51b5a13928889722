"""`skipbench list` and `keys`: the names of methods, data sets, backbones, protocols, recipes and settings."""

from dataclasses import replace
from typing import Any

import click

from harness.cli.console import console
from harness.cli.dry_run import schedule_settings
from harness.cli.grid import METHODS_AND_SETTINGS, GridOptions, Words, read_grid, takes_grid
from harness.clip.backbones import bundled, model_config, model_names, parse_backbone
from harness.errors import UserError, nearest
from harness.experiment.axes import text_of

# The word that lists all models of open_clip; no method has this name.
BACKBONES = "backbones"


@click.command(name="list")
@click.argument("method", required=False)
def list_names(method: str | None) -> None:
    """List methods, data sets, backbones, protocols, recipes and ensembles of prompt templates, one per line.

    With METHOD: its card, that is paper, official code, and on which images that code chooses what. With the word
    'backbones': every model name of open_clip, and whether it works here or why it is refused.

    \b
      skipbench list skip
      skipbench list backbones
    """
    if method == BACKBONES:
        for line in model_lines():
            console.print(line, markup=False, soft_wrap=True)
        return
    if method is not None:
        for line in card_lines(method):
            console.print(line, markup=False, soft_wrap=True)
        return
    from harness.data.catalog import DATASETS
    from harness.data.templates import ENSEMBLES
    from harness.experiment.protocols import PROTOCOLS
    from harness.experiment.recipes import recipe_variants
    from harness.experiment.registry import method_about, method_names

    for name in method_names():
        console.print(f"method    {name:22s} {method_about(name)}".rstrip(), markup=False, soft_wrap=True)
    for dataset in DATASETS.values():
        console.print(f"data set  {dataset.name:22s} {dataset.about}", markup=False, soft_wrap=True)
    own = "your own: a folder of class folders, or of train/ and test/ with class folders in each"
    console.print(f"data set  {'folder:PATH':22s} {own}", markup=False, soft_wrap=True)
    for name, about in backbone_names().items():
        console.print(f"backbone  {name:22s} {about}", markup=False, soft_wrap=True)
    for protocol in PROTOCOLS.values():
        console.print(f"protocol  {protocol.name:22s} {protocol.about}", markup=False, soft_wrap=True)
    for name in filter(recipe_variants, method_names()):
        console.print(f"recipe    {name:22s} {', '.join(recipe_variants(name))}", markup=False, soft_wrap=True)
    for name, about in ENSEMBLES.items():
        console.print(f"templates {name:22s} {about}", markup=False, soft_wrap=True)


def card_lines(method: str) -> list[str]:
    """Everything that is known about a method, one fact a line.

    Raises:
        UserError: no such method, or its file or card cannot be read.
    """
    from harness.experiment.cards import card_of, card_path
    from harness.experiment.known_keys import known_settings
    from harness.experiment.recipes import recipe_variants
    from harness.report.card_notes import NO_CARD, card_facts

    card = card_of(method)
    facts = card_facts(card) if card else {"card": f"{NO_CARD}: write {card_path(method).name} beside its file"}
    facts["recipes"] = ", ".join(recipe_variants(method)) or "none"
    options = [key for key in known_settings([method]) if key.startswith(f"{method}.")]
    facts["options"] = f"{', '.join(options)}; `skipbench keys {method}` explains them" if options else "none"
    title = f"{card.title} ({method})" if card else method
    return [title, *(f"  {name}: {text}" for name, text in facts.items())]


def model_lines() -> list[str]:
    """Every model name of open_clip and whether it works, one a line, and how many do."""
    reasons = {name: model_config(name).unsupported for name in model_names()}
    width = max(map(len, reasons))
    lines = [f"{name:{width}s}  {f'refused: {reason}' if reason else 'works'}" for name, reason in reasons.items()]
    works = sum(reason is None for reason in reasons.values())
    return [*lines, f"{works} of open_clip's {len(reasons)} names work, {len(reasons) - works} are refused"]


def backbone_names() -> dict[str, str]:
    """Backbones to list -> what they are."""
    return {
        **dict.fromkeys(bundled(), "embedded"),
        "ViT-B-16-quickgelu": "open_clip, OpenAI weights",
        "ViT-B-32-quickgelu": "open_clip, OpenAI weights",
        "ViT-L-14-quickgelu": "open_clip, OpenAI weights",
        "NAME:TAG": "any ViT CLIP of open_clip with a pretrained tag; `skipbench list backbones` names them",
        "NAME:/path/to/file": "any ViT CLIP of open_clip with a local checkpoint",
        "/path/to/folder": "a CLIP as open_clip or transformers saves it: configuration and weights",
        "hf-hub:ORGANISATION/NAME": "such a folder of the Hugging Face hub",
        "NAME:random": "random weights, for measuring costs",
    }


@click.command()
@METHODS_AND_SETTINGS
@takes_grid
@click.option("--for", "what", help="Names of methods, data sets, backbones and protocols, such as 'skip emoji'.")
def keys(words: Words, grid: GridOptions, what: str | None) -> None:
    """List the settings that KEY=VALUE can change, with their defaults.

    With METHODS: as `bench` with the same words and options would run them, and where each value comes from.

    \b
      skipbench keys skip --dataset emoji train.epochs=3
      skipbench keys --for "skip dtd ViT-B-16-quickgelu"
    """
    if what:
        words, grid = named_in(what, words, grid)
    if words.first is None and not words.settings and not grid.given():
        for key, default, words_about in declared_settings():
            console.print(f"{key}={default}".ljust(36), words_about, markup=False, soft_wrap=True)
        return
    from harness.experiment.known_keys import known_settings

    experiment, planned = read_grid(words, grid)
    first = {item.spec.method: item for item in reversed(planned)}
    for method in experiment.methods:
        about = known_settings([method])
        settings = [item for item in first[method].effective() if item.key in about]
        settings += schedule_settings(experiment.schedule, experiment.source_of)
        for item in settings:
            line = f"{item.key}={text_of(item.value)}".ljust(36)
            console.print(line, f"{about.get(item.key, '')} [{item.source}]", markup=False, soft_wrap=True)


def declared_settings() -> list[tuple[str, Any, str]]:
    """Key, default and description of the settings of all runs."""
    from harness.experiment.place import RuntimeSpec, TrackingSpec, WandbSpec
    from harness.experiment.spec import DataSpec, ScheduleSpec
    from harness.experiment.training_spec import SelectSpec, TrainSpec

    sections: dict[str, Any] = {
        "data": DataSpec,
        "train": TrainSpec,
        "select": SelectSpec,
        "wandb": WandbSpec,
        "tracking": TrackingSpec,
        "runtime": RuntimeSpec,
        "schedule": ScheduleSpec,
    }
    return [
        (f"{section}.{info.alias or name}", info.default, info.description or "")
        for section, model in sections.items()
        for name, info in model.model_fields.items()
    ]


def named_in(what: str, words: Words, grid: GridOptions) -> tuple[Words, GridOptions]:
    """Words and options with the names of a text in their places.

    Raises:
        UserError: a name that is none; names the nearest.
    """
    from harness.data.catalog import DATASETS
    from harness.data.own_names import is_own
    from harness.experiment.protocols import PROTOCOLS
    from harness.experiment.registry import method_names

    methods: list[str] = []
    found: dict[str, Any] = {}
    for name in what.replace(",", " ").split():
        if name in method_names():
            methods.append(name)
        elif name in DATASETS or is_own(name):
            found["dataset"] = name
        elif name in PROTOCOLS:
            found["protocol"] = name
        elif is_backbone(name):
            found["backbone"] = name
        else:
            hint = nearest(name, [*method_names(), *DATASETS, *PROTOCOLS, *bundled()])
            raise UserError(f"'{name}' is no method, data set, backbone or protocol.{hint}")
    return Words(",".join(methods) or words.first, words.settings), replace(grid, **found)


def is_backbone(name: str) -> bool:
    """Whether a word names a backbone."""
    try:
        parse_backbone(name)
    except UserError:
        return False
    return True
