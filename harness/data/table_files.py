"""Tables with pictures in their cells: parquet files, and arrow files as `datasets` saves them.

The path of such a picture names the file, the column, the row and, where the table knows it, the picture's own name:
`data/train-00000-of-00001.parquet/image/17/banded_0002.jpg`. A cell is read when it is needed, and with it the group of
rows that a parquet file compresses together. The last few groups are kept, so that reading in order reads each once.
"""

import json
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, count
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from harness.data.picture_files import check_size, open_regular
from harness.errors import UserError, first_line
from harness.machine.file_kinds import kind_of_file

KEPT_BYTES = 256 << 20
"""Bytes of the row groups that a process keeps; one is kept whatever its size."""
MOST_GROUP = 4 << 30
"""Bytes of the largest row group that is read, since all of it must be."""
OPEN_FILES = 64
"""How many tables a process keeps open."""

OPENED = count()
"""Numbers of the tables that a process opens: of a file that has changed, no row group counts any more."""


class ImageCells(NamedTuple):
    """What a table says of its pictures without reading any.

    Attributes:
        names: of each row the picture's own name or path; None where the table gives none.
        embedded: whether the pictures are in the table; if not, the names are paths of files.
    """

    names: Sequence[str | None]
    embedded: bool


def arrow() -> ModuleType:
    """The library that reads tables; it takes a while to import."""
    import pyarrow as found
    import pyarrow.compute
    import pyarrow.parquet

    return found


class Table:
    """One open file with a table.

    Args:
        path: of a file that ends in .parquet or .arrow.

    Raises:
        Exception: whatever pyarrow raises for what is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.pa = arrow()
        self.key = next(OPENED)
        self.lock = threading.Lock()
        self.file: Any = None
        with open_regular(path) as file:  # nothing that blocks or never ends
            begins = file.read(6)
        if path.suffix == ".parquet":
            self.file = self.pa.parquet.ParquetFile(path, pre_buffer=False)
            self.schema, self.rows = self.file.schema_arrow, self.file.metadata.num_rows
            sizes = [self.file.metadata.row_group(number).num_rows for number in range(self.file.num_row_groups)]
            self.ends = list(accumulate(sizes))
        else:
            # The operating system pages in what is read: no cell costs memory of this process.
            opened = self.pa.memory_map(str(path))
            reader = self.pa.ipc.open_file(opened) if begins == b"ARROW1" else self.pa.ipc.open_stream(opened)
            self.table = reader.read_all()
            self.schema, self.rows = self.table.schema, self.table.num_rows

    def features(self) -> dict[str, Any]:
        """Column -> what `datasets` wrote about it into the file; empty where it wrote nothing."""
        try:
            content = json.loads((self.schema.metadata or {})[b"huggingface"])
            found = content["info"]["features"]
        except (KeyError, TypeError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def column(self, name: str, field: str | None = None) -> Any:
        """A column, or a field of it, as a chunked array of pyarrow. Nothing else is read."""
        if self.file is None:
            found = self.table[name]
        else:
            with self.lock:
                found = self.file.read(columns=[f"{name}.{field}" if field else name], use_threads=False)[name]
        return self.pa.compute.struct_field(found, field) if field else found

    def values(self, name: str, field: str | None = None) -> list[Any]:
        """The values of a small column, or of a field of it."""
        return list(self.column(name, field).to_pylist())

    def image_cells(self, name: str) -> ImageCells:
        """What a column of pictures holds.

        Raises:
            ValueError: some pictures are in the table and others are not, or its cells are no pictures.
        """
        kind = self.schema.field(name).type
        if is_text(self.pa, kind):
            return ImageCells(self.values(name), embedded=False)
        if is_binary(self.pa, kind):
            return ImageCells([None] * self.rows, embedded=True)
        names = self.values(name, "path") if kind.get_field_index("path") >= 0 else [None] * self.rows
        empty = self._empty_cells(name)
        if empty not in (0, self.rows):
            raise ValueError(f"{empty} of the {self.rows} cells of column '{name}' hold no picture")
        return ImageCells(names, embedded=empty == 0)

    def _empty_cells(self, name: str) -> int:
        """How many pictures of a column are not in the table: from statistics, so that none is read."""
        if self.file is None:
            return int(self.column(name, "bytes").null_count)
        total = 0
        for number in range(len(self.ends)):
            group = self.file.metadata.row_group(number)
            chunks = [group.column(index) for index in range(group.num_columns)]
            chunk = next((chunk for chunk in chunks if chunk.path_in_schema == f"{name}.bytes"), None)
            if chunk is None:
                raise ValueError(f"column '{name}' has no field bytes")
            if chunk.is_stats_set and chunk.statistics.has_null_count:
                total += chunk.statistics.null_count
            elif group.num_rows and self._group(number, name)[0].as_py() is None:
                total += group.num_rows
        return total

    def group_of(self, row: int) -> int:
        """The row group of a parquet file in which a row is."""
        return bisect_right(self.ends, row)

    def _group(self, number: int, name: str) -> Any:
        group = self.file.metadata.row_group(number)
        if group.total_byte_size > MOST_GROUP:
            raise ValueError(
                f"a row group of {group.total_byte_size >> 20:,} MiB must be read at once, at most "
                f"{MOST_GROUP >> 20:,} are: write the table with row groups of 100 rows"
            )
        is_struct = self.pa.types.is_struct(self.schema.field(name).type)
        column = f"{name}.bytes" if is_struct else name
        found = self.file.read_row_group(number, columns=[column], use_threads=False)[name]
        return self.pa.compute.struct_field(found, "bytes") if is_struct else found

    def cell(self, name: str, row: int, kept: "RowGroups") -> bytes:
        """The picture in a cell.

        Raises:
            FileNotFoundError: there is no such row or column.
            ValueError: the cell is empty.
        """
        if not 0 <= row < self.rows or name not in self.schema.names:
            raise FileNotFoundError(f"row {row} of column {name}")
        if self.file is None:
            kind = self.schema.field(name).type
            value = self.table[name][row].as_py()
            data = value["bytes"] if self.pa.types.is_struct(kind) else value
        else:
            number = self.group_of(row)
            with self.lock:
                group = kept.get((self.key, name, number))
                if group is None:
                    group = kept.put((self.key, name, number), self._group(number, name))
            data = group[row - self.ends[number] + len(group)].as_py()
        if not isinstance(data, bytes):
            raise ValueError("its cell is empty")
        check_size(len(data))
        return data


class RowGroups:
    """The row groups that were read last, up to a number of bytes."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self.lock = threading.Lock()
        self.groups: OrderedDict[tuple[int, str, int], Any] = OrderedDict()

    def get(self, key: tuple[int, str, int]) -> Any:
        """A group that is kept, or None."""
        with self.lock:
            if key in self.groups:
                self.groups.move_to_end(key)
            return self.groups.get(key)

    def put(self, key: tuple[int, str, int], group: Any) -> Any:
        """Keep a group, and forget those that were not asked for the longest."""
        with self.lock:
            self.groups[key] = group
            while len(self.groups) > 1 and sum(item.nbytes for item in self.groups.values()) > self.limit:
                self.groups.popitem(last=False)
        return group


