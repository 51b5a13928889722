"""The pretrained tags of open_clip: whether a model has one, its download, and the preprocessing that belongs to it."""

import logging
from pathlib import Path
from typing import Any

from harness.clip.activation import refuse_wrong_activation
from harness.clip.backbones import RANDOM, Backbone, model_config, parse_backbone
from harness.clip.configuration import PreprocessConfiguration
from harness.clip.hub import PATIENCE
from harness.clip.strict_json import check
from harness.clip.tokenizer_files import fetch_tokenizer
from harness.errors import UserError, nearest

OPENAI_PREPROCESSING = PreprocessConfiguration()


def tag_configuration(model: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of a pretrained tag: where its weights are, their activation and preprocessing."""
    # Not at the top, here as below: it takes longer to import than torch, and most runs need none of it.
    import open_clip

    found: dict[str, Any] = open_clip.get_pretrained_cfg(model, tag)
    return found


def verify_tag(backbone: Backbone) -> None:
    """Check the pretrained tag of a backbone.

    Raises:
        UserError: open_clip has no such weights, or they were trained with another activation than the model's.
    """
    model, tag = backbone.model, backbone.tag
    if model is None or tag is None or tag == RANDOM:
        return
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model)
    if not tags:
        raise UserError(
            f"open_clip has no weights for '{model}': give a checkpoint, {model}:/path/to/file, "
            f"or measure costs with {model}:random"
        )
    if tag not in tags:
        asked = f"has no pretrained tag '{tag}'" if ":" in backbone.text else "has no default weights"
        raise UserError(f"backbone '{model}' {asked}: write {model}:TAG.{nearest(tag, tags)}")
    refuse_wrong_activation(model, bool(tag_configuration(model, tag).get("quick_gelu")), f"'{tag}' weights")


def fetch_weights(text: str) -> None:
    """Download the weights of a pretrained tag, unless they are on this machine or need no download.

    Args:
        text: a backbone in the notation of `backbones`.

    Raises:
        UserError: they are not on this machine and cannot be downloaded.
    """
    backbone = parse_backbone(text)
    verify_tag(backbone)
    if backbone.model is None or backbone.tag is None or backbone.tag == RANDOM:
        return
    import open_clip

    repository = model_config(backbone.model).text_cfg.hf_tokenizer_name
    # The hub's client logs every attempt; the error below says everything in one line.
    logging.disable(logging.CRITICAL)
    try:
        tag = tag_configuration(backbone.model, backbone.tag)
        ask_hub(tag.get("hf_hub", "").rpartition("/")[0])
        open_clip.download_pretrained(tag)
        if repository:
            fetch_tokenizer(repository)
    except Exception as error:  # network, disk and hub errors come in many types
        raise UserError(
            f"the weights of '{text}' are not on this machine and cannot be downloaded ({type(error).__name__}): "
            f"connect to the network once, or use a checkpoint file with BACKBONE={backbone.model}:/path/to/file"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def ask_hub(repository: str) -> None:
    """Ask the hub once about the weights of a tag, unless files of theirs are on this machine.

    open_clip tries three names of a file, and the hub's client tries each six times: without a network, 50 seconds.

    Args:
        repository: organisation/name; empty for weights that are not on the hub.

    Raises:
        Exception: of the hub's client, if it cannot be reached.
    """
    from huggingface_hub import HfApi, constants

    kept = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots"
    if repository and not any(kept.glob("*/*")):
        HfApi().model_info(repository, timeout=PATIENCE)


def preprocessing_of_tag(backbone: Backbone) -> PreprocessConfiguration:
    """The preprocessing that the weights of a pretrained tag were trained with; OpenAI's for random weights.

    Raises:
        UserError: open_clip names one that is unknown here.
    """
    if backbone.model is None or backbone.tag is None or backbone.tag == RANDOM:
        return OPENAI_PREPROCESSING
    tag = tag_configuration(backbone.model, backbone.tag)
    known = {key: tag[key] for key in PreprocessConfiguration.model_fields if key in tag}
    return check(PreprocessConfiguration, known, f"preprocessing of '{backbone.text}'")
