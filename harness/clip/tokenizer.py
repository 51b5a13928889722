"""The tokenizer of a backbone: CLIP's with its vocabulary, or one from the files of another model."""

import gzip
from functools import partial
from pathlib import Path

from harness.clip.backbones import Backbone, existing_file
from harness.clip.configuration import ModelConfiguration, TextConfiguration
from harness.clip.hub_tokenizer import load_tokenizer, stand_in_tokenizer
from harness.clip.open_clip_files import simple_tokenizer
from harness.clip.prompts import Tokenizer
from harness.clip.tokenizer_files import find_tokenizer
from harness.errors import UserError, first_line


def tokenizer_of(config: ModelConfiguration, backbone: Backbone, stand_in: bool = False) -> Tokenizer:
    """The tokenizer of a backbone, from files on this machine.

    Args:
        config: of its model.
        backbone: whose files are searched.
        stand_in: whether its weights are random or of no matter, so that texts need not get the ids of the model: a
            vocabulary that does not come with open_clip is then replaced by CLIP's.

    Raises:
        UserError: the tokenizer is not on this machine, or cannot be read.
    """
    text = config.text_cfg
    if text.hf_tokenizer_name is None:
        return local_tokenizer(text, backbone.configuration)
    if stand_in:
        return stand_in_tokenizer(text)
    files = find_tokenizer(backbone.checkpoint, text.hf_tokenizer_name)
    if files is None:
        beside = "put its tokenizer.json beside the weights, or " if backbone.checkpoint else ""
        raise UserError(
            f"the tokenizer of backbone '{backbone.text}' is not on this machine: {beside}"
            f"download it once (hf download {text.hf_tokenizer_name} tokenizer.json tokenizer_config.json)"
        )
    return load_tokenizer(files, text)


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
        tokenizer = simple_tokenizer()(**{key: value for key, value in options.items() if value is not None})
    except (OSError, EOFError, ValueError, LookupError, gzip.BadGzipFile) as error:
        raise UserError(f"{where} cannot be read as a vocabulary of CLIP: {first_line(error)}") from error
    if tokenizer.vocab_size > text.vocab_size:
        raise UserError(f"{where} has {tokenizer.vocab_size} tokens, and text_cfg.vocab_size is {text.vocab_size}")
    return partial(tokenizer, context_length=text.context_length)
