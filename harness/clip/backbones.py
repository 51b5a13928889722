"""What names of backbones mean: open_clip name and tag, a local checkpoint, or the model that comes with the project.

How a backbone is written, everywhere (BACKBONE=, YAML):

    clip-emoji                         the small CLIP of the embedded benchmark
    ViT-B-16-quickgelu                 an open_clip model with OpenAI's weights
    ViT-B-16:laion2b_s34b_b88k         an open_clip model with a pretrained tag
    ViT-B-16-quickgelu:/path/to.pt     an open_clip model with a local checkpoint
    ViT-B-16:random                    random weights, for measuring costs
    /path/to.safetensors               a local checkpoint with its open_clip configuration in /path/to.json, or an
                                       OpenAI checkpoint that still carries OpenAI's own entries
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import UserError, nearest

RANDOM = "random"
DEFAULT_TAG = "openai"
CHECKPOINT_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Backbone:
    """What a backbone's text means, before any weight is read.

    Attributes:
        text: as the user wrote it; the name in results.
        model: open_clip model name, or None for a checkpoint that brings its own configuration.
        tag: pretrained tag, `random`, or None where a file is given.
        checkpoint: local file, or None.
    """

    text: str
    model: str | None
    tag: str | None
    checkpoint: Path | None


def bundled() -> dict[str, Path]:
    """Name -> checkpoint of the models that come with the project."""
    folder = Path(str(files("harness.embedded")))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def parse_backbone(text: str) -> Backbone:
    """Read the notation of this module's docstring. Pretrained tags are verified where weights are loaded.

    Raises:
        UserError: unknown model or missing file.
    """
    if text in bundled():
        return Backbone(text, None, None, bundled()[text])
    model, _, source = text.partition(":")
    if model not in model_names():
        if text.endswith(CHECKPOINT_ENDINGS):
            return Backbone(text, None, None, existing_file(text))
        raise UserError(f"unknown backbone '{text}'.{nearest(model, [*model_names(), *bundled()])}")
    if source == RANDOM:
        return Backbone(text, model, RANDOM, None)
    if source.endswith(CHECKPOINT_ENDINGS):
        return Backbone(text, model, None, existing_file(source))
    return Backbone(text, model, source or DEFAULT_TAG, None)


def existing_file(path: str) -> Path:
    """The path, which must be a file."""
    found = Path(path).expanduser()
    if not found.is_file():
        raise UserError(f"checkpoint '{path}' does not exist: give the path of a .safetensors or .pt file")
    return found


@cache
def config_files() -> dict[str, Path]:
    """Model name -> configuration, of all models of open_clip, without importing it (seconds)."""
    spec = find_spec("open_clip")
    assert spec
    assert spec.submodule_search_locations
    return {path.stem: path for path in Path(spec.submodule_search_locations[0]).glob("model_configs/*.json")}


def model_names() -> list[str]:
    """Names of open_clip's models."""
    return sorted(config_files())


def model_config(model: str) -> dict[str, Any]:
    """open_clip's configuration of a model name."""
    config: dict[str, Any] = json.loads(config_files()[model].read_text())
    return config


def blocks_of(backbone: Backbone) -> int | None:
    """Number of blocks that both towers have, without reading weights; None where only the weights tell."""
    if backbone.model:
        config = model_config(backbone.model)
    elif backbone.checkpoint and backbone.checkpoint.with_suffix(".json").is_file():
        config = json.loads(backbone.checkpoint.with_suffix(".json").read_text())
    else:
        return None
    layers = [config.get(tower, {}).get("layers", 12) for tower in ("vision_cfg", "text_cfg")]
    return min(layers) if all(isinstance(n, int) for n in layers) else None
