"""Names of backbones: an open_clip name and tag, a local checkpoint, or the model that comes with the project.

The notation, on the command line, in BACKBONE= and in YAML:

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
    """A parsed backbone; none of its weights has been read.

    Attributes:
        text: as the user wrote it; its name in results.
        model: open_clip model name, or None for a checkpoint with its own configuration.
        tag: pretrained tag, `random`, or None if a file is given.
        checkpoint: local file, or None.
    """

    text: str
    model: str | None
    tag: str | None
    checkpoint: Path | None


@cache
def bundled() -> dict[str, Path]:
    """Name -> checkpoint of the models that come with the project."""
    folder = Path(str(files("harness.embedded")))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def parse_backbone(text: str) -> Backbone:
    """Parse the notation of this module's docstring. Pretrained tags are checked only when weights are loaded.

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


def files_of(text: str) -> tuple[str | None, tuple[Path, ...]]:
    """The model that a backbone names, if any, and the local files that decide its weights; no file for a mere name.

    Files that do not exist are left out: whoever loads the backbone reports them.
    """
    model, _, source = text.partition(":")
    if model not in config_files():
        model, source = "", text
    checkpoint = Path(source).expanduser()
    if not source.endswith(CHECKPOINT_ENDINGS) or not checkpoint.is_file():
        return model or None, ()
    # With a model's name its configuration decides; without, the one beside the weights and what that refers to.
    config = checkpoint.with_suffix(".json")
    beside = () if model or not config.is_file() else (config, *vocabulary_of(config))
    return model or None, (checkpoint, *beside)


def vocabulary_of(config_file: Path) -> tuple[Path, ...]:
    """The vocabulary file that a local configuration names, if it does and it exists."""
    try:
        name = json.loads(config_file.read_bytes())["text_cfg"]["tokenizer_kwargs"]["bpe_path"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    file = config_file.parent / str(name)
    return (file,) if file.is_file() else ()


def existing_file(path: str) -> Path:
    """The path, if it is a file.

    Raises:
        UserError: it is not.
    """
    found = Path(path).expanduser()
    if not found.is_file():
        raise UserError(f"checkpoint '{path}' does not exist: give the path of a .safetensors or .pt file")
    return found


@cache
def config_files() -> dict[str, Path]:
    """Model name -> configuration file of all models of open_clip, without importing it, which takes seconds."""
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
    """Number of blocks that both towers have, without reading weights; None if only the weights determine it."""
    if backbone.model:
        config = model_config(backbone.model)
    elif backbone.checkpoint and backbone.checkpoint.with_suffix(".json").is_file():
        config = json.loads(backbone.checkpoint.with_suffix(".json").read_text())
    else:
        return None
    layers = [config.get(tower, {}).get("layers", 12) for tower in ("vision_cfg", "text_cfg")]
    return min(layers) if all(isinstance(n, int) for n in layers) else None
