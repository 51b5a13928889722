"""What the scripts of the embedded benchmark share: files, records, classes, splits, model and zero-shot scores."""

import csv
import gzip
import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "harness" / "embedded"

IMAGE_SIZE = 48
MEAN, STD = 0.75, 0.32
CONTEXT_LENGTH = 20
BPE_MERGES = 3582  # vocabulary: 512 bytes + 3582 merges + start and end token = 4096

PRETRAIN_STYLES = ("noto", "noto-v1", "emojione", "fxemoji")
HELD_OUT_STYLES = ("twemoji", "fluent-emoji-flat")
SHIFTED_DOMAINS = {
    "openmoji": "outline",
    "fluent-emoji-high-contrast": "glyph",
    "emojione-monotone": "glyph",
}
ICON_SETS = ("mdi", "icon-park", "tabler", "ph", "game-icons")

TRAIN_PER_CLASS, VALIDATION_PER_CLASS, TEST_CAP = 16, 4, 40
MINIMUM_PICTURES = 30
BASE_CLASSES = 23

TEMPLATES = (
    "a drawing of {article} {name}.",
    "an icon of {article} {name}.",
    "a picture showing {article} {name}.",
    "{name}",
)


# ---- rendered pictures


@dataclass(frozen=True, slots=True)
class Record:
    """One rendered picture; its pixels are the row of the same number in X.npy."""

    style: str
    domain: str  # "color", "outline", "glyph" or "icon"
    hexcode: str
    name: str
    tags: tuple[str, ...]
    category: str | None
    group: int | None
    subgroup: str | None
    root: str  # the name without the words that tell variants of one concept apart


def stable_hash(text: str) -> int:
    """A number that depends on the text alone, for orders that stay the same on every machine."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def save_records(folder: Path, pixels: np.ndarray, records: Sequence[Record]) -> None:
    """Write X.npy and meta.json into the working folder."""
    np.save(folder / "X.npy", pixels)
    (folder / "meta.json").write_text(json.dumps([asdict(record) for record in records]))


def load_records(folder: Path) -> tuple[np.ndarray, list[Record]]:
    """Read what save_records wrote (the pixels as a memory map)."""
    rows = json.loads((folder / "meta.json").read_text())
    records = [Record(**{**row, "tags": tuple(row["tags"])}) for row in rows]
    return np.load(folder / "X.npy", mmap_mode="r"), records


# ---- classes and splits


def choose_classes(records: Sequence[Record]) -> list[str]:
    """Categories with enough held-out pictures, in a fixed shuffled order: the first 23 are base, the rest new."""
    counts = Counter(r.category for r in records if r.style in HELD_OUT_STYLES and r.category)
    return sorted((c for c, n in counts.items() if n >= MINIMUM_PICTURES), key=lambda c: stable_hash("order" + c))


def picture_order(record: Record) -> int:
    """Sort key that shuffles pictures in a fixed way."""
    return stable_hash("im" + record.style + record.hexcode)


def split_class(records: Sequence[Record], category: str) -> dict[int, str]:
    """Give the pictures of one category to train, val or test, whole concepts (roots) at a time.

    All drawings of one concept land in one split; what goes over a split's cap belongs to none.
    The shifted domains are test only, and only for concepts that the test split holds.
    """
    by_root: dict[str, list[int]] = {}
    for i, r in enumerate(records):
        if r.category == category and r.style in HELD_OUT_STYLES:
            by_root.setdefault(r.root, []).append(i)
    caps = {"train": TRAIN_PER_CLASS, "val": VALIDATION_PER_CLASS, "test": TEST_CAP}
    filled = dict.fromkeys(caps, 0)
    split_of: dict[int, str] = {}
    test_roots = set()
    for root in sorted(by_root, key=lambda name: stable_hash("split" + name)):
        split = next((s for s in ("train", "val") if filled[s] < caps[s]), "test")
        room = max(0, caps[split] - filled[split])
        chosen = sorted(by_root[root], key=lambda i: picture_order(records[i]))[:room]
        split_of.update(dict.fromkeys(chosen, split))
        filled[split] += len(chosen)
        if split == "test":
            test_roots.add(root)
    for domain in sorted(set(SHIFTED_DOMAINS.values())):
        shifted = [
            i for i, r in enumerate(records) if r.domain == domain and r.category == category and r.root in test_roots
        ]
        chosen = sorted(shifted, key=lambda i: picture_order(records[i]))[:TEST_CAP]
        split_of.update(dict.fromkeys(chosen, "test"))
    return split_of


def split_pictures(records: Sequence[Record], classes: Sequence[str]) -> dict[int, str]:
    """The split of every picture that has one, by row number."""
    split_of: dict[int, str] = {}
    for category in classes:
        split_of.update(split_class(records, category))
    return split_of


# ---- shipped files


def read_categories() -> list[str]:
    """The 45 class names in label order."""
    return (SHIPPED / "categories.txt").read_text().splitlines()


def read_index(name: str) -> list[dict[str, str]]:
    """The rows of a shipped zip file's index.csv."""
    with zipfile.ZipFile(SHIPPED / f"{name}.zip") as archive:
        return list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))


