"""Loads the CLIP of a backbone: with weights of open_clip, of a local checkpoint, or random ones."""

import gzip
from functools import partial
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer

from harness.clip.activation import doubt_about, refuse_wrong_activation
from harness.clip.backbones import (
    RANDOM,
    Backbone,
    existing_file,
    model_config,
    parse_backbone,
    supported_models,
)
from harness.clip.checkpoints import State, format_of, load_strictly, refuse_not_finite
from harness.clip.configuration import (
    ModelConfiguration,
    PreprocessConfiguration,
    TextConfiguration,
    VisionConfiguration,
    supported_configuration,
)
from harness.clip.pretrained import OPENAI_PREPROCESSING, fetch_weights, preprocessing_of_tag, verify_tag
from harness.clip.prompts import Tokenizer
from harness.clip.towers import CLIP
from harness.clip.transformers_configuration import CONFIGURATION as OF_TRANSFORMERS
from harness.clip.transformers_vocabulary import refuse_other_vocabulary
from harness.clip.weights import read_weights
from harness.errors import UserError, first_line

OPENAI_HEAD_WIDTH = 64
# The tensors whose shapes say everything about a ViT of OpenAI's.
SHAPES_OF = (
    "visual.conv1.weight",
    "visual.positional_embedding",
    "positional_embedding",
    "text_projection",
    "token_embedding.weight",
)


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
        return wrap(build(config), local_tokenizer(config.text_cfg), backbone.text)
    fetch_weights(backbone.text)
    try:
        network = open_clip.create_model(model, pretrained=backbone.tag)
    except Exception as error:  # a download that is cut off fails in many ways
        raise UserError(
            f"the downloaded weights of '{backbone.text}' cannot be loaded: {first_line(error)}. Delete them from the "
            "cache of the hub, and they are downloaded again"
        ) from error
    return wrap(network, local_tokenizer(config.text_cfg), backbone.text, preprocessing_of_tag(backbone))


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
    found = named_architecture(backbone)
    if found is None:
        assert backbone.checkpoint
        weights = read_weights(backbone.checkpoint)
        found = openai_architecture(backbone.checkpoint, weights.state, weights.is_openai)
    config, tokenizer = found
    preprocess = config.preprocess_cfg if backbone.checkpoint else preprocessing_of_tag(backbone)
    return wrap(build(config), tokenizer, backbone.text, preprocess).eval().requires_grad_(False)


def named_architecture(backbone: Backbone) -> tuple[ModelConfiguration, Tokenizer] | None:
    """Configuration and tokenizer from a model name or a configuration file; None if the backbone has neither.

    Raises:
        UserError: the configuration is damaged, or is not of a plain CLIP.
    """
    if backbone.model:
        config = model_config(backbone.model)
        return config, local_tokenizer(config.text_cfg)
    if backbone.configuration is None:
        return None
    config = supported_configuration(backbone.configuration)
    if backbone.configuration.name == OF_TRANSFORMERS:
        refuse_other_vocabulary(backbone.configuration.parent)
    return config, local_tokenizer(config.text_cfg, backbone.configuration)


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
    """A plain open_clip CLIP of a configuration, in fp32, with random weights."""
    known = config.model_dump(include={"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}, exclude_unset=True)
    return open_clip.CLIP(**known)


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


def local_tokenizer(text: TextConfiguration, configuration: Path | None = None) -> Tokenizer:
    """CLIP's BPE tokenizer with the options and the context length of a text tower.

    Args:
        text: the configuration of the tower.
        configuration: its file, beside which a vocabulary of its own lies.

    Raises:
        UserError: the vocabulary cannot be read, or is larger than the tower's.
    """
    options = text.tokenizer_kwargs.model_dump(exclude_unset=True) if text.tokenizer_kwargs else {}
    where = f"CLIP's own vocabulary, which configuration '{configuration}' asks for,"
    if options.pop("strip_sep_token", False):
        raise UserError(f"configuration '{configuration}': strip_sep_token is an option of transformers' tokenizers")
    if options.get("bpe_path"):
        folder = configuration.parent if configuration else Path()
        options["bpe_path"] = str(existing_file(str(folder / options["bpe_path"])))
        where = f"vocabulary '{options['bpe_path']}'"
    try:
        tokenizer = SimpleTokenizer(**{key: value for key, value in options.items() if value is not None})
    except (OSError, EOFError, ValueError, LookupError, gzip.BadGzipFile) as error:
        raise UserError(f"{where} cannot be read as a vocabulary of CLIP: {first_line(error)}") from error
    if tokenizer.vocab_size > text.vocab_size:
        raise UserError(f"{where} has {tokenizer.vocab_size} tokens, and text_cfg.vocab_size is {text.vocab_size}")
    return partial(tokenizer, context_length=text.context_length)


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
    return CLIP(network, tokenizer, name, preprocess.for_images_of(network.visual.image_size[0], name))
