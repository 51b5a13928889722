"""Whatever decides the features of a picture is in the name under which they are kept."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.clip.load import load_backbone
from harness.clip.towers import CLIP, END, POOLED
from harness.data.transforms import TestTransform, TrainTransform
from harness.training import feature_identity
from harness.training.feature_identity import code_digest, entry_name, tower_digest

TEST = TestTransform(48)


def name_of(clip: CLIP, **changes: Any) -> str:
    found: dict[str, Any] = {"stage": END, "precision": "fp32", "transform": TEST, "key": "", "at_once": 8}
    found |= {"folder": Path("/data"), **changes}
    return entry_name(clip, found.pop("tower", "0"), **found)


@dataclass(frozen=True)
class OtherTransform(TestTransform):
    """The same fields, another name."""


def test_whatever_decides_features_is_in_the_name_of_an_entry(clip: CLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        name_of(clip),
        name_of(clip, tower="1"),
        name_of(clip, stage=POOLED),
        name_of(clip, precision="bf16"),
        name_of(clip, transform=TestTransform(64)),
        name_of(clip, transform=replace(TEST, interpolation="bilinear")),
        name_of(clip, transform=OtherTransform(48)),
        name_of(clip, transform=TrainTransform(48)),
        name_of(clip, transform=TrainTransform(48, flip=False)),
        name_of(clip, folder=Path("/other")),
        name_of(clip, key="1/0"),
        name_of(clip, at_once=4),
    ]
    clip.speedups.read_one_token = False
    names.append(name_of(clip))
    clip.preprocessing = replace(clip.preprocessing, mean=(0.5, 0.5, 0.5))
    names.append(name_of(clip))
    for what in ("package_version", "processor_name", "code_digest"):
        monkeypatch.setattr(feature_identity, what, lambda *_: "another")
        names.append(name_of(clip))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    names.append(name_of(clip))
    assert len(set(names)) == len(names) == 18


def test_every_weight_and_module_of_the_tower_counts(clip: CLIP) -> None:
    digests = {tower_digest(clip.image, END), tower_digest(clip.image, POOLED)}
    again = load_backbone("clip-emoji")
    assert {tower_digest(again.image, END), tower_digest(again.image, POOLED)} == digests
    states = list(clip.image.state_dict().values())
    for value in states:
        value.data.view(-1)[0] += 1
        digests.add(tower_digest(clip.image, END))
        value.data.view(-1)[0] -= 1
    assert len(digests) == 2 + len(states)
    block: Any = clip.image.blocks[0]
    block.attn.num_heads = 2
    digests.add(tower_digest(clip.image, END))
    block.mlp.gelu = torch.nn.ReLU()
    digests.add(tower_digest(clip.image, END))
    digests.add(tower_digest(clip.image.half(), END))
    assert len(digests) == 5 + len(states)


def test_the_code_that_computes_features_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = code_digest()
    root = Path(feature_identity.harness.__file__).parent
    for place in feature_identity.DECIDING:
        assert (root / place).exists(), f"feature_identity.DECIDING names {place}"
        target = tmp_path / "harness" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if place.endswith(".py"):
            target.write_bytes((root / place).read_bytes())
        else:
            target.mkdir()
            for path in (root / place).glob("*.py"):
                (target / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(feature_identity.harness, "__file__", str(tmp_path / "harness" / "__init__.py"))
    code_digest.cache_clear()
    assert code_digest() == found
    with (tmp_path / "harness" / "clip" / "blocks.py").open("a") as file:
        file.write("# another\n")
    code_digest.cache_clear()
    assert code_digest() != found
    code_digest.cache_clear()