def read_pictures(name: str, files: Sequence[str]) -> torch.Tensor:
    """Decode pictures of a shipped zip file and normalise them, ready for the model."""
    with zipfile.ZipFile(SHIPPED / f"{name}.zip") as archive:
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(f))).convert("RGB")) for f in files])
    return normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Shift and scale pictures in 0..1 to what the model expects."""
    return (pictures - MEAN) / STD


# ---- tokenizer and model


def short_bpe() -> bytes:
    """The first merges of the vocabulary file that open_clip ships, as a gzip file of its own."""
    with gzip.open(default_bpe()) as file:
        lines = file.read().decode().split("\n")[: BPE_MERGES + 1]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def build_tokenizer() -> SimpleTokenizer:
    """CLIP's tokenizer, cut to a vocabulary of 4096."""
    return SimpleTokenizer(bpe_path=str(SHIPPED / "bpe_4k.txt.gz"), context_length=CONTEXT_LENGTH)


def build_model() -> CLIP:
    """The small CLIP of clip-emoji.json with fresh weights."""
    config = json.loads((SHIPPED / "clip-emoji.json").read_text())
    config.pop("preprocess_cfg")
    config["text_cfg"].pop("tokenizer_kwargs")
    return CLIP(**config)


def load_weights(model: CLIP, path: Path) -> None:
    """Load fp16 weights into the model; the attention mask is no weight and is not in the file."""
    weights = {key: value.float() for key, value in load_file(path).items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"attn_mask"}:
        raise ValueError(f"{path.name} does not fit the model: missing {missing}, unexpected {unexpected}")


# ---- zero-shot


def with_article(name: str) -> str:
    """The name after "a" or "an", chosen by its first letter."""
    return f"{article(name)} {name}"


def article(name: str) -> str:
    """The indefinite article, chosen by the first letter."""
    return "an" if name[0].lower() in "aeiou" else "a"


@torch.no_grad()
def image_features(model: CLIP, pictures: torch.Tensor, batch: int = 250) -> torch.Tensor:
    """Unit-length features of normalised pictures."""
    return torch.cat([model.encode_image(part, normalize=True) for part in pictures.split(batch)])


@torch.no_grad()
def class_features(
    model: CLIP, tokenizer: SimpleTokenizer, names: Sequence[str], templates: Sequence[str]
) -> torch.Tensor:
    """One unit-length feature per name: the mean over the templates."""
    total = torch.zeros(())
    for template in templates:
        texts = [template.format(article=article(name), name=name) for name in names]
        total = total + model.encode_text(tokenizer(texts), normalize=True)
    return F.normalize(total, dim=-1)


def accuracy(images: torch.Tensor, texts: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of pictures, in per cent, whose nearest text is that of their label."""
    return 100 * ((images @ texts.T).argmax(1) == labels).float().mean().item()
