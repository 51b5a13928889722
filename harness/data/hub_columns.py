"""Which column of a table holds the pictures and which the classes, and what the classes are called."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.data.filesystem import listed
from harness.data.table_files import Table, is_binary, is_text
from harness.errors import UserError, nearest

PATH_COLUMNS = ("image", "img", "image_path", "img_path", "file_name", "filename", "filepath", "file_path", "path")
"""Columns of text that are taken for paths of pictures if no column holds pictures."""
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "fine_label", "cls")
"""Columns that are taken for classes if the table does not say which column is."""


class Columns(NamedTuple):
    """The two columns that are read.

    Attributes:
        image: name of the column of pictures, or of their paths.
        label: name of the column of classes.
        names: the classes' names in label order; None where the column itself holds names, or nothing names them.
    """

    image: str
    label: str
    names: tuple[str, ...] | None


def find_columns(
    table: Table, described: Sequence[Any] | Mapping[str, Any], image: str | None, label: str | None, place: str
) -> Columns:
    """The columns of a data set, by what it says of them and otherwise by their types and names.

    Args:
        table: one of its files.
        described: its columns as a README.md or a `dataset_info.json` lists them, for files that say nothing.
        image: the column of pictures that the user names, or None.
        label: the column of classes that the user names, or None.
        place: the data set, for messages.

    Raises:
        UserError: a column that is named does not exist, or there is none or more than one that can be meant.
    """
    features = table.features() or described_features(described)
    columns = list(table.schema.names)
    for what, asked in (("image", image), ("label", label)):
        if asked is not None and asked not in columns:
            raise UserError(f"'{place}' has no column '{asked}' for {what}=.{nearest(asked, columns)}")
    pictures = [image] if image else picture_columns(table, features)
    if len(pictures) != 1:
        raise UserError(which_column(place, "pictures", "image", pictures, columns))
    labels = [label] if label else label_columns(table, features, pictures[0])
    if len(labels) != 1:
        raise UserError(which_column(place, "classes", "label", labels, columns))
    return Columns(pictures[0], labels[0], names_of(features.get(labels[0])))


def which_column(place: str, what: str, option: str, choices: Sequence[str], columns: Sequence[str]) -> str:
    """The line that asks for a column."""
    has = f"has several columns of {what}, {listed(choices, 8)}" if choices else f"has no column of {what}"
    known = "" if choices else f"; its columns are {listed(columns, 12)}"
    return f"'{place}' {has}{known}: name one, as in ':{option}={(choices or columns or ['NAME'])[0]}'"


def described_features(described: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Column -> feature in the form of `datasets`, from that form or from the list of a README.md."""
    if isinstance(described, Mapping):
        return dict(described)
    found: dict[str, Any] = {}
    for item in described:
        if isinstance(item, dict) and "name" in item:
            kind = item.get("dtype")
            if kind == "image":
                found[str(item["name"])] = {"_type": "Image"}
            elif isinstance(kind, dict) and isinstance(kind.get("class_label"), dict):
                found[str(item["name"])] = {"_type": "ClassLabel", "names": kind["class_label"].get("names")}
    return found


def names_of(feature: Any) -> tuple[str, ...] | None:
    """The names of a ClassLabel in label order; None for other features."""
    names = feature.get("names") if is_feature(feature, "ClassLabel") else None
    if isinstance(names, Mapping):
        names = [names.get(label, names.get(str(label))) for label in range(len(names))]
    if not isinstance(names, list) or not names or any(name is None for name in names):
        return None
    return tuple(str(name) for name in names)


def is_feature(feature: Any, kind: str) -> bool:
    """Whether a feature is of a type of `datasets`."""
    return isinstance(feature, Mapping) and feature.get("_type") == kind


def picture_columns(table: Table, features: Mapping[str, Any]) -> list[str]:
    """The columns that may be meant as pictures: the surest kind of which there are any."""
    pa, fields = table.pa, {field.name: field.type for field in table.schema}
    said = [name for name in fields if is_feature(features.get(name), "Image")]
    structs = [name for name, kind in fields.items() if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0]
    data = [name for name, kind in fields.items() if is_binary(pa, kind)]
    paths = [name for name in PATH_COLUMNS if name in fields and is_text(pa, fields[name])]
    return next((some for some in (said, structs, data, paths[:1]) if some), [])


def label_columns(table: Table, features: Mapping[str, Any], image: str) -> list[str]:
    """The columns that may be meant as classes: the surest kind of which there are any."""
    pa = table.pa
    kinds = {field.name: field.type for field in table.schema if field.name != image}
    said = [name for name in kinds if is_feature(features.get(name), "ClassLabel")]
    if "label" in said:
        return ["label"]
    usual = [name for name in LABEL_COLUMNS if name in kinds and is_label(pa, kinds[name])]
    texts = [name for name, kind in kinds.items() if is_text(pa, kind)]
    return next((some for some in (said, usual[:1] if "label" in usual else usual, texts) if some), [])


def is_label(pa: Any, kind: Any) -> bool:
    """Whether a column can hold classes: whole numbers or text."""
    return bool(pa.types.is_integer(kind)) or is_text(pa, kind)
