"""Data sets as they lie on disk or on the hub: real parquet, arrow and tar files with tiny pictures."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NAMES = ("cat", "dog", "red_panda")


def picture(number: int) -> bytes:
    """A PNG file whose pixels are (number, 0, 0)."""
    data = io.BytesIO()
    Image.new("RGB", (12, 10), (number, 0, 0)).save(data, "PNG")
    return data.getvalue()


def cells(count: int, first: int = 0, where: str = "/elsewhere/") -> list[dict[str, Any]]:
    """Pictures as `datasets` embeds them: bytes, and the path that they once had."""
    return [{"bytes": picture(first + row), "path": f"{where}x_{row}.png"} for row in range(count)]


def labels(count: int, classes: int = len(NAMES)) -> list[int]:
    """0, 1, 2, 0, 1, ..."""
    return [row % classes for row in range(count)]


def class_label(names: Sequence[str] = NAMES) -> dict[str, Any]:
    """A feature of `datasets`."""
    return {"_type": "ClassLabel", "names": list(names)}


FEATURES = {"image": {"_type": "Image"}, "label": class_label()}


def with_features(table: pa.Table, features: Mapping[str, Any] | None) -> pa.Table:
    """A table that says what its columns are, as `datasets` writes it into the schema."""
    if features is None:
        return table
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def image_table(count: int, first: int = 0, features: Mapping[str, Any] | None = FEATURES, **columns: Any) -> pa.Table:
    """A table of pictures and labels; further columns, or others in their places, by keyword."""
    return with_features(pa.table({"image": cells(count, first), "label": labels(count), **columns}), features)


def write_parquet(path: Path, table: pa.Table, group: int = 5) -> Path:
    """A parquet file with a number of rows to a group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def write_dataset(folder: Path, train: int = 12, test: int = 6, validation: int = 0) -> Path:
    """A data set as the hub has it: one parquet file for each split."""
    for split, count, first in (("train", train, 0), ("test", test, 100), ("validation", validation, 200)):
        if count:
            write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", image_table(count, first))
    return folder


def write_arrow(path: Path, table: pa.Table) -> Path:
    """An arrow file as `save_to_disk` writes it: a stream of record batches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return path


def write_saved(folder: Path, table: pa.Table, features: Mapping[str, Any] = FEATURES, split: str = "train") -> Path:
    """One split as `save_to_disk` leaves it."""
    write_arrow(folder / "data-00000-of-00001.arrow", table)
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split})
    )
    return folder


def write_shard(path: Path, files: Sequence[tuple[str, bytes | str]]) -> Path:
    """A tar file with these files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def shard_files(count: int, first: int = 0) -> list[tuple[str, bytes | str]]:
    """Pictures and labels of a WebDataset shard."""
    pairs = [((f"s{row:04}.png", picture(first + row)), (f"s{row:04}.cls", str(row % 3))) for row in range(count)]
    return [file for pair in pairs for file in pair]
