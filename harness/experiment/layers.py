"""Where a setting comes from: a run is made of layers of settings, later ones over earlier ones."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.experiment.settings import Settings, flat_settings, merge
from harness.experiment.spec import RunSpec

COMMAND_LINE = "command line"
DEFAULT = "default"
# Settings that leave it to a variable of the environment where they are null.
ENVIRONMENT = {
    "runtime.data_root": "DATA",
    "runtime.feature_store": "SKIPBENCH_FEATURES",
    "runtime.picture_store": "SKIPBENCH_PICTURES",
    "wandb.mode": "WANDB_MODE",
}


@dataclass(frozen=True)
class Setting:
    """One setting of a run as it will be.

    Attributes:
        key: dotted, such as train.epochs.
        value: plain data.
        source: where the value comes from, in words.
    """

    key: str
    value: Any
    source: str


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    Attributes:
        source: the place in words.
        settings: nested.
        of_keys: dotted key -> its place, for keys that come from somewhere else.
    """

    source: str
    settings: Settings
    of_keys: Mapping[str, str] = field(default_factory=dict)

    def source_of(self, key: str) -> str:
        """Where the setting with a dotted key comes from."""
        return self.of_keys.get(key, self.source)


def merged(layers: Sequence[Layer]) -> Settings:
    """The settings that layers give together."""
    return merge(*(layer.settings for layer in layers))


@dataclass(frozen=True)
class PlannedRun:
    """A run and the layers that it was made of.

    Attributes:
        spec: the run.
        layers: earlier ones are overridden by later ones; runs that share this very object differ in their seeds alone.
    """

    spec: RunSpec
    layers: tuple[Layer, ...]

    def effective(self) -> list[Setting]:
        """Every setting of the run, in the order of the spec."""
        sources: dict[str, str] = {}
        for layer in self.layers:
            sources |= {key: layer.source_of(key) for key in flat_settings(layer.settings)}
        found = []
        for key, value in flat_settings(self.spec.settings()).items():
            source = sources.get(key, DEFAULT)
            if value is None and (name := ENVIRONMENT.get(key)) and os.environ.get(name):
                value, source = os.environ[name], f"environment {name}"
            found.append(Setting(key, value, source))
        return found

    def given(self) -> list[Setting]:
        """The settings that were asked for, on the command line or in a file of the user's."""
        return [item for item in self.effective() if item.source == COMMAND_LINE or item.source.startswith(FILES)]


FILES = ("experiment ", "file ", "sweep ")
"""How the sources that are files of experiments begin."""
