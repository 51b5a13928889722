"""Draw the pinned emoji and icon sets as 64-pixel pictures: X.npy and meta.json in the working folder.

Needs `npm install` in the working folder (with package.json from beside this file) and the Python package resvg-py.
The result depends on nothing but the versions of these packages.
"""

import argparse
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from common import HELD_OUT_STYLES, ICON_SETS, PRETRAIN_STYLES, SHIFTED_DOMAINS, Record, save_records, stable_hash
from PIL import Image

Json = dict[str, Any]

SIZE = 64
# The order decides which one of several identical pictures stays.
STYLES = ("noto", "noto-v1", "twemoji", "fluent-emoji-flat", "emojione", "fxemoji", *SHIFTED_DOMAINS)
assert set(STYLES) == {*PRETRAIN_STYLES, *HELD_OUT_STYLES, *SHIFTED_DOMAINS}

CATEGORIES = {  # category: the subgroups of Unicode's emoji list that it takes in
    "smiling face": ["face-smiling", "face-affection", "face-tongue"],
    "unhappy face": ["face-concerned", "face-negative"],
    "neutral face": ["face-neutral-skeptical", "face-hand"],
    "sick or sleepy face": ["face-unwell", "face-sleepy"],
    "cat or monkey face": ["cat-face", "monkey-face"],
    "heart": ["heart"],
    "hand gesture": [
        "hand-fingers-open",
        "hand-fingers-partial",
        "hand-single-finger",
        "hand-fingers-closed",
        "hands",
    ],
    "body part": ["body-parts"],
    "worker": ["person-role"],
    "fantasy character": ["person-fantasy"],
    "person playing sport": ["person-sport"],
    "person in daily life": ["person-activity", "person-resting"],
    "person gesturing": ["person-gesture"],
    "family or couple": ["family"],
    "mammal": ["animal-mammal"],
    "bird": ["animal-bird"],
    "sea animal or reptile": ["animal-marine", "animal-reptile", "animal-amphibian"],
    "insect": ["animal-bug"],
    "flower": ["plant-flower"],
    "plant": ["plant-other"],
    "fruit": ["food-fruit"],
    "vegetable": ["food-vegetable"],
    "meal": ["food-prepared"],
    "asian dish": ["food-asian"],
    "dessert": ["food-sweet"],
    "drink": ["drink"],
    "tableware": ["dishware"],
    "landscape": ["place-geographic", "place-map"],
    "building": ["place-building", "place-religious"],
    "city scene": ["place-other"],
    "road vehicle": ["transport-ground"],
    "ship or aircraft": ["transport-water", "transport-air"],
    "clock": ["time"],
    "sky and weather": ["sky-weather"],
    "celebration": ["event"],
    "medal": ["award-medal"],
    "sports equipment": ["sport"],
    "game": ["game"],
    "garment": ["clothing"],
    "music or sound": ["sound", "music", "musical-instrument"],
    "electronic device": ["phone", "computer"],
    "camera or lamp": ["light-video"],
    "book or paper": ["book-paper"],
    "money": ["money"],
    "mail": ["mail"],
    "stationery": ["writing", "office"],
    "tool": ["tool", "lock"],
    "lab or medical item": ["science", "medical"],
    "household item": ["household"],
    "public sign": ["transport-sign"],
    "warning sign": ["warning"],
    "arrow": ["arrow"],
    "religious symbol": ["religion"],
    "zodiac sign": ["zodiac"],
    "media button": ["av-symbol"],
    "letters or words": ["alphanum"],
    "number key": ["keycap"],
    "geometric shape": ["geometric"],
    "country flag": ["country-flag"],
}
CATEGORY_OF_SUBGROUP = {subgroup: category for category, subgroups in CATEGORIES.items() for subgroup in subgroups}
SPLIT_OFF = {  # category: what its emoji must be called to form a category of their own
    "road vehicle": (re.compile("tram|metro|locomotive|rail|train"), "train"),
    "sky and weather": (re.compile("moon"), "moon"),
}

