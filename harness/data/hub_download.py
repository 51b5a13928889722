"""Data sets of the Hugging Face hub: from a name to a folder of the hub's own cache, complete, checked and pinned.

Which commit a name means is asked of the hub once and remembered beside other things in SkipBench's cache folder. From
then on the name means that commit on this machine, with or without a network, until `:revision=` names another or the
files are removed.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.data.hub_known import known_sets
from harness.data.hub_layout import CARD, find_layout, missing_files, read_card
from harness.data.own_names import HubName
from harness.data.table_names import FILES
from harness.errors import UserError, first_line, nearest
from harness.machine.digests import cache_folder, file_digest

MAIN, CONVERTED = "main", "refs/convert/parquet"
"""The branch that is meant where none is named, and where the hub keeps its own parquet files of other forms."""
SMALL_FILES = ("dataset_info.json", "dataset_dict.json", "state.json", *FILES)
"""Names of files that are needed to read others."""
COMMIT = re.compile("[0-9a-f]{40}")


class Snapshot(NamedTuple):
    """A data set of the hub on this machine: its folder, and the commit that it is of."""

    folder: Path
    commit: str


class Pinned(BaseModel):
    """What is remembered of a download.

    Attributes:
        commit: that the name meant.
        folder: in the hub's cache.
        files: that were needed, with the SHA-256 that the hub has of them; empty where it has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    commit: str
    folder: str
    files: dict[str, str]


@cache
def fetch(name: HubName) -> Snapshot:
    """The folder of a data set of the hub; what is not on this machine yet is downloaded, and goes on where it stopped.

    Raises:
        UserError: there is no such data set, the hub cannot be reached, or a file is not what the hub says.
    """
    memory = cache_folder() / "hub" / f"{re.sub('[^A-Za-z0-9.-]+', '--', memory_key(name))}.json"
    pinned = remembered(memory)
    if pinned and all(os.path.exists(Path(pinned.folder) / file) for file in pinned.files):
        return Snapshot(Path(pinned.folder), pinned.commit)
    pinned = download(name)
    check_digests(name, pinned)
    remember(memory, pinned)
    return Snapshot(Path(pinned.folder), pinned.commit)


def memory_key(name: HubName) -> str:
    """What decides which files of which commit are needed, as a name of a file."""
    endpoint = os.environ.get("HF_ENDPOINT", "")
    splits = [f"{key}={value}" for key, value in name.options if key in ("train", "val", "test")]
    return " ".join([endpoint, name.place, name.of("revision") or MAIN, name.config or "", *splits])


def remembered(path: Path) -> Pinned | None:
    """What is remembered of a download, or None."""
    try:
        return Pinned.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def remember(path: Path, pinned: Pinned) -> None:
    """Remember a download. Where nothing can be written, the hub is asked again next time."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(number, "w") as file:
            file.write(pinned.model_dump_json())
        os.replace(name, path)


def download(name: HubName) -> Pinned:
    """Have all files that are needed in the hub's cache.

    Raises:
        UserError: there is no such data set, or the hub cannot be reached and the cache does not hold it either.
    """
    revision = name.of("revision") or MAIN
    try:
        with hub_errors(name):
            return download_revision(name, revision)
    except UnreachableError as error:
        found = cached_snapshot(name, revision)
        if found is None:
            if os.path.isdir(name.place):
                raise UserError(
                    f"hf:{name.place} means a data set of the hub: of the folder here write hf:./{name.place}"
                ) from None
            raise UserError(
                f"data set '{name.place}' is not in the cache of the hub on this machine, and the hub cannot be "
                f"reached ({error}): go online once, or copy its files and name their folder as hf:/path"
            ) from None
        return found


class UnreachableError(Exception):
    """The hub cannot be asked."""


def download_revision(name: HubName, revision: str) -> Pinned:
    """The same for a branch, tag or commit, with the errors of the hub's client."""
    from huggingface_hub import HfApi, hf_hub_download

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    info = api.dataset_info(name.place, revision=revision, files_metadata=True, timeout=20)
    digests = {item.rfilename: item.lfs.sha256 if item.lfs else "" for item in info.siblings or ()}
    if not any(file.endswith((".parquet", ".arrow", ".tar")) for file in digests) and revision == MAIN:
        from huggingface_hub.errors import RevisionNotFoundError

        with suppress(RevisionNotFoundError):
            return download_revision(name, CONVERTED)
    commit = str(info.sha)

    def get(file: str) -> Path:
        return Path(
            hf_hub_download(
                name.place, file, repo_type="dataset", revision=commit, endpoint=os.environ.get("HF_ENDPOINT")
            )
        )

    card = read_card(get(CARD) if CARD in digests else Path("no card"))
    layout = find_layout(digests, card, name.config, name.place)
    splits = needed_splits(list(layout.files), [value for key, value in name.options if key != "revision"])
    data = [file for split in splits for file in layout.files[split]]
    small = [file for file in digests if file.rpartition("/")[2] in SMALL_FILES]
    wanted = [*([CARD] if CARD in digests else []), *small, *data]
    for file in wanted:
        folder = Path(str(get(file)).removesuffix(file.replace("/", os.sep)))
    return Pinned(commit=commit, folder=str(folder), files={file: digests[file] for file in wanted})


