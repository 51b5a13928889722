"""Data sets in the forms of the Hugging Face hub: parquet files, folders that were saved to disk, WebDataset shards."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.filesystem import listed
from harness.data.hub_columns import Columns, find_columns, names_of
from harness.data.hub_layout import CARD, Card, Layout, find_layout, gaps, missing_files, read_card
from harness.data.hub_splits import (
    GIVEN,
    Roles,
    Row,
    choose_roles,
    classes_of,
    split_by_hash,
    to_pictures,
)
from harness.data.image_folder import HASHED
from harness.data.own_names import HubName
from harness.data.readers import SPLITS, Splits
from harness.data.shards import examples
from harness.data.split_checks import refuse_links_outside
from harness.data.table_files import cell_path, read_table
from harness.data.table_names import given_names
from harness.data.text_files import check_path, parse_json, read_text, why_unreadable
from harness.errors import UserError, first_line

Rename = Callable[[Mapping[int | str, str]], dict[int | str, str]]
INFO, STATE = "dataset_info.json", "state.json"


@dataclass(frozen=True)
class HubFolder:
    """One configuration of a data set in a folder.

    Attributes:
        folder: of the data set.
        name: what the user calls it, and which options were given.
        layout: its files.
        card: what its README.md says.
        rename: turns the names of the classes there, by label, into their names here.
        place: for messages.
    """

    folder: Path
    name: HubName
    layout: Layout
    card: Card
    rename: Rename = dict

    @property
    def place(self) -> str:
        """The data set for messages: its folder, or its name on the hub."""
        return str(self.folder) if self.name.path else self.name.place

    def of(self, option: str) -> str | None:
        """An option of the user's, or None."""
        return self.name.of(option)


def open_folder(folder: Path, name: HubName, rename: Rename = dict) -> HubFolder:
    """Find the files of a data set in its folder.

    Raises:
        UserError: there are none, files of a split are missing, or the configuration is not clear.
    """
    if not os.path.isdir(folder):
        raise UserError(f"folder '{folder}' does not exist: name one with .parquet, .arrow or .tar files")
    card = read_card(folder / CARD)
    place = str(folder) if name.path else name.place
    layout = find_layout(list_files(folder), card, name.config, place)
    if gone := missing_files(layout):
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise UserError(f"'{place}' lacks '{gone[0]}'{more}, of which the names of its other files tell: get it again")
    return HubFolder(folder, name, layout, card, rename)


