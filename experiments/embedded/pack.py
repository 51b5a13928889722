"""Pack the held-out styles and shifted domains as the shipped zip files, with categories.txt and bpe_4k.txt.gz."""

import argparse
import csv
import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from common import HELD_OUT_STYLES, IMAGE_SIZE, Record, choose_classes, load_records, short_bpe, split_pictures
from PIL import Image

COLUMNS = ("file", "style", "name", "category", "split", "subgroup", "group")
FIXED_TIME = (2026, 1, 1, 0, 0, 0)  # so that two builds give the same bytes
READABLE = 0o644 << 16


def encode(pixels: np.ndarray) -> bytes:
    """A picture as WebP, in the model's size."""
    small = Image.fromarray(pixels).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=90, method=6)
    return buffer.getvalue()


def index_row(record: Record, file: str, split: str) -> list[str]:
    """The picture's line of index.csv."""
    group = "" if record.group is None else str(record.group)
    return [file, record.style, record.name, record.category or "", split, record.subgroup or "", group]


def pack(path: Path, pixels: np.ndarray, records: list[Record], rows: list[int], split_of: dict[int, str]) -> None:
    """Write one zip file: the pictures, not compressed again, and the index last."""
    lines = [list(COLUMNS)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            entry = zipfile.ZipInfo(name, FIXED_TIME)
            entry.external_attr = READABLE
            archive.writestr(entry, data)

        for i in rows:
            file = f"{records[i].style}/{records[i].hexcode}.webp"
            add(file, encode(pixels[i]))
            lines.append(index_row(records[i], file, split_of.get(i, "")))
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows(lines)
        add("index.csv", table.getvalue().encode())
    splits = Counter(line[4] or "none" for line in lines[1:])
    print(f"{path.name}: {len(rows)} pictures, {path.stat().st_size} bytes, splits {dict(splits)}")


def main() -> None:
    """Read the command line and pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder with X.npy and meta.json (build_images.py)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pixels, records = load_records(options.work)
    classes = choose_classes(records)
    split_of = split_pictures(records, classes)
    held_out = [i for i, r in enumerate(records) if r.style in HELD_OUT_STYLES]
    pack(options.out / "emoji-color.zip", pixels, records, held_out, split_of)
    for domain in ("outline", "glyph"):
        rows = [i for i, r in enumerate(records) if r.domain == domain]
        pack(options.out / f"emoji-{domain}.zip", pixels, records, rows, split_of)
    (options.out / "categories.txt").write_text("\n".join(classes) + "\n")
    (options.out / "bpe_4k.txt.gz").write_bytes(short_bpe())


if __name__ == "__main__":
    main()