GENDER_AND_AGE = re.compile(r"\b(man|men|woman|women|person|people|boy|girl|mrs|mr|claus|santa|prince|princess)\b")
CLOCK_TIME = re.compile(r"\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)(-thirty| o.clock)\b")
ICON_VARIANT = re.compile(r"\b(outline|filled|fill|bold|thin|light|duotone|variant|one|two|off|rounded|sharp|\d+)\b")
PHOSPHOR_WEIGHT = re.compile("-(thin|light|bold|duotone|fill)$")
LOGO = re.compile("logo|brand")

# Some sets draw two emoji alike, and the first of identical pictures stays (drop_duplicates). The files that are
# shipped were made without these eight, though each comes first of its pair; leaving them out reproduces the files.
LEFT_OUT = {
    ("noto-v1", "1f997"),
    ("twemoji", "1f1fa-1f1f2"),
    ("fluent-emoji-flat", "1f63a"),
    ("emojione", "1f997"),
    ("fluent-emoji-high-contrast", "1f621"),
    ("emojione-monotone", "1f49a"),
    ("emojione-monotone", "1f997"),
    ("emojione-monotone", "23fa"),
}


# ---- emoji


def category_of(name: str, subgroup: str | None) -> str | None:
    """The category of an emoji, or None for the subgroups that have none."""
    category = CATEGORY_OF_SUBGROUP.get(subgroup or "")
    if category in SPLIT_OFF:
        pattern, narrower = SPLIT_OFF[category]
        return narrower if pattern.search(name) else category
    return category


def root_of(name: str) -> str:
    """The name without gender, age and half hours: what the variants of one concept have in common."""
    text = GENDER_AND_AGE.sub("", name.lower())
    text = CLOCK_TIME.sub(r"\1", text)
    return re.sub("[^a-z0-9]+", " ", text).strip() or name.lower()


def load_emoji(modules: Path) -> list[Record]:
    """All emoji of emojibase, in its order, as records without a style."""
    subgroups = json.loads((modules / "emojibase-data/meta/groups.json").read_text())["subgroups"]
    emoji = []
    for entry in json.loads((modules / "emojibase-data/en/data.json").read_text()):
        name = entry["label"]
        subgroup = subgroups[str(entry["subgroup"])] if entry.get("subgroup") is not None else None
        record = Record(
            style="",
            domain="",
            hexcode=bare_hexcode(entry["hexcode"]),
            name=name,
            tags=tuple(entry.get("tags", ())),
            category=category_of(name, subgroup),
            group=entry.get("group"),
            subgroup=subgroup,
            root=root_of(name),
        )
        emoji.append(record)
    return emoji


def bare_hexcode(hexcode: str) -> str:
    """Lower case, without the marks that only ask for a coloured drawing."""
    return hexcode.lower().replace("-fe0f", "")


# ---- icon sets


