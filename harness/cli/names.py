"""`skipbench list` and `keys`: the names of methods, data sets, backbones, protocols, recipes and settings."""

import sys
from typing import Any

import click

from harness.cli.console import console


@click.command(name="list")
def list_names() -> None:
    """List methods, data sets, backbones, protocols and recipes, one per line."""
    from harness.data.catalog import DATASETS
    from harness.experiment.protocols import PROTOCOLS
    from harness.experiment.recipes import recipe_variants
    from harness.experiment.registry import method_class, method_names

    for name in method_names():
        about = (sys.modules[method_class(name).__module__].__doc__ or "").strip().partition("\n")[0]
        console.print(f"method    {name:22s} {about}".rstrip(), markup=False, soft_wrap=True)
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


def backbone_names() -> dict[str, str]:
    """Backbones to list -> what they are."""
    from harness.clip.backbones import bundled

    return {
        **dict.fromkeys(bundled(), "embedded"),
        "ViT-B-16-quickgelu": "open_clip, OpenAI weights",
        "ViT-B-32-quickgelu": "open_clip, OpenAI weights",
        "ViT-L-14-quickgelu": "open_clip, OpenAI weights",
        "NAME:TAG": "any ViT CLIP of open_clip with a pretrained tag",
        "NAME:/path/to/file": "any ViT CLIP of open_clip with a local checkpoint",
        "NAME:random": "random weights, for measuring costs",
    }


@click.command()
@click.argument("method", required=False)
def keys(method: str | None) -> None:
    """List the settings that KEY=VALUE can change, with their defaults; with METHOD its options too."""
    from harness.experiment.registry import check_method
    from harness.experiment.spec import DataSpec, RuntimeSpec, ScheduleSpec, TrainSpec, WandbSpec

    sections: dict[str, Any] = {
        "data": DataSpec,
        "train": TrainSpec,
        "wandb": WandbSpec,
        "runtime": RuntimeSpec,
        "schedule": ScheduleSpec,
    }
    if method:
        check_method(method)
        from harness.experiment.registry import method_class

        sections = {method: method_class(method).Config, **sections}
    for section, model in sections.items():
        for name, info in model.model_fields.items():
            key = f"{section}.{info.alias or name}"
            console.print(f"{key}={info.default}".ljust(36), info.description or "", markup=False, soft_wrap=True)
