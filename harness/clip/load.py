"""Loads the CLIP of a backbone: with weights of open_clip, of a local checkpoint, or random ones."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.clip.activation import doubt_about, refuse_wrong_activation
from harness.clip.backbones import (
    RANDOM,
    Backbone,
    model_config,
    parse_backbone,
)
from harness.clip.checkpoints import State, format_of, load_strictly, refuse_not_finite
from harness.clip.configuration import (
    ModelConfiguration,
    PreprocessConfiguration,
    supported_configuration,
)
from harness.clip.kinds import towers_of
from harness.clip.network import Network, is_plain
from harness.clip.openai_shapes import fitting_models, is_resnet, openai_config, shapes_of
from harness.clip.pretrained import OPENAI_PREPROCESSING, fetch_weights, preprocessing_of_tag, verify_tag
from harness.clip.prompts import Tokenizer
from harness.clip.tokenizer import local_tokenizer, tokenizer_of
from harness.clip.towers import CLIP
from harness.clip.transformers_configuration import CONFIGURATION as OF_TRANSFORMERS
from harness.clip.transformers_vocabulary import refuse_other_vocabulary
from harness.clip.weights import read_weights
from harness.errors import UserError, first_line

if TYPE_CHECKING:
    import open_clip


def load_backbone(text: str) -> CLIP:
    """Load a CLIP in fp32, in evaluation mode, with all weights frozen, on the CPU.

    Args:
        text: a backbone in the notation of `backbones`.

    Raises:
        UserError: a problem with the name, the file, the activation or the download that the user can correct.
    """
    backbone = parse_backbone(text)
    verify_tag(backbone)
    if backbone.checkpoint:
        clip = load_checkpoint(backbone, backbone.checkpoint)
    else:
        assert backbone.model
        clip = load_open_clip(backbone, backbone.model)
    clip = clip.float().eval().requires_grad_(False)
    refuse_not_finite(clip, f"checkpoint '{backbone.checkpoint}'" if backbone.checkpoint else f"weights of '{text}'")
    return clip


def load_open_clip(backbone: Backbone, model: str) -> CLIP:
    """Load an open_clip model by name, with the weights of the backbone's tag or with random ones."""
    config = model_config(model)
    if backbone.tag == RANDOM:
        clip = wrap(build(config), tokenizer_of(config, backbone, stand_in=True), backbone.text)
        if config.text_cfg.hf_tokenizer_name:
            clip.notices = (
                f"backbone {backbone.text}: its texts get ids of CLIP's vocabulary, as its weights are random",
            )
        return clip
    import open_clip

    fetch_weights(backbone.text)
    tokenizer = tokenizer_of(config, backbone)
    try:
        network = open_clip.create_model(model, pretrained=backbone.tag)
    except Exception as error:  # a download that is cut off fails in many ways
        raise UserError(
            f"the downloaded weights of '{backbone.text}' cannot be loaded: {first_line(error)}. Delete them from the "
            "cache of the hub, and they are downloaded again"
        ) from error
    return wrap(network, tokenizer, backbone.text, preprocessing_of_tag(backbone))


def load_checkpoint(backbone: Backbone, path: Path) -> CLIP:
    """Load a local checkpoint; its architecture follows from a model name, a configuration file or its own shapes."""
    weights = read_weights(path)
    state, is_openai = weights.state, weights.is_openai
    if backbone.model and is_openai:
        refuse_wrong_activation(backbone.model, True, "OpenAI's weights")
    config, tokenizer = named_architecture(backbone) or openai_architecture(path, state, is_openai)
    model = f"'{backbone.model}'" if backbone.model else "the one of its configuration"
    hint = ""
    if backbone.model and (fitting := [name for name in fitting_models(state) if name != backbone.model]):
        hint = f" Its shapes are those of {' and '.join(fitting)}."
    # Compared without memory first: a wrong configuration may ask for more than the machine has.
    with torch.device("meta"):
        skeleton = build(config)
    load_strictly(skeleton, {name: tensor.to("meta") for name, tensor in state.items()}, path, model, hint)
    network = build(config)
    load_strictly(network, state, path, model, hint)
    clip = wrap(network, tokenizer, backbone.text, config.preprocess_cfg)
    doubt = None if is_openai else doubt_about(backbone, network, state, config.quick_gelu)
    clip.notices = tuple(f"backbone {backbone.text}: {line}" for line in (doubt, weights.left_out) if line)
    return clip


