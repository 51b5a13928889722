"""Which files of a data set in a hub's form belong to which configuration and split, told from their names."""

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from harness.data.filesystem import listed
from harness.data.text_files import read_text, why_unreadable
from harness.errors import UserError, first_line, nearest

CARD = "README.md"
PACKED = (".zip", ".gz", ".tgz", ".zst", ".7z", ".rar", ".xz", ".bz2")
"""Endings of files in which others may be packed."""
KINDS = ("parquet", "arrow", "tar")
"""Endings of the files that hold pictures; the first of which there are some is read."""
USUAL = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Split -> the words that mean it in names of files and folders."""
WORDS = {word: split for split, words in USUAL.items() for word in words}
ONE_OF = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<all>\d{5})(-[0-9a-f]+)?\.\w+")
"""Names of files that say their split, their number, and how many there are."""
NUMBERED = re.compile(r"(.*?)(\d+)\.tar")
BETWEEN = re.compile(r"[^A-Za-z]+")
MOST_CARD = 16 << 20
"""Bytes of the largest README.md that is read; it may hold the names of thousands of classes."""


class Config(NamedTuple):
    """One configuration that a README.md describes.

    Attributes:
        name: of the configuration.
        patterns: split -> patterns of the names of its files.
        default: whether it is meant where none is named.
    """

    name: str
    patterns: Mapping[str, tuple[str, ...]]
    default: bool = False


class Card(NamedTuple):
    """What the README.md of a data set says of its files and columns.

    Attributes:
        configs: its configurations; none if it says nothing.
        features: configuration -> its columns, as `dataset_info` lists them.
    """

    configs: tuple[Config, ...] = ()
    features: Mapping[str, Sequence[Any]] = {}


class Layout(NamedTuple):
    """The files of one configuration.

    Attributes:
        kind: parquet, arrow or tar.
        config: its name; empty where there is only one without a name.
        files: split, as the data set calls it -> paths of its files relative to the data set's folder, in order.
        remarks: what is left out, a few words each.
    """

    kind: str
    config: str
    files: Mapping[str, tuple[str, ...]]
    remarks: tuple[str, ...] = ()


def read_card(path: Path) -> Card:
    """What the YAML in front of a README.md says; nothing if there is none.

    Raises:
        UserError: it is no YAML, or no text.
    """
    try:
        text = read_text(path, MOST_CARD)
    except FileNotFoundError:
        return Card()
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read: {why_unreadable(error)}") from None
    found = re.match(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", text, re.DOTALL)
    if not found:
        return Card()
    try:
        content = yaml.safe_load(found[1])
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"the YAML in front of '{path}' cannot be read: {first_line(error)}") from None
    if not isinstance(content, dict):
        return Card()
    configs = tuple(config_of(item) for item in dicts_in(content.get("configs")) if "data_files" in item)
    infos = content.get("dataset_info")
    features = {
        str(info.get("config_name", "default")): info["features"]
        for info in dicts_in(infos if isinstance(infos, list) else [infos])
        if isinstance(info.get("features"), list)
    }
    return Card(configs, features)


def dicts_in(value: Any) -> list[dict[str, Any]]:
    """The mappings among the items of a list; none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def config_of(item: Mapping[str, Any]) -> Config:
    """A configuration as a README.md writes it: its files are a pattern, a list, or patterns by split."""
    files, folder = item["data_files"], str(item.get("data_dir", "")).strip("/")
    patterns: dict[str, list[str]] = {}
    rows = files if isinstance(files, list) else [files]
    if isinstance(files, dict):
        rows = [{"split": split, "path": path} for split, path in files.items()]
    for row in rows:
        split, path = (str(row.get("split", "train")), row.get("path")) if isinstance(row, dict) else ("train", row)
        for pattern in path if isinstance(path, list) else [path]:
            patterns.setdefault(split, []).append(os.path.normpath(os.path.join(folder, str(pattern))))
    frozen = {split: tuple(some) for split, some in patterns.items()}
    return Config(str(item.get("config_name", "default")), frozen, item.get("default") is True)


def split_of(path: str) -> str:
    """The split that a file belongs to: what its name says, otherwise what the nearest folder says, otherwise train."""
    parts = PurePosixPath(path).parts
    if found := ONE_OF.fullmatch(parts[-1]):
        if (name := found["split"]) in WORDS:
            return WORDS[name]
        # `data-00000-of-00002.arrow` is how a folder that was saved to disk calls the files of every split.
        words = [word for word in BETWEEN.split(name.lower()) if word in WORDS]
        if name != "data":
            return WORDS[words[-1]] if words and not name.startswith("partial") else name
    elif words := [word for word in BETWEEN.split(PurePosixPath(parts[-1]).stem.lower()) if word in WORDS]:
        return WORDS[words[0]]
    for folder in reversed(parts[:-1]):
        if folder.lower() in WORDS:
            return WORDS[folder.lower()]
        if folder.startswith("partial-"):  # the hub's own excerpts of data sets that are too large for it
            return folder
    return "train"


def config_in(path: str) -> str:
    """The configuration that a file belongs to: the first folder that is neither `data` nor a split."""
    folders = [folder for folder in PurePosixPath(path).parts[:-1] if folder != "data"]
    return next((folder for folder in folders if folder.lower() not in WORDS and "partial-" not in folder), "")


