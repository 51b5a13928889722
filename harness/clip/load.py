"""Loads the CLIP of a backbone: with weights of open_clip, of a local checkpoint, or random ones."""

import logging
from pathlib import Path

import open_clip
import torch

from harness.clip.activation import doubt_about_activation, refuse_wrong_activation
from harness.clip.backbones import (
    RANDOM,
    Backbone,
    model_config,
    parse_backbone,
    supported_models,
)
from harness.clip.checkpoints import State, format_of, load_strictly, read_checkpoint, refuse_not_finite
from harness.clip.configuration import (
    ModelConfiguration,
    PreprocessConfiguration,
    TextConfiguration,
    VisionConfiguration,
    read_configuration,
)
from harness.clip.kinds import towers_of
from harness.clip.prompts import Tokenizer
from harness.clip.strict_json import check
from harness.clip.tokenizer import local_tokenizer, tokenizer_of
from harness.clip.tokenizer_files import fetch_tokenizer
from harness.clip.towers import CLIP
from harness.clip.transformers_names import is_of_transformers, to_open_clip
from harness.errors import UserError, first_line, nearest

# OpenAI's own checkpoints contain these entries besides the weights; no other format does.
OPENAI_ENTRIES = ("input_resolution", "context_length", "vocab_size")
OPENAI_HEAD_WIDTH = 64
# The tensors whose shapes say everything about a ViT of OpenAI's.
SHAPES_OF = (
    "visual.conv1.weight",
    "visual.positional_embedding",
    "positional_embedding",
    "text_projection",
    "token_embedding.weight",
)
OPENAI_PREPROCESSING = PreprocessConfiguration()


def verify_tag(backbone: Backbone) -> None:
    """Check the pretrained tag of a backbone.

    Raises:
        UserError: open_clip has no such weights, or they were trained with another activation than the model's.
    """
    model, tag = backbone.model, backbone.tag
    if model is None or tag is None or tag == RANDOM:
        return
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not tags:
        raise UserError(
            f"open_clip has no weights for '{model}': give a checkpoint, {model}:/path/to/file, "
            f"or measure costs with {model}:random"
        )
    if tag not in tags:
        asked = f"has no pretrained tag '{tag}'" if ":" in backbone.text else "has no default weights"
        raise UserError(f"backbone '{model}' {asked}: write {model}:TAG.{nearest(tag, tags)}")
    refuse_wrong_activation(model, bool(open_clip.get_pretrained_cfg(model, tag).get("quick_gelu")), f"'{tag}' weights")


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


