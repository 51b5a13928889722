"""Training from the feature maps of a ResNet: the same weights whatever the cache mode."""

from pathlib import Path

import torch

from harness.clip.load import load_backbone
from harness.experiment.spec import RunSpec
from tests.harness.training.test_trainer import SMALLER, Make, assert_same, make_trainer, train


def spec_of(make_spec: Make, tiny_resnet: Path, *overrides: str) -> RunSpec:
    spec = make_spec("skip", *SMALLER, "skip.depth=2", *overrides, shots=2)
    return spec.model_copy(update={"backbone": str(tiny_resnet)})


def test_cached_feature_maps_train_to_the_same_weights(make_spec: Make, tiny_resnet: Path) -> None:
    states = []
    for cache in ("none", "fresh"):
        state, records = train(spec_of(make_spec, tiny_resnet, f"train.cache={cache}"))
        states.append(state)
        assert records[0].loss != records[-1].loss
    # Batches of another size may round differently in the last bit, hence not bit for bit.
    assert_same(*states, rtol=1e-4, atol=1e-5)
    before = load_backbone(str(tiny_resnet)).state_dict()
    moved = {name.removeprefix("clip.") for name, value in states[0].items() if name.startswith("clip.")}
    assert {"image.layer4.0.conv2.weight", "image.attnpool.c_proj.weight"} <= moved
    assert not any(".bn" in name or ".downsample.1" in name or "positional" in name for name in moved)
    assert not torch.equal(states[0]["clip.image.layer4.0.conv2.weight"], before["image.layer4.0.conv2.weight"])


def test_the_cache_has_the_size_of_the_feature_maps(make_spec: Make, tiny_resnet: Path) -> None:
    trainer = make_trainer(spec_of(make_spec, tiny_resnet))
    trainer.images.prepare(0)
    assert trainer.images.features is not None
    # After one bottleneck of layer 2: eight times the width, an eighth of 64 pixels.
    assert trainer.images.features.shape[1:] == (64, 8, 8)
    assert trainer.images.facts().cache_bytes == len(trainer.images.features) * 64 * 8 * 8 * 4