def slug(text: str) -> str:
    """A name the way icon sets spell it."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    text = text.replace("&", "and").replace("'", "")
    return re.sub("[^a-z0-9]+", "-", text).strip("-")


def read_set(modules: Path, name: str, file: str) -> Json:
    """One JSON file of an icon set; empty if the set has no such file."""
    path = modules / "@iconify-json" / name / f"{file}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def svg_of(icon_set: Json, name: str) -> str | None:
    """The SVG text of an icon; None for an alias that turns or mirrors another icon."""
    alias = icon_set.get("aliases", {}).get(name)
    if name not in icon_set["icons"]:
        if not alias or alias["parent"] not in icon_set["icons"] or {"rotate", "hFlip", "vFlip"} & alias.keys():
            return None
        name = alias["parent"]
    icon = icon_set["icons"][name]
    width, height = (icon.get(side, icon_set.get(side, 16)) for side in ("width", "height"))
    left, top = icon.get("left", 0), icon.get("top", 0)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="{left} {top} {width} {height}" color="#000">{icon["body"]}</svg>'
    )


def possible_names(emoji: Record, style: str) -> Iterator[str]:
    """Names under which a set without a table of code points may hold an emoji."""
    yield slug(emoji.name)
    if "-" not in emoji.hexcode:
        unicode_name = unicodedata.name(chr(int(emoji.hexcode, 16)), "")
        if unicode_name:
            yield unicode_name.lower().replace(" ", "").replace("-", "")
            yield slug(unicode_name)
    if style == "emojione" and emoji.subgroup == "country-flag":
        yield "flag-for-" + slug(emoji.name.replace("flag: ", ""))


def emoji_jobs(modules: Path, style: str, emoji: list[Record]) -> Iterator[tuple[str, Record]]:
    """SVG text and record of every emoji that a drawing style holds, each drawing once."""
    icon_set = read_set(modules, style, "icons")
    names = {bare_hexcode(hexcode): name for hexcode, name in read_set(modules, style, "chars").items()}
    known = icon_set["icons"].keys() | icon_set.get("aliases", {}).keys()
    used = set()
    for entry in emoji:
        name = names.get(entry.hexcode)
        if not names:
            name = next((n for n in possible_names(entry, style) if n in known), None)
        if name is None or name in used:
            continue
        used.add(name)
        svg = svg_of(icon_set, name)
        if svg is not None:
            yield svg, replace(entry, style=style, domain=SHIFTED_DOMAINS.get(style, "color"))


def icon_jobs(modules: Path, style: str) -> Iterator[tuple[str, Record]]:
    """SVG text and record of an icon set's icons, without logos and with a third of Phosphor's other weights."""
    icon_set = read_set(modules, style, "icons")
    category_of_icon: dict[str, str] = {}
    for category, names in read_set(modules, style, "metadata").get("categories", {}).items():
        for name in names:
            category_of_icon.setdefault(name, category)
    for name in sorted(icon_set["icons"]):
        category = category_of_icon.get(name)
        if style == "ph" and PHOSPHOR_WEIGHT.search(name) and stable_hash(name) % 3:
            continue
        if LOGO.search(name) or "Brand" in (category or ""):
            continue
        words = " ".join(ICON_VARIANT.sub(" ", name.replace("-", " ")).split()) or name
        svg = svg_of(icon_set, name)
        assert svg is not None
        yield svg, Record(style, "icon", "", words, (), None, None, category, "")


# ---- pixels


def draw(svg: str) -> np.ndarray | None:
    """Rasterise on white, centred in a square; None if it cannot be drawn or is (almost) one colour."""
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, background="#ffffff", skip_system_fonts=True)
    except ValueError:
        return None
    picture = Image.open(io.BytesIO(bytes(png))).convert("RGB")
    if picture.size != (SIZE, SIZE):
        picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
        square = Image.new("RGB", (SIZE, SIZE), "white")
        square.paste(picture, ((SIZE - picture.width) // 2, (SIZE - picture.height) // 2))
        picture = square
    pixels = np.asarray(picture)
    return pixels if pixels.std() > 4 else None


def drop_duplicates(pixels: list[np.ndarray], records: list[Record]) -> tuple[list[np.ndarray], list[Record]]:
    """Keep the first of identical pictures, so that no held-out picture is also one of pre-training."""
    seen = set()
    kept = []
    for i, (picture, record) in enumerate(zip(pixels, records, strict=True)):
        digest = hashlib.sha256(picture.tobytes()).digest()
        if digest not in seen and (record.style, record.hexcode) not in LEFT_OUT:
            kept.append(i)
        seen.add(digest)
    return [pixels[i] for i in kept], [records[i] for i in kept]


def build(work: Path, processes: int) -> None:
    """Draw everything and write it into the working folder."""
    modules = work / "node_modules"
    emoji = load_emoji(modules)
    jobs = [job for style in STYLES for job in emoji_jobs(modules, style, emoji)]
    jobs += [job for style in ICON_SETS for job in icon_jobs(modules, style)]
    print(f"drawing {len(jobs)} pictures", flush=True)
    with Pool(processes) as pool:
        drawn = pool.map(draw, [svg for svg, _ in jobs], chunksize=200)
    pixels, records = [], []
    for picture, (_, record) in zip(drawn, jobs, strict=True):
        if picture is not None:
            pixels.append(picture)
            records.append(record)
    pixels, records = drop_duplicates(pixels, records)
    save_records(work, np.stack(pixels), records)
    print(f"kept {len(records)}:", dict(Counter(record.style for record in records)))


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with node_modules; gets X.npy and meta.json")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    build(options.work, options.processes)


if __name__ == "__main__":
    main()
