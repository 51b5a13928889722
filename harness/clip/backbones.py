"""Names of backbones: an open_clip name and tag, a local checkpoint, or the model that comes with the project.

The notation, on the command line, in BACKBONE= and in YAML:

    clip-emoji                         the small CLIP of the embedded benchmark
    ViT-B-16-quickgelu                 an open_clip model with OpenAI's weights; RN50-quickgelu with a ResNet
    ViT-B-16:laion2b_s34b_b88k         an open_clip model with a pretrained tag
    ViT-B-16-quickgelu:/path/to.pt     an open_clip model with a local checkpoint
    ViT-B-16:random                    random weights, for measuring costs
    /path/to.safetensors               a local checkpoint with its open_clip configuration in /path/to.json, or an
                                       OpenAI checkpoint that still carries OpenAI's own entries
    /path/to/folder                    a local folder with weights and open_clip_config.json, or transformers' folder
                                       of a CLIPModel; also local-dir:/path
    hf-hub:organisation/name           such a folder of the hub, downloaded unless it is in the cache on this machine;
                                       also hf-hub:organisation/name@revision
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from harness.clip.configuration import (
    SUPPORTED,
    ModelConfiguration,
    read_configuration,
    supported_configuration,
)
from harness.clip.hub import cached_folder, hub_folder
from harness.clip.open_clip_files import package_folder
from harness.clip.snapshots import configuration_in, files_beside, weights_in
from harness.clip.tokenizer_files import find_tokenizer
from harness.errors import UserError, letters_of, nearest

RANDOM = "random"
DEFAULT_TAG = "openai"
LOCAL_DIR, HF_HUB = "local-dir:", "hf-hub:"
QUICK = "-quickgelu"
# How the hub and folders are named in other places: letters and digits of the word before the colon.
OTHER_SCHEMES = {
    HF_HUB: ("hf", "hfhub", "huggingface", "huggingfacehub", "hub"),
    LOCAL_DIR: ("localdir", "dir", "folder", "file"),
}
HUB_ADDRESS = re.compile(r"https?://[^/\s]+/([\w.-]+/[\w.-]+)")
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
# As torch, open_clip, Lightning and CoOp name checkpoints; CoOp appends the epoch.
CHECKPOINT_ENDING = re.compile(r"\.(safetensors|pt|pth|bin|ckpt|tar|index\.json)(-\d+)?$")


@dataclass(frozen=True)
class Backbone:
    """A parsed backbone; none of its weights has been read.

    Attributes:
        text: as the user wrote it; its name in results.
        model: open_clip model name, or None for a checkpoint with its own configuration.
        tag: pretrained tag, `random`, or None if a file is given.
        checkpoint: local file, or None.
        configuration: local file with the architecture of the checkpoint, or None.
    """

    text: str
    model: str | None
    tag: str | None
    checkpoint: Path | None
    configuration: Path | None = None


@cache
def bundled() -> dict[str, Path]:
    """Name -> checkpoint of the models that come with the project."""
    folder = Path(str(files("harness.embedded")))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def parse_backbone(text: str) -> Backbone:
    """Parse the notation of this module's docstring. Pretrained tags are checked only when weights are loaded.

    A model of the hub is downloaded if it is not on this machine: without its files it has no identity.

    Raises:
        UserError: unknown or unsupported model, missing file, or a model of the hub that cannot be downloaded.
    """
    if text in bundled():
        return with_configuration(text, bundled()[text])
    if text.startswith((LOCAL_DIR, HF_HUB)):
        kind, _, place = text.partition(":")
        return of_folder(text, hub_folder(place) if f"{kind}:" == HF_HUB else local_path(place))
    model, _, source = text.partition(":")
    if model not in config_files():
        path = local_path(text)
        if path.is_dir():
            return of_folder(text, path)
        refuse_other_schemes(text)
        written_with_slash = text.replace("/", "-").partition(":")[0]
        if names_a_file(text) and written_with_slash not in config_files():
            return with_configuration(text, existing_file(text))
        names = [*supported_models(), *bundled()]
        # Papers write ViT-B/16 for the model with OpenAI's weights, whose activation is another than ViT-B-16's.
        openai = {f"{name}{QUICK}": [name] for name in names if not source and f"{name}{QUICK}" in names}
        plain_names = [name for name in names if f"{name}{QUICK}" not in openai]
        raise UserError(f"unknown backbone '{text}'.{nearest(model, plain_names, openai)}")
    refuse_unsupported(model)
    if source == RANDOM:
        return Backbone(text, model, RANDOM, None)
    if names_a_file(source):
        return Backbone(text, model, None, existing_file(source))
    return Backbone(text, model, source or DEFAULT_TAG, None)


def refuse_other_schemes(text: str) -> None:
    """Raise a UserError that shows the right notation if a word means a model of the hub, or a folder, in another."""
    if address := HUB_ADDRESS.match(text):
        raise UserError(f"backbone '{text}' is an address: if it is a model's on the hub, write {HF_HUB}{address[1]}")
    scheme, colon, place = text.partition(":")
    for right in (HF_HUB, LOCAL_DIR):
        if colon and letters_of(scheme) in OTHER_SCHEMES[right]:
            raise UserError(f"unknown backbone '{text}'. Did you mean '{right}{place}'?")
    if HUB_NAME.fullmatch(text) and not CHECKPOINT_ENDING.search(text) and not local_path(text).exists():
        models = {letters_of(name) for name in model_names()}
        if letters_of(text) not in models:
            raise UserError(
                f"backbone '{text}' is no file or folder on this machine: for the model of that name on the hub, write "
                f"{HF_HUB}{text}"
            )


def with_configuration(text: str, checkpoint: Path) -> Backbone:
    """The backbone of a checkpoint whose configuration may lie beside it."""
    beside = checkpoint.with_suffix(".json")
    return Backbone(text, None, None, checkpoint, beside if beside.is_file() else None)


def of_folder(text: str, folder: Path) -> Backbone:
    """The backbone of a folder with weights and a configuration.

    Raises:
        UserError: one of the two is missing, or the configuration is of a model that is not supported.
    """
    configuration = configuration_in(folder)
    supported_configuration(configuration)
    return Backbone(text, None, None, weights_in(folder), configuration)


def names_a_file(source: str) -> bool:
    """Whether a word is meant as the path of a file; no pretrained tag and no model has such a name."""
    return bool(CHECKPOINT_ENDING.search(source)) or "/" in source or source.startswith(("~", "."))


def files_of(text: str) -> tuple[str | None, tuple[Path, ...]]:
    """The model that a backbone names, if any, and the local files that decide its weights; no file for a mere name.

    Files that do not exist are left out: whoever loads the backbone reports them.
    """
    if text in bundled():
        return None, ()
    try:
        # Whoever only asks for an identity, of a run of last year maybe, does not wait for a download.
        if text.startswith(HF_HUB) and cached_folder(text.removeprefix(HF_HUB)) is None:
            return None, ()
        backbone = parse_backbone(text)
    except UserError:
        model = text.partition(":")[0]
        return model if model in config_files() else None, ()
    found = [backbone.checkpoint, backbone.configuration]
    # With a model's name its configuration decides; without, the local one and the vocabulary that it names.
    if backbone.configuration:
        found.append(vocabulary_of(backbone.configuration))
    found += files_beside(backbone.checkpoint, backbone.configuration)
    if backbone.checkpoint:
        found.extend(tokenizer_files_of(backbone))
    return backbone.model, tuple(path for path in found if path)


def tokenizer_files_of(backbone: Backbone) -> tuple[Path, ...]:
    """The files of the tokenizer of a backbone that does not use CLIP's; empty if it uses CLIP's, or none is found."""
    try:
        config = configuration_of(backbone)
    except UserError:
        return ()
    if config is None or config.text_cfg.hf_tokenizer_name is None:
        return ()
    files = find_tokenizer(backbone.checkpoint, config.text_cfg.hf_tokenizer_name)
    return files.all if files else ()


def vocabulary_of(config_file: Path) -> Path | None:
    """The vocabulary file that a local configuration names, if it does and it exists."""
    try:
        tokenizer = read_configuration(config_file).text_cfg.tokenizer_kwargs
    except UserError:
        return None
    if tokenizer is None or tokenizer.bpe_path is None:
        return None
    file = config_file.parent / tokenizer.bpe_path
    return file if file.is_file() else None


def local_path(text: str) -> Path:
    """A path as the user wrote it, with his home folder.

    Raises:
        UserError: the file system knows no such path.
    """
    try:
        if not text.isprintable():
            raise ValueError("it holds characters that cannot be printed")
        path = Path(text).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"backbone {ascii(text)[:80]} is no path that can be read: {reason}") from None
    return path


def existing_file(text: str) -> Path:
    """The path, if it is a file.

    Raises:
        UserError: it is not.
    """
    found = local_path(text)
    if found.is_dir():
        raise UserError(f"checkpoint '{text}' is a folder: give the path of a file in it")
    if found.exists() and not found.is_file():
        raise UserError(f"checkpoint '{text}' is no regular file: give the path of a .safetensors or .pt file")
    if not found.is_file():
        raise UserError(
            f"checkpoint '{text}' does not exist: give the path of a .safetensors or .pt file, a folder with "
            "open_clip_config.json, or hf-hub:organisation/name"
        )
    return found


@cache
def config_files() -> dict[str, Path]:
    """Model name -> configuration file of all models of open_clip, without importing it, which takes seconds."""
    return {path.stem: path for path in package_folder().glob("model_configs/*.json")}


def model_names() -> list[str]:
    """Names of open_clip's models."""
    return sorted(config_files())