def fetch_weights(text: str) -> None:
    """Download the weights of a pretrained tag, unless they are on this machine or need no download.

    Args:
        text: a backbone in the notation of `backbones`.

    Raises:
        UserError: they are not on this machine and cannot be downloaded.
    """
    backbone = parse_backbone(text)
    verify_tag(backbone)
    if backbone.model is None or backbone.tag in (None, RANDOM):
        return
    repository = model_config(backbone.model).text_cfg.hf_tokenizer_name
    # The hub's client logs every attempt; the error below says everything in one line.
    logging.disable(logging.CRITICAL)
    try:
        open_clip.download_pretrained(open_clip.get_pretrained_cfg(backbone.model, backbone.tag))
        if repository:
            fetch_tokenizer(repository)
    except Exception as error:  # network, disk and hub errors come in many types
        raise UserError(
            f"the weights of '{text}' are not on this machine and cannot be downloaded ({type(error).__name__}): "
            f"connect to the network once, or use a checkpoint file with BACKBONE={backbone.model}:/path/to/file"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


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


def preprocessing_of_tag(backbone: Backbone) -> PreprocessConfiguration:
    """The preprocessing that the weights of a pretrained tag were trained with; OpenAI's for random weights.

    Raises:
        UserError: open_clip names one that is unknown here.
    """
    if backbone.model is None or backbone.tag in (None, RANDOM):
        return OPENAI_PREPROCESSING
    tag = open_clip.get_pretrained_cfg(backbone.model, backbone.tag)
    known = {key: tag[key] for key in PreprocessConfiguration.model_fields if key in tag}
    return check(PreprocessConfiguration, known, f"preprocessing of '{backbone.text}'")


def load_checkpoint(backbone: Backbone, path: Path) -> CLIP:
    """Load a local checkpoint; its architecture follows from a model name, a configuration file or its own shapes."""
    state, is_openai = read_weights(path)
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
    if backbone.model and not is_openai and (doubt := doubt_about_activation(backbone.model, state)):
        clip.notices = (f"backbone {backbone.text}: {doubt}",)
    return clip


def read_weights(path: Path) -> tuple[State, bool]:
    """The weights of a checkpoint under open_clip's names, and whether it carries OpenAI's own entries."""
    state = read_checkpoint(path)
    if is_of_transformers(state):
        state = to_open_clip(state)
    weights = {name: value for name, value in state.items() if name not in OPENAI_ENTRIES}
    return weights, len(weights) < len(state)


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
        found = openai_architecture(backbone.checkpoint, *read_weights(backbone.checkpoint))
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
    config = read_configuration(backbone.configuration)
    if config.unsupported:
        raise UserError(
            f"the model of configuration '{backbone.configuration}' is not supported: {config.unsupported}. "
            "Supported are CLIPs of a ViT with class token and a causal text tower, such as ViT-B-16, and SigLIP"
        )
    return config, tokenizer_of(config, backbone, stand_in)


def openai_architecture(path: Path, state: State, is_openai: bool) -> tuple[ModelConfiguration, Tokenizer]:
    """Configuration and tokenizer of an OpenAI checkpoint, from the shapes of its weights.

    Raises:
        UserError: the checkpoint is not from OpenAI, so that its activation and heads are unknown; or it is no ViT.
    """
    if any(name not in state for name in SHAPES_OF):
        names = ", ".join(ascii(name)[:60] for name in list(state)[:3])
        raise UserError(
            f"checkpoint '{path}' does not hold a CLIP of a ViT, whose tensors are 'visual.conv1.weight', "
            f"'visual.positional_embedding' and so on: it has {names}{format_of(state)}"
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
        raise UserError(f"checkpoint '{path}' has OpenAI's entries, but not the shapes of one of its ViTs") from None
    return config, local_tokenizer(config.text_cfg)


def fitting_models(state: State) -> list[str]:
    """The models of open_clip whose weights would have the shapes of these."""

    def shapes(config: ModelConfiguration) -> tuple[object, ...]:
        vision, text = config.vision_cfg, config.text_cfg
        image = (vision.layers, vision.width, vision.patch_size, vision.side)
        return (config.embed_dim, *image, text.context_length, text.vocab_size, text.width, text.layers)

    try:
        found = shapes(openai_config(state))
    except (KeyError, ValueError, IndexError):
        return []
    return [name for name in supported_models() if shapes(model_config(name)) == found]


def build(config: ModelConfiguration) -> "open_clip.model.CLIP":
    """A model of open_clip of a configuration, in fp32, with random weights."""
    fields = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    if not config.custom_text:
        return open_clip.CLIP(**config.model_dump(include=fields, exclude_unset=True))
    fields |= {"init_logit_scale", "init_logit_bias"}
    return open_clip.CustomTextCLIP(**config.model_dump(include=fields, exclude_unset=True))


def openai_config(state: State) -> ModelConfiguration:
    """OpenAI's architecture, from the shapes of its weights: QuickGELU, heads of width 64, MLPs of 4 x width.

    Raises:
        KeyError, IndexError, ValueError: the tensors are not those of a ViT CLIP.
    """

    def layers(prefix: str) -> int:
        return len({name.split(".")[0] for name in names_below(state, f"{prefix}transformer.resblocks.")})

    patch_width = state["visual.conv1.weight"].shape
    grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    context_length, text_width = state["positional_embedding"].shape
    return ModelConfiguration(
        embed_dim=state["text_projection"].shape[1],
        quick_gelu=True,
        vision_cfg=VisionConfiguration(
            layers=layers("visual."),
            width=patch_width[0],
            patch_size=patch_width[-1],
            image_size=grid * patch_width[-1],
        ),
        text_cfg=TextConfiguration(
            context_length=context_length,
            vocab_size=state["token_embedding.weight"].shape[0],
            width=text_width,
            heads=text_width // OPENAI_HEAD_WIDTH,
            layers=layers(""),
        ),
    )


def names_below(state: State, prefix: str) -> list[str]:
    """The names that begin with a prefix, without that prefix."""
    return [name.removeprefix(prefix) for name in state if name.startswith(prefix)]


def wrap(
    network: "open_clip.model.CLIP",
    tokenizer: Tokenizer,
    name: str,
    preprocess: PreprocessConfiguration = OPENAI_PREPROCESSING,
) -> CLIP:
    """A CLIP of two towers of stages, from an open_clip model.

    Args:
        network: with its weights.
        tokenizer: of its text tower.
        name: in messages and results.
        preprocess: open_clip's configuration of the preprocessing; by default OpenAI's.
    """
    image, text = towers_of(network)
    preprocessing = preprocess.for_images_of(network.visual.image_size[0], name)
    return CLIP(image, text, network, tokenizer, name, preprocessing)
