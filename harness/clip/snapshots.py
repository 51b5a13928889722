"""Folders of a model as open_clip's hub stores them: open_clip_config.json and weights."""

from pathlib import Path

from harness.errors import UserError

CONFIGURATION = "open_clip_config.json"
# In open_clip's order of preference. A model.safetensors may hold the names of transformers, so it comes later.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)


def configuration_in(folder: Path) -> Path:
    """The configuration of a folder.

    Raises:
        UserError: the folder has none.
    """
    if not folder.is_dir():
        raise UserError(f"folder '{folder}' does not exist")
    found = folder / CONFIGURATION
    if found.is_file():
        return found
    if (folder / "config.json").is_file():
        weights = next((name for name in WEIGHTS if (folder / name).is_file()), "model.safetensors")
        raise UserError(
            f"folder '{folder}' has no {CONFIGURATION}, only a config.json, as transformers' models have: name the "
            f"model and the weights, BACKBONE=ViT-B-16-quickgelu:{folder / weights}"
        )
    raise UserError(f"folder '{folder}' has no {CONFIGURATION}: give the folder of a model of open_clip, or a file")


def weights_in(folder: Path) -> Path:
    """The weights of a folder.

    Raises:
        UserError: the folder has none.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
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


def cached_snapshot(repository: str) -> Path:
    """The folder of a model in the cache of the Hugging Face hub on this machine; nothing is downloaded.

    Args:
        repository: organisation/name.

    Raises:
        UserError: it is not there.
    """
    # Not at the top: only this notation needs it.
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository, CONFIGURATION)
    except ValueError as error:
        raise UserError(f"'{repository}' is no name on the hub: write hf-hub:organisation/name") from error
    if not isinstance(found, str):
        raise UserError(
            f"'{repository}' with its {CONFIGURATION} is not in the hub's cache on this machine: download it once "
            f"(hf download {repository}), or give its folder, BACKBONE=/path/to/folder"
        )
    return Path(found).parent