@cache
def model_config(model: str) -> ModelConfiguration:
    """open_clip's configuration of a model name.

    Raises:
        UserError: this version of open_clip knows keys that are unknown here.
    """
    return read_configuration(config_files()[model])


@cache
def supported_models() -> tuple[str, ...]:
    """Names of open_clip's models that can be used here."""
    return tuple(name for name in model_names() if not model_config(name).unsupported)


def refuse_unsupported(model: str) -> None:
    """Raise a UserError that says what is unusual about a model of open_clip, and names the nearest supported one."""
    reason = model_config(model).unsupported
    if reason:
        raise UserError(
            f"backbone '{model}' is not supported: {reason}. {SUPPORTED}; the nearest is '{nearest_supported(model)}'"
        )


def nearest_supported(model: str) -> str:
    """The supported model whose name an unsupported one contains; for all others, the one that most papers use."""
    contained = max((name for name in supported_models() if name in model), key=len, default="ViT-B-16-quickgelu")
    with_quick_gelu = f"{contained}-quickgelu"
    return with_quick_gelu if model.endswith("-quickgelu") and with_quick_gelu in supported_models() else contained


def blocks_of(backbone: Backbone) -> int | None:
    """Number of blocks that both towers have, without reading weights; None if only the weights determine it.

    Raises:
        UserError: its configuration is damaged.
    """
    found = configuration_of(backbone)
    return found.blocks if found else None


def configuration_of(backbone: Backbone) -> ModelConfiguration | None:
    """The configuration of a backbone, without reading weights; None if only the weights determine it.

    Raises:
        UserError: it is damaged.
    """
    if backbone.model:
        return model_config(backbone.model)
    return read_configuration(backbone.configuration) if backbone.configuration else None
