"""Where the files of a tokenizer other than CLIP's lie: beside the weights, or in the hub's cache."""

from dataclasses import dataclass
from pathlib import Path

from harness.clip.snapshots import cached_file
from harness.clip.strict_json import MIB, read_json

TOKENIZERS_FILE = "tokenizer.json"
SENTENCEPIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.model")
SPECIAL_TOKENS_FILES = ("tokenizer_config.json", "special_tokens_map.json")
# The largest such file names some thousand added tokens.
MOST_BYTES = 16 * MIB


@dataclass(frozen=True)
class TokenizerFiles:
    """The files of a tokenizer.

    Attributes:
        vocabulary: tokenizer.json of the library tokenizers, or the model of sentencepiece.
        special_tokens: files that name the special tokens.
    """

    vocabulary: Path
    special_tokens: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.vocabulary, *self.special_tokens)

    def special_token(self, key: str) -> str | None:
        """What a file calls a special token, such as `eos_token`; None if none does.

        Raises:
            UserError: a file is no object of JSON.
        """
        for path in self.special_tokens:
            expected = "an object with eos_token and pad_token"
            value = read_json(path, f"tokenizer '{path}'", expected, MOST_BYTES).get(key)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                return value
        return None


def tokenizer_beside(checkpoint: Path) -> TokenizerFiles | None:
    """The tokenizer in the folder of a checkpoint, if there is one."""
    folder = checkpoint.parent
    vocabulary = [folder / name for name in (TOKENIZERS_FILE, *SENTENCEPIECE_FILES)]
    special = tuple(folder / name for name in SPECIAL_TOKENS_FILES if (folder / name).is_file())
    return next((TokenizerFiles(path, special) for path in vocabulary if path.is_file()), None)


def cached_tokenizer(repository: str) -> TokenizerFiles | None:
    """The tokenizer of a repository in the cache of the hub on this machine, if it is there."""
    vocabulary = cached_file(repository, TOKENIZERS_FILE)
    if vocabulary is None:
        return None
    special = (cached_file(repository, name) for name in SPECIAL_TOKENS_FILES)
    return TokenizerFiles(vocabulary, tuple(path for path in special if path))


def find_tokenizer(checkpoint: Path | None, repository: str) -> TokenizerFiles | None:
    """The tokenizer beside a checkpoint, or else that of a repository in the hub's cache; None if there is none."""
    beside = tokenizer_beside(checkpoint) if checkpoint else None
    return beside or cached_tokenizer(repository)


def fetch_tokenizer(repository: str) -> None:
    """Download the tokenizer of a repository of the hub, unless it is in the cache on this machine.

    Raises:
        Exception: of the hub's client, if it cannot be downloaded.
    """
    if cached_tokenizer(repository):
        return
    # Not at the top: only some backbones need it.
    from huggingface_hub import hf_hub_download

    for name in (SPECIAL_TOKENS_FILES[0], TOKENIZERS_FILE):
        hf_hub_download(repository, name)
