"""Data sets of the hub that hold one of the data sets of the catalog, and how their classes are called here."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from harness.clip.open_clip_files import open_clip_module
from harness.data.catalog import DATASETS
from harness.data.description import DataSet
from harness.data.own_names import HubName
from harness.errors import letters_of

FILE = "hub_known.yaml"


class KnownSet(BaseModel):
    """One entry of `hub_known.yaml`, which explains the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    checked: bool
    options: dict[str, str] = {}
    lower: bool = False
    year: Literal["first"] | None = None
    classes: Literal["imagenet"] | None = None
    names: dict[str, str] = {}

    @property
    def row(self) -> DataSet:
        """The data set of the catalog that it holds."""
        return DATASETS[self.dataset]

    @property
    def fact(self) -> str:
        """A few words on what it is taken for."""
        doubt = "" if self.checked else ", which nobody compared with the hub"
        return f"templates and class names of {self.dataset}{doubt}"

    def rename(self, names: Mapping[int | str, str]) -> dict[int | str, str]:
        """Label -> name of the class here.

        Args:
            names: label -> name of the class on the hub, in label order.
        """
        if self.classes == "imagenet" and len(names) == len(imagenet_names()):
            return dict(zip(names, imagenet_names(), strict=True))
        return {label: self.rename_one(name) for label, name in names.items()}

    def rename_one(self, name: str) -> str:
        """The name of a class here."""
        here = {letters_of(there): name for there, name in self.names.items()}.get(letters_of(name), name)
        *words, last = here.split()
        if self.year == "first" and words and last.isdecimal() and len(last) == 4:
            here = " ".join([last, *words])
        return here.lower() if self.lower else here


def known_set(name: str) -> KnownSet | None:
    """What is known of a data set of the hub; None if nothing is."""
    return known_sets().get(name)


@cache
def known_sets() -> Mapping[str, KnownSet]:
    """Name on the hub -> what is known of it."""
    content = yaml.safe_load(files("harness.data").joinpath(FILE).read_text("utf-8"))
    return MappingProxyType({name: KnownSet.model_validate(entry) for name, entry in content.items()})


@cache
def imagenet_names() -> tuple[str, ...]:
    """ImageNet's class names in the order of its classes."""
    return tuple(open_clip_module("zero_shot_metadata").IMAGENET_CLASSNAMES)


def with_known(name: HubName, known: KnownSet | None) -> HubName:
    """A name with the options that are known for its data set, where the user gives none."""
    if known is None:
        return name
    options = {key: value for key, value in known.options.items() if key != "config"} | dict(name.options)
    config = name.config or known.options.get("config")
    return HubName(name.text, name.prefix, name.place, config, tuple(sorted(options.items())))