@lru_cache(1)
def row_groups(process: int) -> RowGroups:
    """The row groups that a process keeps; forked processes have their own."""
    return RowGroups()


@lru_cache(OPEN_FILES)
def _open(path: Path, state: tuple[int, ...], process: int) -> Table:
    return Table(path)


def open_table(path: Path) -> Table:
    """A file with a table, opened once per process and anew if it has changed.

    Raises:
        Exception: whatever the system and pyarrow raise for what is no such file.
    """
    found = os.stat(path)
    return _open(path, (found.st_ino, found.st_size, found.st_mtime_ns), os.getpid())


def read_table(path: Path) -> Table:
    """The same for a file of a data set that is being read.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return open_table(path)
    except UserError:
        raise
    except Exception as error:  # what damaged files raise is of any kind
        why = f": {kind}" if (kind := kind_of_file(path)) else f" ({first_line(error)}): get it again, or write it anew"
        raise UserError(f"'{path}' cannot be read{why}") from None


def cell_path(file: str, column: str, row: int, name: str | None) -> str:
    """The path of a picture in a table.

    Args:
        file: of the table, relative to the data set's folder.
        column: of the pictures.
        row: its number in the file, from 0.
        name: the picture's own name or path, of which the last part is kept; it is for people only.
    """
    path = f"{file}/{quote(column, safe='')}/{row}"
    own = PurePosixPath((name or "").replace("\\", "/")).name
    return f"{path}/{own}" if own.isprintable() and own.strip(". ") else path


def read_cell(file: Path, member: str) -> bytes:
    """The bytes of a picture in a table.

    Args:
        file: of the table.
        member: what follows in the picture's path: COLUMN/ROW or COLUMN/ROW/NAME.

    Raises:
        FileNotFoundError: there is no such cell.
        Exception: whatever is raised for what cannot be read.
    """
    column, _, rest = member.partition("/")
    row = rest.partition("/")[0]
    if not row.isdecimal():
        raise FileNotFoundError(member)
    return open_table(file).cell(unquote(column), int(row), row_groups(os.getpid()))


class CellNames(Collection[str]):
    """The members of a table as parts of paths, none of which is written down: COLUMN/ROW/NAME."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __contains__(self, member: object) -> bool:
        column, _, rest = str(member).partition("/")
        row = rest.partition("/")[0]
        return unquote(column) in self.table.schema.names and row.isdecimal() and int(row) < self.table.rows

    def __iter__(self) -> Iterator[str]:
        raise TypeError("the cells of a table are not listed")

    def __len__(self) -> int:
        return int(self.table.rows)


def is_text(pa: ModuleType, kind: Any) -> bool:
    """Whether a column holds text; also if each different text is stored once."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_binary(pa: ModuleType, kind: Any) -> bool:
    """Whether a column holds bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