def list_files(folder: Path) -> list[str]:
    """Paths of all files in a folder, relative to it and with `/`, without hidden ones.

    Raises:
        UserError: it cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"folder '{error.filename or folder}' cannot be read: {error.strerror}")

    found = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(place, folder).replace(os.sep, "/")
        found += [name if inside == "." else f"{inside}/{name}" for name in files if not name.startswith(".")]
    return sorted(found)


def read_hub_folder(source: HubFolder, splits: Sequence[str] = SPLITS, facts: Sequence[str] = ()) -> Splits:
    """The classes of a data set and the list of its pictures. No picture is read.

    Args:
        source: the data set.
        splits: which to read; the labels of the others are not read, unless the data set has to be split here.
        facts: what is known about where it comes from, a few words each.

    Raises:
        UserError: its files cannot be read, columns or splits are not clear, or its labels are no classes.
    """
    columns = None if source.layout.kind == "tar" else columns_of(source)
    roles = roles_of(source, columns)
    is_split = roles.test is not None
    wanted = [split for split in SPLITS if roles.of(split) and (split in splits or not is_split)]
    rows = {split: rows_of(source, str(roles.of(split)), columns) for split in wanted}
    counted = rows.get("train") or next((rows[split] for split in wanted[::-1] if rows[split]), [])
    if not wanted:  # for testing only, and the run is not tested
        return Splits(source.folder, (), (), (), ())
    if not counted:
        raise UserError(f"'{source.place}' has no pictures in its split {roles.of(wanted[0])}")
    names = class_names(source, columns, counted)
    classes = classes_of(counted, names, source.folder)
    pictures = {
        split: to_pictures(rows[split], classes, names, str(roles.of(split)), source.place) if split in rows else ()
        for split in SPLITS
    }
    if not is_split:
        pictures = split_by_hash(pictures["train"], classes, source.place)
        pictures = {split: some if split in splits else () for split, some in pictures.items()}
    if source.name.path:  # the cache of the hub consists of links
        refuse_links_outside(source.folder, source.folder, file_pictures(pictures), source.folder)
    layout = (GIVEN if is_split else HASHED, *filter(None, (roles.note,)), *facts, *described(source, columns, roles))
    train, val, test = (pictures[split] for split in SPLITS)
    remarks = (*classes.remarks, *source.layout.remarks, *gaps(source.layout), *unused(source, roles))
    return Splits(source.folder, classes.names, train, val, test, layout, remarks=remarks)


def unused(source: HubFolder, roles: Roles) -> tuple[str, ...]:
    """A remark on splits that serve as nothing, such as a test split without labels."""
    others = [split for split in source.layout.files if split not in (roles.train, roles.val, roles.test)]
    return (f"not used: split {listed(others)}",) if others else ()


def file_pictures(pictures: Mapping[str, Sequence[tuple[str, int]]]) -> list[tuple[str, int]]:
    """The pictures that are files of their own and not in a table or a tar file."""
    inside = (".parquet/", ".arrow/", ".tar/")
    return [item for some in pictures.values() for item in some if not any(part in item[0] for part in inside)]


def described(source: HubFolder, columns: Columns | None, roles: Roles) -> tuple[str, ...]:
    """How the data set was read, a few words each."""
    config = (f"configuration {source.layout.config}",) if source.layout.config else ()
    used = [(split, roles.of(split)) for split in SPLITS if roles.of(split) not in (None, split)]
    renamed = tuple(f"{split} is split {name}" for split, name in used if (split, name) != ("val", "validation"))
    read = (f"columns {columns.image} and {columns.label}",) if columns else ("WebDataset shards",)
    return (*config, *renamed, *read)


def columns_of(source: HubFolder) -> Columns:
    """The columns of pictures and classes, told from the first file of the training split, or of another without it.

    Raises:
        UserError: they are not clear.
    """
    files = source.layout.files
    usual = ("train", "validation", "test", *files)
    first = files[next(split for split in usual if split in files)][0]
    described: Sequence[Any] | Mapping[str, Any] = source.card.features.get(source.layout.config or "default", ())
    info = source.folder / os.path.dirname(first) / INFO
    if not described and os.path.exists(info):
        described = read_object(info).get("features", {})
    return find_columns(
        read_table(source.folder / first), described, source.of("image"), source.of("label"), source.place
    )


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: it cannot be read, or holds no object.
    """
    try:
        content = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read: {why_unreadable(error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"'{path}' holds no JSON object: save the data set anew")
    return content


def roles_of(source: HubFolder, columns: Columns | None) -> Roles:
    """Which split serves as what.

    Raises:
        UserError: it is not clear.
    """
    files = source.layout.files
    asked = {role: name for role, name in source.name.options if role in SPLITS}
    labelled = "test" in files and (columns is None or "test" in asked.values() or has_labels(source, columns))
    return choose_roles(list(files), asked, labelled, source.place)


def has_labels(source: HubFolder, columns: Columns) -> bool:
    """Whether the test split has labels: competitions publish theirs with -1 or nothing. No label is kept."""
    for file in source.layout.files["test"]:
        table = read_table(source.folder / file)
        if columns.label not in table.schema.names:
            return False
        if any(value not in (None, -1) for value in table.values(columns.label)):
            return True
    return False


def rows_of(source: HubFolder, split: str, columns: Columns | None) -> list[Row]:
    """Paths and labels of the pictures of a split, in the order of its files.

    Raises:
        UserError: a file cannot be read, or lacks a column.
    """
    found: list[Row] = []
    for file in source.layout.files[split]:
        if columns is None:
            found += [
                (f"{file}/{item.member}", item.label) for item in examples(source.folder / file, source.of("label"))
            ]
        else:
            found += table_rows(source, file, columns)
    return found


def table_rows(source: HubFolder, file: str, columns: Columns) -> list[Row]:
    """Paths and labels of the pictures of a table.

    Raises:
        UserError: it lacks a column, or its pictures are paths that lead out of the data set.
    """
    path = source.folder / file
    refuse_indices(path)
    table = read_table(path)
    for column in (columns.image, columns.label):
        if column not in table.schema.names:
            raise UserError(f"'{path}' has no column '{column}', which '{source.place}' has elsewhere")
    names = names_of(table.features().get(columns.label))
    if names and columns.names and names != columns.names:
        raise UserError(f"'{path}' numbers its classes in another way than other files of '{source.place}'")
    try:
        cells, labels = table.image_cells(columns.image), table.values(columns.label)
    except Exception as error:  # what damaged files raise is of any kind
        raise UserError(f"'{path}' cannot be read ({first_line(error)}): get it again, or write it anew") from None
    if cells.embedded:
        paths = [cell_path(file, columns.image, row, name) for row, name in enumerate(cells.names)]
    else:
        paths = [file_path(source.folder, path, name) for name in cells.names]
    wrong = next((label for label in labels if not isinstance(label, int | str | None)), None)
    if wrong is not None:
        raise UserError(f"column '{columns.label}' of '{path}' has {wrong!r}, which is no class: choose with :label=")
    return list(zip(paths, labels, strict=True))


def file_path(folder: Path, table: Path, name: str | None) -> str:
    """The path of a picture's file that a table names: relative to the table or to the data set, or absolute in it.

    Raises:
        UserError: the table names none, or one that lies elsewhere.
    """
    if not name:
        raise UserError(f"'{table}' has a row that holds no picture and names no file")
    if os.path.isabs(name):
        path = os.path.relpath(name, folder).replace(os.sep, "/")
        if path.startswith("../"):
            raise UserError(
                f"'{table}' names '{name}', which lies outside '{folder}': write the table with the pictures in it"
            )
    else:
        beside = os.path.relpath(table.parent / name, folder).replace(os.sep, "/")
        path = beside if os.path.exists(table.parent / name) else os.path.normpath(name).replace(os.sep, "/")
    try:
        check_path(path)
    except ValueError as error:
        raise UserError(f"'{table}': {error}") from None
    return path


def refuse_indices(path: Path) -> None:
    """Raise a UserError if a saved folder says that only some rows of its tables count."""
    state = path.parent / STATE
    if path.suffix == ".arrow" and os.path.exists(state) and read_object(state).get("_indices_data_files"):
        raise UserError(f"'{path.parent}' holds a selection of rows: save it again after flatten_indices()")


def class_names(source: HubFolder, columns: Columns | None, rows: Sequence[Row]) -> dict[int | str, str]:
    """Label -> name of the class, in label order.

    Names are those that the user gives, otherwise those of the table, otherwise the labels if they are names.

    Raises:
        UserError: labels are numbers that nothing names, or numbers and names at once.
    """
    labels = {label for _, label in rows if label is not None and label != -1}
    kinds = {type(label) for label in labels}
    if len(kinds) > 1:
        raise UserError(f"'{source.place}' has numbers and names as labels: choose another column with :label=")
    own = columns.names if columns else None
    if int in kinds or (own and not labels):
        found: dict[int | str, str] = dict(enumerate(own)) if own else {}
        numbers = sorted(label for label in labels if isinstance(label, int))
        found = dict(given_names(source.folder, source.of("names"), found, numbers))
        if not found:
            what = f"column '{columns.label}' of '{source.place}'" if columns else f"'{source.place}'"
            raise UserError(
                f"{what} has numbers for classes and no names: put a classnames.txt into the folder, or name one with "
                ":names=FILE, with one name a line in label order"
            )
    else:
        found = {label: str(label) for label in sorted(map(str, labels))}
        found = dict(given_names(source.folder, source.of("names"), found, ()))
    return source.rename(found)
