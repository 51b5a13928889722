"""A training of every method in float64 ends where it always has, to eight digits.

In float32 another processor or torch rounds differently, and that alone changes weights in the sixth digit. In float64
it changes the fourteenth, so that whatever moves these weights is a change of what is computed. The vectors are written
by

    python -m tests.harness.training.test_float64
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.clip.load import load_backbone
from harness.data.loader import PictureSet
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_class, method_names
from harness.experiment.settings import parse_overrides
from harness.machine.meter import Meter
from harness.training.build import build_method
from harness.training.feature_cache import TrainingImages
from harness.training.run import Run
from harness.training.state import trained_parameters
from harness.training.trainer import Trainer
from methods.base import Shots

VECTORS = Path(__file__).with_name("float64_weights.json")
TOLERANCE = 1e-8
ENTRIES = 6
# Its cache is compared with images in float32 whatever the weights are.
IN_FLOAT32 = ("tip_adapter_f",)
TRAINED = [name for name in method_names() if method_class(name).trains and name not in IN_FLOAT32]
# Steps with and without warm-up, momentum, a rate that falls, and batches of several classes, in a second or two.
# Written out, so that a recipe of the embedded benchmark may change.
WORDS = (
    "train.epochs=3",
    "train.batch_size=8",
    "train.warmup_epochs=1",
    "train.warmup_lr=1e-5",
    "data.classes=base.base",
    "runtime.device=cpu",
    "wandb.mode=disabled",
)
METHODS = {
    "clap": ("train.lr=1e-1", "train.views=2", "train.batches=all_views"),
    "clip_adapter": ("train.lr=2e-2",),
    "cocoop": ("train.lr=2e-3", "cocoop.ctx_init=a photo of a"),
    "clip_lora": ("train.lr=1e-3", "train.optimizer=adamw", "train.weight_decay=1e-2", "clip_lora.dropout=0"),
    "coop": ("train.lr=2e-3", "coop.n_ctx=4", "coop.ctx_init=null"),
    "finetune": ("train.lr=1e-4",),
    # Alpha moves after ten epochs.
    "lp_plus_plus": ("train.epochs=12", "train.batch_size=null", "train.views=1", "train.schedule=constant"),
    "maple": ("train.lr=5e-4", "maple.depth=3"),
    "mma": ("train.lr=1.5e-3", "mma.start=3"),
    "prolip": ("train.lr=1e-3", "train.optimizer=adam", "train.eps=1e-4", "train.views=2", "train.fit_views=1"),
    "skip": ("train.lr=3e-4", "train.lr_image=1e-4", "skip.depth=3"),
    "taskres": ("train.lr=2e-3", "train.optimizer=adam", "train.views=2"),
    "zs_lp": ("train.lr=1e-1", "train.views=2", "train.batches=all_views"),
}


class Float64Images(TrainingImages):
    """Training images in float64, from the same decoded and augmented pixels."""

    def pixels(self, epoch: int, indices: Sequence[Sequence[int]], views: int = 1) -> Iterator[Tensor]:
        assert views == 1
        mean, std = (torch.tensor(values).double()[:, None, None] for values in (self.clip.mean, self.clip.std))
        for batch in self.pictures.batches(self.transform, indices, f"{self.seed}/{epoch}"):
            yield (batch.double() / 255 - mean) / std


def train(name: str) -> dict[str, Tensor]:
    """Name -> trained values of a method after its training in float64."""
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": [name], "shots": [2], "seeds": [1]})
    (spec,) = expand(experiment, parse_overrides([*WORDS, *METHODS.get(name, ())]))
    run = Run(spec, Path())
    data = run.data.few_shot()
    clip = load_backbone(spec.backbone).double()
    texts = run.data.texts(spec.data.dataset, spec.data.classes)
    method = build_method(clip, name, spec.options, texts, "fp32", spec.seed).double()
    pictures = PictureSet(data.splits.folder, run.data.training_pictures(data))
    meter = Meter(torch.device("cpu"))
    transform = run.data.train_transform(clip)
    images = Float64Images(clip, pictures, transform, method.image_start, spec.train, spec.seed, meter)
    if method.is_fitted():
        views = images.first_views(spec.train.fit_views or images.views or 1)
        with torch.no_grad():
            method.fit(Shots(views, pictures.labels, spec.data.shots))
    trainer = Trainer(method, images, spec, meter)
    trainer.flops = {"train": 0.0, "cache": 0.0}
    trainer.train(0, lambda record: None)
    return {key: value.detach() for key, value in trained_parameters(method).items()}


def summary(values: dict[str, Tensor]) -> dict[str, list[float]]:
    """Name -> norm of a tensor, and some of its entries."""
    found = {}
    for name, value in values.items():
        flat = value.flatten()
        positions = torch.linspace(0, len(flat) - 1, min(ENTRIES, len(flat))).long()
        found[name] = [float(flat.norm()), *flat[positions].tolist()]
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_in_float64_ends_where_it_always_has(name: str) -> None:
    expected = json.loads(VECTORS.read_text())[name]
    found = summary(train(name))
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        ours, theirs = torch.tensor(found[key]).double(), torch.tensor(numbers).double()
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) <= TOLERANCE * max(1.0, float(theirs.abs().max())), key


if __name__ == "__main__":
    VECTORS.write_text(json.dumps({name: summary(train(name)) for name in TRAINED}) + "\n")
