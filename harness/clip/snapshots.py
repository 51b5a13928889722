"""Folders of a model as the hub stores them: a configuration of open_clip or transformers, and weights."""

import re
from contextlib import suppress
from pathlib import Path

from harness.clip.shards import is_index, shards_of
from harness.clip.transformers_configuration import CONFIGURATION as OF_TRANSFORMERS
from harness.clip.transformers_configuration import PREPROCESSING, PROCESSOR
from harness.errors import UserError

CONFIGURATION = "open_clip_config.json"
# In open_clip's order of preference. A model.safetensors may hold the names of transformers, so it comes later.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.pth",
    "model.pth",
)
ENDINGS = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
SHOWN = 4
PART = re.compile(r"-\d{5}-of-\d{5}(?=\.|$)")
"""What stands in the name of a file that holds a part of the weights."""


def configuration_in(folder: Path) -> Path:
    """The configuration of a folder.

    Raises:
        UserError: the folder has none.
    """
    if not folder.is_dir():
        raise UserError(f"folder '{folder}' does not exist")
    for name in (CONFIGURATION, OF_TRANSFORMERS):
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"folder '{folder}' has no {CONFIGURATION} and no {OF_TRANSFORMERS}: give the folder of a CLIP of open_clip or "
        "transformers, or a file"
    )


def weights_in(folder: Path) -> Path:
    """The weights of a folder: the best of the usual names, or the only file of weights that it has.

    Raises:
        UserError: the folder has none, or several under other names.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and path.is_file())
    if part := next((path for path in others if PART.search(path.name)), None):
        raise UserError(
            f"folder '{folder}' has '{part.name}', a part of weights in several files, and not their index, "
            f"{PART.sub('', part.stem)}{part.suffix}.index.json: copy or download it too"
        )
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(path.name for path in others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
        raise UserError(
            f"folder '{folder}' has {len(others)} files of weights ({names}) and none of the usual names: leave the "
            f"one that is meant, or name it {WEIGHTS[0]}"
        )
    for path in sorted(folder.iterdir()):
        if (path.name in WEIGHTS or path.suffix in ENDINGS) and path.is_symlink() and not path.exists():
            raise UserError(f"'{path}' is a link to a file that is not there: download it again")
    raise UserError(f"folder '{folder}' has none of the weights {', '.join(WEIGHTS)}")


def cached_file(repository: str, name: str) -> Path | None:
    """A file of a repository in the cache of the hub on this machine; None if it is not there."""
    # Not at the top: only some backbones need it.
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository, name)
    except ValueError:  # no name of a repository
        return None
    return Path(found) if isinstance(found, str) else None


def files_beside(checkpoint: Path | None, configuration: Path | None) -> tuple[Path, ...]:
    """The further files that decide the outputs of a model: shards of its weights, preprocessing of transformers.

    Args:
        checkpoint: its weights, or their index.
        configuration: its configuration.
    """
    found: list[Path] = []
    if checkpoint and is_index(checkpoint):
        with suppress(UserError):  # whoever loads the weights reports it
            found += sorted(shards_of(checkpoint))
    if configuration and configuration.name == OF_TRANSFORMERS:
        found += [path for name in (PREPROCESSING, PROCESSOR) if (path := configuration.with_name(name)).is_file()]
    return tuple(found)