def needed_splits(known: Sequence[str], named: Sequence[str]) -> list[str]:
    """The splits whose files are downloaded: the usual ones, and those that options name."""
    return [split for split in known if split in ("train", "validation", "test") or split in named] or list(known)


def check_digests(name: HubName, pinned: Pinned) -> None:
    """Raise a UserError if a file is not the one that the hub has. Each file is read once, after its download."""
    for file, digest in pinned.files.items():
        path = Path(pinned.folder) / file
        try:
            found = file_digest(path) if digest else ""
        except OSError as error:
            raise UserError(f"'{path}' cannot be read: {error.strerror}") from None
        if found != digest:
            what = f"SHA-256 {found[:12]}, not {digest[:12]}"
            raise UserError(
                f"'{path}' is not the file that the hub has in '{name.place}' ({what}): "
                f"remove '{path.resolve()}' and start again"
            )


def cached_snapshot(name: HubName, revision: str) -> Pinned | None:
    """A snapshot that another program left in the hub's cache, if all that its names tell of is there; or None."""
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE) / f"datasets--{name.place.replace('/', '--')}"
    for branch in (revision, CONVERTED) if revision == MAIN else (revision,):
        try:
            commit = branch if COMMIT.fullmatch(branch) else (home / "refs" / branch).read_text().strip()
        except (OSError, ValueError):
            continue
        folder = home / "snapshots" / commit
        files = {path.relative_to(folder).as_posix(): "" for path in sorted(folder.rglob("*")) if path.is_file()}
        try:
            layout = find_layout(files, read_card(folder / CARD), name.config, name.place)
        except UserError:
            continue
        if not missing_files(layout):
            return Pinned(commit=commit, folder=str(folder), files=files)
    return None


@contextmanager
def hub_errors(name: HubName) -> Iterator[None]:
    """Turn the errors of the hub's client into lines for the user.

    Raises:
        UserError: the hub answers that it does not give the data set.
        UnreachableError: it does not answer, or may not be asked.
    """
    try:
        from huggingface_hub import constants, errors
    except ImportError:
        raise UserError(f"'{name.text}' needs huggingface_hub: pip install huggingface_hub") from None
    page = f"{(os.environ.get('HF_ENDPOINT') or constants.ENDPOINT).rstrip('/')}/datasets/{name.place}"
    try:
        yield
    except UserError:
        raise
    except errors.GatedRepoError:
        raise UserError(
            f"'{name.place}' is given on request only: ask at {page}, then log in with 'hf auth login'"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"'{name.place}' has no revision '{name.of('revision') or MAIN}': see {page}") from None
    except errors.RepositoryNotFoundError:
        local = f" A folder '{name.place}' is here: write hf:./{name.place}." if os.path.isdir(name.place) else ""
        hint = nearest(name.place, known_sets()).partition(" Known:")[0]
        raise UserError(
            f"the hub has no data set '{name.place}', or it is private and you are not logged in.{local}{hint}"
        ) from None
    except (errors.HFValidationError, errors.EntryNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise UnreachableError(first_line(error)) from None
        raise UserError(f"'{name.place}' cannot be had from the hub: {first_line(error)}") from None
    except errors.OfflineModeIsEnabled:
        raise UnreachableError("HF_HUB_OFFLINE is set") from None
    except errors.HfHubHTTPError as error:
        raise UnreachableError(short_reason(error)) from None
    except OSError as error:
        if error.errno is not None and error.filename:
            raise UserError(f"'{error.filename}' cannot be written: {error.strerror}") from None
        raise UnreachableError(first_line(error)) from None
    except Exception as error:  # what a network raises is of any kind
        raise UnreachableError(short_reason(error)) from None


def short_reason(error: Exception) -> str:
    """The first line of an error, without addresses of single files."""
    return first_line(error)[:160]
