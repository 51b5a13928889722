"""Tokenizers of models that do not use CLIP's: from the files of the hub, by the libraries that these are written for.

Texts are prepared as open_clip prepares them: cleaned, encoded, cut so that the end-of-text token is the last one, and
padded to the context. SigLIP's texts have no start of text.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.clip.configuration import TextConfiguration
from harness.clip.open_clip_files import open_clip_module, simple_tokenizer
from harness.clip.tokenizer_files import TOKENIZERS_FILE, TokenizerFiles
from harness.errors import UserError, first_line

Encode = Callable[[list[str]], list[list[int]]]
INSTALL = "pip install 'skipbench[siglip]'"
# Names of the end-of-text token in the vocabularies of SigLIP 2 (of Gemma) and of SigLIP (of T5).
GEMMA_END, T5_END = "<eos>", "</s>"
GEMMA_PADDING = "<pad>"
# What stands in for an unknown vocabulary gives the ids 0 and 1 to special tokens, as those of SigLIP do.
SPECIAL_IDS = 2
END_OF_STAND_IN = 1


@dataclass(frozen=True)
class HubTokenizer:
    """Texts -> ids (P, context length), each with an end-of-text token, padded.

    Attributes:
        encode: texts -> ids of each, without special tokens.
        clean: what is done to a text before.
        context_length: of the text tower.
        vocab_size: number of ids that the text tower knows.
        end_id: id of the end-of-text token.
        pad_id: id of what follows it.
    """

    encode: Encode
    clean: Callable[[str], str]
    context_length: int
    vocab_size: int
    end_id: int
    pad_id: int

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        length = context_length or self.context_length
        rows = torch.full((len(texts), length), self.pad_id)
        for row, ids in zip(rows, self.encode([self.clean(text) for text in texts]), strict=True):
            filled = [*ids[: length - 1], self.end_id]
            row[: len(filled)] = torch.tensor(filled)
        if rows.numel() and (largest := int(rows.max())) >= self.vocab_size:
            raise UserError(
                f"the tokenizer gives the id {largest}, and text_cfg.vocab_size is {self.vocab_size}: "
                "the tokenizer is that of another model"
            )
        return rows


def load_tokenizer(files: TokenizerFiles, text: TextConfiguration) -> HubTokenizer:
    """Load the tokenizer of a text tower.

    Args:
        files: of the tokenizer.
        text: the configuration of the tower.

    Raises:
        UserError: the library that reads the vocabulary is not installed, or a file is damaged.
    """
    load = _load_tokenizers if files.vocabulary.name == TOKENIZERS_FILE else _load_sentencepiece
    encode, id_of = load(files)
    named = files.special_token("eos_token")
    end = next((name for name in (named, GEMMA_END, T5_END) if name and id_of(name) is not None), None)
    if end is None:
        raise UserError(f"tokenizer '{files.vocabulary}' has no end-of-text token, '{GEMMA_END}' or '{T5_END}'")
    # The files of SigLIP pad with the end-of-text token, those of SigLIP 2 with a token of its own.
    padding = files.special_token("pad_token") or (GEMMA_PADDING if end == GEMMA_END else end)
    end_id, pad_id = id_of(end), id_of(padding)
    if end_id is None or pad_id is None:
        raise UserError(f"tokenizer '{files.vocabulary}' has no padding token '{padding}', which its files name")
    return HubTokenizer(encode, clean_of(text), text.context_length, text.vocab_size, end_id, pad_id)


def clean_of(text: TextConfiguration) -> Callable[[str], str]:
    """What open_clip does to a text before a tokenizer of the hub gets it."""
    get_clean_fn = open_clip_module("tokenizer").get_clean_fn
    clean: Callable[[str], str] = get_clean_fn((text.tokenizer_kwargs and text.tokenizer_kwargs.clean) or "whitespace")
    return clean


def _load_tokenizers(files: TokenizerFiles) -> tuple[Encode, Callable[[str], int | None]]:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError(f"tokenizer '{files.vocabulary}' needs the library tokenizers: {INSTALL}") from None
    try:
        tokenizer = Tokenizer.from_file(str(files.vocabulary))
    except Exception as error:  # the library raises nothing more precise
        raise UserError(f"tokenizer '{files.vocabulary}' cannot be read: {first_line(error)}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]

    return encode, tokenizer.token_to_id


def _load_sentencepiece(files: TokenizerFiles) -> tuple[Encode, Callable[[str], int | None]]:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise UserError(f"tokenizer '{files.vocabulary}' needs the library sentencepiece: {INSTALL}") from None
    try:
        model = SentencePieceProcessor(model_file=str(files.vocabulary))
    except (OSError, RuntimeError) as error:
        raise UserError(f"tokenizer '{files.vocabulary}' cannot be read: {first_line(error)}") from None

    def id_of(token: str) -> int | None:
        found: int = model.piece_to_id(token)
        return found if model.id_to_piece(found) == token else None

    return model.encode, id_of


def stand_in_tokenizer(text: TextConfiguration) -> HubTokenizer:
    """A tokenizer for random weights, whose vocabulary nobody knows: CLIP's, folded into the ids of a text tower.

    Costs are those of the real one, since every text takes the whole context.
    """
    clip, free = simple_tokenizer()(), max(1, text.vocab_size - SPECIAL_IDS)

    def encode(texts: list[str]) -> list[list[int]]:
        return [[SPECIAL_IDS + number % free for number in clip.encode(text)] for text in texts]

    length, size = text.context_length, text.vocab_size
    return HubTokenizer(encode, clean_of(text), length, size, END_OF_STAND_IN, END_OF_STAND_IN)
