"""Names of classes that a user gives to labels: a text file, or a list in JSON."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.data.own_names import absolute
from harness.data.shards import class_list
from harness.data.text_files import check_class_name, read_text, why_unreadable
from harness.errors import UserError, nearest

FILES = ("classnames.txt", "classnames.json")
"""Looked for in the folder of the data set where no other file is named."""


def given_names(
    folder: Path, file: str | None, names: Mapping[int | str, str], labels: Sequence[int]
) -> Mapping[int | str, str]:
    """Label -> name of the class, with the names of a file in the places of others.

    Lines are either `LABEL NAME`, as `0 tench`, or one name each in label order if labels are numbers; a `.json` file
    holds a list in label order or an object.

    Args:
        folder: of the data set.
        file: that the user names, relative to the folder or absolute; None: one of FILES in the folder, if it is there.
        names: that the data set gives, in label order; empty if it gives none.
        labels: the numbers that must have names, for data sets that give none.

    Raises:
        UserError: the file cannot be read, names a class that does not exist, or leaves one without a name.
    """
    path = find_file(folder, file)
    if path is None:
        return names
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read: {why_unreadable(error)}") from None
    lines = [line.strip() for line in text.strip().split("\n")]
    if path.suffix == ".json":
        found = class_list(path, text)
    elif any(isinstance(label, str) for label in names) or are_numbered(lines):
        return keyed_names(path, lines, names, labels)
    else:
        found = lines
    needed = len(names) or max(labels, default=-1) + 1
    if "" in found:
        raise UserError(f"'{path}' gives no name to label {found.index('')}: write one name a line")
    if len(found) < needed or (names and len(found) > needed):
        raise UserError(f"'{path}' has {len(found)} names, and '{folder}' has {needed} classes")
    for name in found:
        check_class_name(path, name)
    return dict(enumerate(found))


def find_file(folder: Path, file: str | None) -> Path | None:
    """The file of names that is named, or lies in the folder; None where there is none.

    Raises:
        UserError: the file that is named does not exist.
    """
    if file is None:
        return next((folder / name for name in FILES if os.path.lexists(folder / name)), None)
    path = folder / file if os.path.exists(folder / file) else absolute(file)
    if not os.path.lexists(path):
        raise UserError(f"names={file} does not exist, neither in '{folder}' nor as '{path}'")
    return path


def are_numbered(lines: Sequence[str]) -> bool:
    """Whether every line is a number and a name, and no number is there twice."""
    words = [line.split(maxsplit=1) for line in lines]
    return all(len(pair) == 2 and pair[0].isdecimal() for pair in words) and len({pair[0] for pair in words}) == len(
        lines
    )


def line_begins(line: str, label: str) -> bool:
    """Whether a line begins with a label and a space."""
    return line.startswith(label) and line[len(label) : len(label) + 1].isspace()


def keyed_names(
    path: Path, lines: Sequence[str], names: Mapping[int | str, str], labels: Sequence[int]
) -> dict[int | str, str]:
    """Label -> name from lines `LABEL NAME`; classes that no line names keep the name that they have.

    Raises:
        UserError: a line names a class twice or gives no name, or a class has no name.
    """
    known: dict[str, int | str] = {str(label): label for label in names or labels}
    given: dict[int | str, str] = {}
    for line in filter(None, lines):
        fitting = [text for text in known if line == text or line_begins(line, text)]
        word = max(fitting, key=len) if fitting else line.split(maxsplit=1)[0]
        name = line[len(word) :].strip()
        if not fitting and (names or not word.isdecimal()):
            raise UserError(f"'{path}': '{word}' is no class.{nearest(word, known)}")
        label = known[word] if fitting else int(word)
        if not name or label in given:
            raise UserError(f"'{path}': class '{word}' {'is named twice' if name else 'gets no name'}")
        check_class_name(path, name)
        given[label] = name
    unnamed = next((label for label in labels if label not in given and label not in names), None)
    if unnamed is not None:
        raise UserError(f"'{path}' gives no name to label {unnamed}, which pictures have")
    if not names:
        return {label: given[label] for label in sorted(given, key=int)}
    return {label: given.get(label, name) for label, name in names.items()}
