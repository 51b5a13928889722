"""What decides the features of a picture: everything that enters the name of an entry and of a row of the store."""

import hashlib
import json
import zipfile
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import harness
from harness.clip.towers import CLIP, END, Stage, Tower
from harness.data.loader import Transform
from harness.data.picture_files import file_state
from harness.data.readers import Picture
from harness.machine.environment import package_version, processor_name
from harness.training.feature_store import NAME_BYTES

DECIDING = ("clip", "data", "training/inference.py", "training/precision.py", "training/shared_features.py")
"""The code of SkipBench that computes features, in harness/."""
PACKAGES = ("torch", "open_clip_torch", "timm", "numpy", "pillow")
UNKNOWN = b""
"""Name of a row whose picture has no state that could be told from another."""


@cache
def code_digest(places: tuple[str, ...] = DECIDING) -> str:
    """Digest of the code that computes features, or of other files and folders: whoever changes it gets new ones."""
    root = Path(harness.__file__).parent
    found = hashlib.blake2b(digest_size=16)
    for place in places:
        for path in [root / place] if place.endswith(".py") else sorted((root / place).glob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()


def tower_digest(tower: Tower, stage: Stage) -> str:
    """Digest of what computes the images at a stage: the values of all weights before it, and what modules they are in.

    Args:
        tower: on any device.
        stage: POOLED or END.
    """
    found = hashlib.sha256()
    for name, module in tower.named_modules():
        heads = getattr(module, "num_heads", None)
        found.update(f"{name} {type(module).__name__} {module.extra_repr()} {heads}\n".encode())
    after = () if stage == END else tower.projection_names
    for name, value in tower.state_dict().items():
        if name not in after:
            found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def computing(device: torch.device) -> dict[str, Any]:
    """What computes, as far as rounding and time depend on it."""
    on_gpu = device.type == "cuda"
    return {
        "code": code_digest(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if on_gpu else processor_name(),
        "kind": device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda if on_gpu else None,
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "tf32": torch.backends.cudnn.allow_tf32,
        "mkldnn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
    }


def entry_name(
    clip: CLIP, tower: str, stage: Stage, precision: str, transform: Transform, folder: Path, key: str, at_once: int
) -> str:
    """Everything that decides features but the pictures, as text.

    Args:
        clip: computes them.
        tower: `tower_digest` of its image tower.
        stage: of the features.
        precision: fp32, bf16, fp16 or half.
        transform: from image to square; a dataclass.
        folder: that the paths of the pictures are relative to.
        key: of the random views; empty for testing.
        at_once: pictures that are computed together.
    """
    return json.dumps(
        {
            **computing(clip.device),
            "tower": tower,
            "stage": "END" if stage == END else "POOLED",
            "precision": precision,
            "speedups": vars(clip.speedups),
            "transform": [type(transform).__name__, asdict(transform)],
            "normalisation": [clip.mean, clip.std],
            "folder": str(folder.resolve()),
            "key": key,
            "at_once": at_once,
        },
        sort_keys=True,
    )


def picture_names(folder: Path, pictures: Iterable[Picture]) -> list[bytes]:
    """The names of the rows of some pictures; UNKNOWN for those whose files tell no state."""
    return [_picture_name(folder, picture.path) for picture in pictures]


def _picture_name(folder: Path, path: str) -> bytes:
    try:
        state = file_state(folder, path)
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return UNKNOWN
    half = NAME_BYTES // 2
    texts = (path, repr(state))
    return b"".join(hashlib.blake2b(text.encode(errors="replace"), digest_size=half).digest() for text in texts)


def names_tensor(names: Iterable[bytes]) -> Tensor:
    """Names of rows as uint8 (N, 32)."""
    return torch.frombuffer(bytearray(b"".join(names)), dtype=torch.uint8).view(-1, NAME_BYTES)