def build_without_weights(text: str) -> CLIP:
    """A frozen CLIP of a backbone's architecture, with newly initialised weights.

    Nothing is downloaded, and a checkpoint is read only if nothing else determines its architecture. Under fake tensors
    it takes no memory.

    Args:
        text: a backbone in the notation of `backbones`.

    Raises:
        UserError: unknown backbone, or a file that cannot be read.
    """
    backbone = parse_backbone(text)
    found = named_architecture(backbone, stand_in=True)
    if found is None:
        assert backbone.checkpoint
        weights = read_weights(backbone.checkpoint)
        found = openai_architecture(backbone.checkpoint, weights.state, weights.is_openai)
    config, tokenizer = found
    preprocess = config.preprocess_cfg if backbone.checkpoint else preprocessing_of_tag(backbone)
    return wrap(build(config), tokenizer, backbone.text, preprocess).eval().requires_grad_(False)


def named_architecture(backbone: Backbone, stand_in: bool = False) -> tuple[ModelConfiguration, Tokenizer] | None:
    """Configuration and tokenizer from a model name or a configuration file; None if the backbone has neither.

    Args:
        backbone: what the user named.
        stand_in: as in `tokenizer_of`.

    Raises:
        UserError: the configuration is damaged, or is not of a plain CLIP.
    """
    if backbone.model:
        config = model_config(backbone.model)
        return config, tokenizer_of(config, backbone, stand_in)
    if backbone.configuration is None:
        return None
    config = supported_configuration(backbone.configuration)
    if backbone.configuration.name == OF_TRANSFORMERS:
        refuse_other_vocabulary(backbone.configuration.parent)
    return config, tokenizer_of(config, backbone, stand_in)


def openai_architecture(path: Path, state: State, is_openai: bool) -> tuple[ModelConfiguration, Tokenizer]:
    """Configuration and tokenizer of an OpenAI checkpoint, from the shapes of its weights.

    Raises:
        UserError: the checkpoint is not from OpenAI, so that its activation and heads are unknown; or it has neither a
            ViT nor a ResNet.
    """
    if missing := [name for name in shapes_of(state) if name not in state]:
        names = ", ".join(ascii(name)[:60] for name in list(state)[:3])
        raise UserError(
            f"checkpoint '{path}' does not hold a CLIP of a {'ResNet' if is_resnet(state) else 'ViT'}, whose tensors "
            f"are 'visual.conv1.weight', '{missing[0]}' and so on: it has {names}{format_of(state)}"
        )
    if not is_openai:
        fitting = fitting_models(state)
        named = " or ".join(f"BACKBONE={name}:{path}" for name in fitting)
        name_it = f"name the model ({named}; -quickgelu for OpenAI's weights), or " if named else ""
        raise UserError(
            f"checkpoint '{path}' does not say which activation and heads it was trained with: {name_it}put its "
            f"open_clip configuration next to it as {path.with_suffix('.json').name}"
        )
    try:
        config = openai_config(state)
    except (ValueError, IndexError):
        raise UserError(f"checkpoint '{path}' has OpenAI's entries, but not the shapes of its models") from None
    return config, local_tokenizer(config.text_cfg)


def build(config: ModelConfiguration) -> "Network | open_clip.model.CLIP":
    """A model of a configuration, in fp32, with random weights; of open_clip where it is not the usual one."""
    return Network(config) if is_plain(config) else build_of_open_clip(config)


def build_of_open_clip(config: ModelConfiguration) -> "open_clip.model.CLIP":
    """open_clip's own model of a configuration, in fp32, with random weights."""
    # Not at the top: it takes longer to import than torch.
    import open_clip

    fields = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    if not config.custom_text:
        return open_clip.CLIP(**config.model_dump(include=fields, exclude_unset=True))
    fields |= {"init_logit_scale", "init_logit_bias"}
    return open_clip.CustomTextCLIP(**config.model_dump(include=fields, exclude_unset=True))


def wrap(
    network: "Network | open_clip.model.CLIP",
    tokenizer: Tokenizer,
    name: str,
    preprocess: PreprocessConfiguration = OPENAI_PREPROCESSING,
) -> CLIP:
    """A CLIP of two towers of stages, from the parameters of a model.

    Args:
        network: with its weights.
        tokenizer: of its text tower.
        name: in messages and results.
        preprocess: open_clip's configuration of the preprocessing; by default OpenAI's.
    """
    image, text = towers_of(network)
    size = network.visual.image_size
    preprocessing = preprocess.for_images_of(size if isinstance(size, int) else size[0], name)
    return CLIP(image, text, network, tokenizer, name, preprocessing)
