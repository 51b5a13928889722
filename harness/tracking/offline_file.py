"""W&B's own file of an offline run, read back: what its client wrote, whatever it was given."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

START, BLOCK, HEADER = 7, 32768, 7
WHOLE, LAST = 1, 4
"""Kinds of pieces that end a record."""


def read_records(path: Path) -> Iterator[Any]:
    """Records of a `.wandb` file: protobufs in blocks of 32 KiB, each piece with checksum, length and kind."""
    data = path.read_bytes()
    position, pieces = START, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + HEADER])
        pieces += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            pieces = b""
            yield record


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows that were logged, in order: key -> value."""
    return [
        values(record.history.item) for record in read_records(path) if record.WhichOneof("record_type") == "history"
    ]


def values(items: Any) -> dict[str, Any]:
    """Keys and decoded values of a record."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
