"""What stands in the files that a run names by their paths: it decides the result, the paths do not."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.clip.backbones import bundled, files_of, parse_backbone
from harness.clip.shards import is_index, shards_of
from harness.data.datasets import own_content
from harness.data.own_names import PREFIXES, is_own
from harness.data.sample_forms import index_files
from harness.data.text_files import why_unreadable
from harness.errors import UserError
from harness.experiment.descriptions import is_description_file
from harness.machine.digests import file_digest

BY_CONTENT = "sha256"
CHANGED_MEANWHILE = (
    "the files of its data set, prompts or backbone were changed meanwhile: start the same command again"
)


def index_content(path: str | Path) -> str:
    """SHA-256 of the index file of a k-shot sample; of both files where training and validation images have their own.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return together([file_digest(file) for file in index_files(Path(path))])
    except OSError as error:
        raise UserError(f"data.index='{path}' cannot be read: {error.strerror}") from None


def together(digests: Sequence[str]) -> str:
    """One digest of the content of several files, in their order; of a single one its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def templates_content(key: str, templates: Any) -> Any:
    """Prompt templates as they are, and of a file of descriptions its SHA-256.

    Args:
        key: of the setting that names them.
        templates: what it says.

    Raises:
        UserError: it cannot be read.
    """
    if not is_description_file(templates):
        return templates
    try:
        return f"{BY_CONTENT}={file_digest(Path(templates))}"
    except (OSError, ValueError) as error:
        raise UserError(f"{key}='{templates}' cannot be read: {why_unreadable(error)}") from None


def backbone_content(text: str) -> str:
    """A backbone as far as it decides a result: its name, or for local files the model and the files' digest.

    Raises:
        UserError: a file cannot be read.
    """
    if text in bundled():
        return text
    model, files = files_of(text)
    if not files:
        return text
    try:
        whole = together([file_digest(file) for file in files])
    except OSError as error:
        raise UserError(f"backbone '{text}' cannot be read: {error.strerror}") from None
    return f"{model}:{BY_CONTENT}={whole}" if model else f"{BY_CONTENT}={whole}"


def weights_digest(text: str) -> str | None:
    """SHA-256 of a backbone's checkpoint file, or of the digests of several; None for weights without a file.

    Args:
        text: a backbone.

    Raises:
        UserError: unknown backbone, or a missing file.
    """
    checkpoint = parse_backbone(text).checkpoint
    if checkpoint is None or not is_index(checkpoint):
        return file_digest(checkpoint) if checkpoint else None
    digests = [file_digest(path) for path in sorted(shards_of(checkpoint))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def weights_content(option: str, path: str) -> str:
    """A file that an option of a method names, as far as it decides a result: the digest of its content.

    Args:
        option: such as taskres.enhanced_base, for the message.
        path: its value.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return f"{BY_CONTENT}={file_digest(Path(path))}"
    except OSError as error:
        raise UserError(f"{option}='{path}' cannot be read: {error.strerror}") from None


@cache
def dataset_content(name: str) -> str:
    """A data set as far as it decides a result: its name, or the digest of data of the user's own.

    A folder is looked at once a command: listing many files takes its time.

    Raises:
        UserError: the folder cannot be read.
    """
    if not is_own(name):
        return name
    prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    text = json.dumps(own_content(name))
    return f"{prefix}{BY_CONTENT}={hashlib.sha256(text.encode()).hexdigest()}"


def look_anew() -> None:
    """Look at folders anew at the next question."""
    dataset_content.cache_clear()