def find_layout(files: Iterable[str], card: Card, config: str | None, place: str) -> Layout:
    """The files of one configuration of a data set.

    Args:
        files: paths of all its files, relative to its folder.
        card: what its README.md says.
        config: the configuration that is asked for; None if none is.
        place: the data set's name or folder, for messages.

    Raises:
        UserError: there are no files that can be read, or it has several configurations and none was chosen.
    """
    files = sorted(files)
    of_kind = {kind: [file for file in files if is_data(file, kind)] for kind in KINDS}
    kind = next((kind for kind in KINDS if of_kind[kind]), None)
    if kind is None:
        there = f"it has {listed(files, 4)}" if files else "it is empty"
        packed = next((file for file in files if file.lower().endswith(PACKED)), "")
        way = f"unpack '{packed}' if they are in it" if packed else "folder:PATH reads class folders"
        raise UserError(f"'{place}' has no .parquet, .arrow or .tar files ({there}): {way}")
    if card.configs:
        by_config = {item.name: described_files(item, of_kind[kind]) for item in card.configs}
        by_config = {name: splits for name, splits in by_config.items() if splits}
        default = next((item.name for item in card.configs if item.default), None)
    else:
        by_config, default = {}, None
    if not by_config:
        for file in of_kind[kind]:
            by_config.setdefault(config_in(file), {}).setdefault(split_of(file), []).append(file)
    chosen = choose_config(list(by_config), default, config, place)
    return Layout(kind, chosen, {split: tuple(some) for split, some in by_config[chosen].items()}, unread(files, kind))


def unread(files: Sequence[str], kind: str) -> tuple[str, ...]:
    """Remarks on files that may hold pictures too, and that are left out because of their kind."""
    endings = tuple(f".{other}" for other in KINDS if other != kind) + PACKED
    others = [file for file in files if file.lower().endswith(endings) and not is_own(file)]
    return (f"left out: {len(others)} files that are not .{kind}, such as {others[0]}",) if others else ()


def is_data(file: str, kind: str) -> bool:
    """Whether a file holds pictures: files that `datasets` keeps for itself do not."""
    return file.endswith(f".{kind}") and not is_own(file)


def is_own(file: str) -> bool:
    """Whether `datasets` keeps a file for itself."""
    return file.rpartition("/")[2].startswith(("cache-", ".", "tmp"))


def described_files(config: Config, files: Sequence[str]) -> dict[str, list[str]]:
    """Split -> files whose names fit the patterns of a README.md; usual splits under their first name."""
    found: dict[str, list[str]] = {}
    for split, patterns in config.patterns.items():
        fitting = [file for file in files if any(fnmatch.fnmatchcase(file, pattern) for pattern in patterns)]
        if fitting:
            found.setdefault(WORDS.get(split.lower(), split), []).extend(fitting)
    return found


def choose_config(known: Sequence[str], default: str | None, asked: str | None, place: str) -> str:
    """The configuration to read.

    Raises:
        UserError: it is unknown, or there are several and none was chosen.
    """
    named = [name for name in known if name]
    if asked is not None:
        if asked not in known:
            has = f"the configurations {listed(named, 12)}" if named else "no configurations"
            raise UserError(f"'{place}' has no configuration '{asked}', it has {has}.{nearest(asked, named)}")
        return asked
    if len(known) == 1:
        return known[0]
    for usual in (default, "default"):
        if usual in known and usual is not None:
            return usual
    raise UserError(
        f"'{place}' has several configurations, {listed(sorted(known), 12)}: name one, such as ':{(named or known)[0]}'"
    )


def missing_files(layout: Layout) -> list[str]:
    """Files that names such as `train-00000-of-00003.parquet` say there must be, and that are not there."""
    gone = []
    for files in layout.files.values():
        groups: dict[tuple[str, str], set[int]] = {}
        for file in files:
            if found := ONE_OF.fullmatch(file.rpartition("/")[2]):
                key = (f"{file.rpartition('/')[0]}/{found['split']}".lstrip("/"), found["all"])
                groups.setdefault(key, set()).add(int(found["number"]))
        for (name, number), there in groups.items():
            absent = [index for index in range(int(number)) if index not in there]
            gone += [f"{name}-{index:05d}-of-{number}.{layout.kind}" for index in absent]
    return gone


def gaps(layout: Layout) -> tuple[str, ...]:
    """Remarks on shards whose numbers leave some out: their names do not tell how many there must be."""
    found: list[str] = []
    for split, files in layout.files.items():
        numbers: dict[tuple[str, int], set[int]] = {}
        for file in files if layout.kind == "tar" else ():
            if numbered := NUMBERED.fullmatch(file):
                numbers.setdefault((numbered[1], len(numbered[2])), set()).add(int(numbered[2]))
        for (start, width), there in numbers.items():
            between = range(min(there), max(there))
            if absent := next((number for number in between if number not in there), None):
                count = len(between) + 1 - len(there)
                found.append(f"split {split} lacks {count} of its numbers, such as {start}{absent:0{width}d}.tar")
    return tuple(found)
