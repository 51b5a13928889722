"""Models of the Hugging Face hub: their files in the hub's cache on this machine, downloaded when they are not there.

What lies in the cache is used as it is, without asking the hub: the same command gives the same weights tomorrow, and
works without a network. The id of a run follows from the files, so a newer version on the hub is another run.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from harness.clip.configuration import supported_configuration
from harness.clip.shards import is_index, named_in, shards_of
from harness.clip.snapshots import CONFIGURATION, WEIGHTS, weights_in
from harness.clip.tokenizer_files import SENTENCEPIECE_FILES, TOKENIZERS_FILE, fetch_tokenizer
from harness.clip.transformers_configuration import CONFIGURATION as OF_TRANSFORMERS
from harness.clip.transformers_configuration import PREPROCESSING, PROCESSOR
from harness.errors import UserError, first_line

# Beside configuration and weights: preprocessing, and the vocabularies by which a tokenizer is known.
BESIDE = (
    PREPROCESSING,
    PROCESSOR,
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    *SENTENCEPIECE_FILES,
)
# Seconds until a hub that does not answer is given up.
PATIENCE = 15


def hub_folder(place: str) -> Path:
    """The folder of a model of the hub, from the cache if it is there, otherwise downloaded.

    Args:
        place: organisation/name, or organisation/name@revision.

    Raises:
        UserError: it is in neither, cannot be downloaded, or is no CLIP that is supported, which is found out before
            its weights are downloaded.
    """
    return cached_folder(place) or downloaded_folder(place)


def cached_folder(place: str) -> Path | None:
    """The folder of a model in the cache of the hub on this machine; None if its files are not all there.

    Args:
        place: organisation/name, or organisation/name@revision.

    Raises:
        UserError: it is no name on the hub.
    """
    # Not at the top: only this notation needs it.
    from huggingface_hub import try_to_load_from_cache

    repository, revision = parts_of(place)
    try:
        found = {
            name: try_to_load_from_cache(repository, name, revision=revision)
            for name in (CONFIGURATION, OF_TRANSFORMERS, PREPROCESSING, PROCESSOR)
        }
    except ValueError as error:
        raise UserError(f"'{repository}' is no name on the hub: write hf-hub:organisation/name") from error
    path = next((found[name] for name in (CONFIGURATION, OF_TRANSFORMERS) if isinstance(found[name], str)), None)
    if not isinstance(path, str):
        return None
    # transformers keeps the preprocessing of a model that was loaded without its processor on the hub; that a model
    # has none is known by something that is neither a path nor None.
    if Path(path).name == OF_TRANSFORMERS and found[PREPROCESSING] is None and found[PROCESSOR] is None:
        return None
    try:
        weights = weights_in(Path(path).parent)
        if is_index(weights):
            shards_of(weights)
    except UserError:  # the configuration alone was downloaded, or not all of the weights
        return None
    return Path(path).parent


def parts_of(place: str) -> tuple[str, str | None]:
    """Repository and revision."""
    repository, _, revision = place.partition("@")
    return repository, revision or None


@cache
def downloaded_folder(place: str) -> Path:
    """Download the files of a model into the cache of the hub.

    Args:
        place: organisation/name, or organisation/name@revision.

    Returns:
        The folder that they are in.

    Raises:
        UserError: the hub cannot be reached, does not have it or does not give it; or it is no CLIP that is supported.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository, revision = parts_of(place)

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(repository, name, revision=revision))

    try:
        info = HfApi().model_info(repository, revision=revision, timeout=PATIENCE)
        names = [item.rfilename for item in info.siblings or ()]
        # The configuration comes first: a model that is not supported is refused before its weights are downloaded.
        for name in filter(names.__contains__, BESIDE):
            fetch(name)
        if PREPROCESSING not in names and PROCESSOR not in names:
            with suppress(EntryNotFoundError):
                fetch(PREPROCESSING)  # keeps in the cache that there is none
        path = fetch(one_of((CONFIGURATION, OF_TRANSFORMERS), names, place))
        text = supported_configuration(path).text_cfg
        if text.tokenizer_kwargs and text.tokenizer_kwargs.bpe_path in names:
            fetch(text.tokenizer_kwargs.bpe_path)
        if text.hf_tokenizer_name and not {TOKENIZERS_FILE, *SENTENCEPIECE_FILES} & set(names):
            fetch_tokenizer(text.hf_tokenizer_name)
        weights = fetch(one_of(WEIGHTS, names, place))
        for shard in named_in(weights) if is_index(weights) else ():
            fetch(shard.name)
    except UserError:
        raise
    except Exception as error:  # network, disk and hub errors come in many types
        raise UserError(why_not(place, error)) from error
    return path.parent


def one_of(wanted: Sequence[str], names: Sequence[str], place: str) -> str:
    """The first of the wanted names that a model on the hub has.

    Raises:
        UserError: it has none of them.
    """
    if found := next((name for name in wanted if name in names), None):
        return found
    raise UserError(
        f"'{place}' on the hub has none of the files {', '.join(wanted)}: it is no CLIP of open_clip or transformers"
    )


def why_not(place: str, error: Exception) -> str:
    """Why a model cannot be downloaded, and what to do, in one line."""
    from huggingface_hub import errors

    repository, revision = parts_of(place)
    if isinstance(error, errors.GatedRepoError):
        return f"'{repository}' on the hub asks for its terms to be accepted: do so there, and log in (hf auth login)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the hub has no model '{repository}', or it is private: check the name, or log in (hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"'{repository}' on the hub has no revision '{revision}'"
    return (
        f"'{place}' is not in the hub's cache on this machine and cannot be downloaded ({type(error).__name__}: "
        f"{first_line(error)}): connect to the network once, or give its folder, BACKBONE=/path/to/folder"
    )
