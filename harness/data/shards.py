"""WebDataset shards: tar files in which the files of one example have one name and different endings.

A picture is read at its place in the tar file; nothing is unpacked. Only the headers of a tar file are read to know
what is in it, once per process.
"""

import json
import os
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.filesystem import SUFFIXES
from harness.data.picture_files import check_size, open_regular
from harness.data.text_files import parse_json, short
from harness.errors import UserError, first_line
from harness.machine.file_kinds import kind_of_file

OPEN_SHARDS = 256
"""How many tar files' contents a process remembers."""
LABELS = ("cls", "json", "txt")
"""Endings of the files that say the class of an example, the first that is there counts."""
KEYS = ("label", "cls", "class", "class_name", "classname")
"""Where a .json says it, if no other key is named; the first that is there counts."""
MOST_PADDING = 1 << 20
"""Bytes behind the last file of a tar file that are looked at; those that write it fill up 10 KiB or less."""
MOST_LABEL = 1 << 20
"""Bytes of the largest file that is read as a label."""


class Member(NamedTuple):
    """A file in a tar file: where it begins there, and its size in bytes."""

    offset: int
    size: int


class Example(NamedTuple):
    """One labelled picture of a shard.

    Attributes:
        member: name of the picture in the tar file.
        label: number or name of its class; None where it has none.
    """

    member: str
    label: int | str | None


@lru_cache(OPEN_SHARDS)
def _index(path: Path, state: tuple[int, ...], process: int) -> dict[str, Member]:
    found: dict[str, Member] = {}
    end = 0
    with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:") as opened:
        for item in opened:
            size = item.size if item.isreg() else 0
            end = item.offset_data + (size + tarfile.BLOCKSIZE - 1) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
            if item.isreg():
                name = item.name.removeprefix("./")
                if name in found:
                    raise ValueError(f"the tar file has several members '{name}'")
                found[name] = Member(item.offset_data, item.size)
        # Whatever is read of a tar file says nothing of what was cut off behind it, or of another one behind its end.
        file.seek(end)
        behind = file.read(MOST_PADDING)
    if not behind:
        raise ValueError("it ends without the mark of its end, as a download that stopped does")
    if behind.strip(b"\0"):
        raise ValueError("it goes on behind the mark of its end, as tar files that were put together do")
    return found


def shard_index(path: Path) -> dict[str, Member]:
    """Name -> place of the regular files in a tar file.

    Raises:
        Exception: whatever is raised for what is no tar file.
    """
    found = os.stat(path)
    return _index(path, (found.st_ino, found.st_size, found.st_mtime_ns), os.getpid())


def read_shard_member(path: Path, name: str) -> bytes:
    """The content of a file in a tar file.

    Raises:
        FileNotFoundError: there is no such file in it.
        ValueError: it is empty, larger than any picture, or the tar file ends before it.
    """
    member = shard_index(path).get(name)
    if member is None:
        raise FileNotFoundError(name)
    check_size(member.size)
    return read_at(path, member)


def read_at(path: Path, member: Member) -> bytes:
    """The bytes at a place in a file.

    Raises:
        ValueError: the file ends before.
    """
    with open_regular(path) as file:
        file.seek(member.offset)
        data = file.read(member.size)
    if len(data) < member.size:
        raise ValueError("the tar file ends in the middle of it")
    return data


def examples(path: Path, key: str | None) -> list[Example]:
    """The pictures of a shard in their order, with their labels.

    Args:
        path: of the tar file.
        key: where a .json says the class; None: the first of KEYS that is there.

    Raises:
        UserError: it cannot be read, has no pictures, or an example has two pictures or no label.
    """
    try:
        index = shard_index(path)
    except Exception as error:  # what damaged tar files raise is of any kind
        why = f": {kind}" if (kind := kind_of_file(path)) else f" ({first_line(error)}): get it again, or write it anew"
        raise UserError(f"'{path}' cannot be read as a tar file{why}") from None
    by_name: dict[str, dict[str, str]] = {}
    for name in index:
        folder, _, file = name.rpartition("/")
        stem, _, ending = file.partition(".")
        if stem and ending:
            parts = by_name.setdefault(f"{folder}/{stem}" if folder else stem, {})
            parts[ending.lower()] = name
    found = []
    for stem, parts in by_name.items():
        pictures = [name for ending, name in parts.items() if ending.rpartition(".")[2] in SUFFIXES]
        if len(pictures) > 1:
            raise UserError(f"'{path}' has several pictures of example '{stem}', such as '{pictures[1]}'")
        if pictures:
            found.append(Example(pictures[0], read_label(path, index, stem, parts, key)))
    if not found:
        raise UserError(f"'{path}' has no pictures: a shard has files such as 0001.jpg and 0001.cls")
    return found


def read_label(path: Path, index: dict[str, Member], stem: str, parts: dict[str, str], key: str | None) -> int | str:
    """The label of an example.

    Raises:
        UserError: it has none, or it cannot be read.
    """
    endings = ("json",) if key else LABELS
    ending = next((ending for ending in endings if ending in parts), None)
    if ending is None:
        raise UserError(f"'{path}' has no .{', .'.join(endings)} with the class of example '{stem}'")
    name = parts[ending]
    try:
        if index[name].size > MOST_LABEL:
            raise ValueError("it is too large")
        text = read_at(path, index[name]).decode("utf-8").strip()
        return as_label(json_label(parse_json(text), key) if ending == "json" else text)
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}': '{name}' names no class ({first_line(error)})") from None


def json_label(content: Any, key: str | None) -> Any:
    """What a .json says of the class of its example.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(content, dict):
        return content
    found = next((name for name in ((key,) if key else KEYS) if name in content), None)
    if found is None:
        there = ", ".join(sorted(content)[:8]) or "none"
        raise ValueError(f"it has no key {key or ' or '.join(KEYS[:3])}; its keys are {there}: choose with :label=KEY")
    return content[found]


def as_label(value: Any) -> int | str:
    """A label as number or name.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"{short(value)} is no class" if value != "" else "it is empty")
    if isinstance(value, str) and value.lstrip("-").isdecimal() and value.isascii():
        return int(value)
    return value


def class_list(path: Path, text: str) -> list[str]:
    """The class names in a JSON text: a list in label order, or an object {label: name}.

    Raises:
        UserError: it is neither.
    """
    try:
        content = parse_json(text)
        if isinstance(content, dict):
            content = [content[str(label)] for label in range(len(content))]
        if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
            raise ValueError("it is no list of names")
    except (KeyError, ValueError) as error:
        why = f"label {error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise UserError(
            f"'{path}' holds no class names in label order ({why}): write {json.dumps(['cat', 'dog'])}"
        ) from None
    return content
