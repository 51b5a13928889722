"""The harness, with all that makes it fast, ends every training in float64 where a plain loop ended, within 1e-8.

In float32 rounding moves weights in the sixth digit, and a chaotic recipe makes that any digit. In float64 the two ways
agree to the eleventh, so that whatever moves these weights further is a change of what is computed. The plain loop is
`tests/plain_training.py`; what it ended with is stored by

    python -m tests.store_trainings METHOD
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from harness.clip.prompts import Prompts
from harness.clip.speedups import Speedups
from harness.clip.towers import CLIP, ImageTower, TextTower
from harness.data.loader import PictureSet
from harness.experiment.registry import method_names
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter
from harness.training import step, trainer
from harness.training.build import build_clip, build_method
from harness.training.feature_cache import TrainingImages
from harness.training.fitting import fit_to_images
from harness.training.selection import choose, validation_images
from harness.training.state import trained_state
from harness.training.trainer import Trainer
from tests import store_trainings
from tests.plain_training import Sample, is_checked, view_of
from tests.stored_trainings import FOLDER, Summary, differences, path_of, read, summarise

CHECKED = [name for name in method_names() if is_checked(name)]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Views:
    """A function of an image and a key as a transform of the harness."""

    view: Callable[[Image.Image, str], Image.Image]
    is_fixed: bool = False
    decode: str = "exact"

    def __call__(self, image: Image.Image, key: str) -> Image.Image:
        return self.view(image, key)


def train(spec: RunSpec, measured: bool = True) -> dict[str, Summary]:
    """What a method knows after a training by the harness's own machinery, in float64.

    Args:
        spec: of the run.
        measured: whether costs are measured before the first step, as in every run; that takes as long as all steps.
    """
    sample = Sample.of(spec)
    clip = build_clip(spec.backbone, spec.train.precision, CPU).double()
    assert clip.speedups == Speedups()
    assert spec.train.caches
    method = build_method(clip, spec.method, spec.options, sample.texts, spec.train.precision, spec.seed).double()
    pictures = PictureSet(sample.data.read(spec.data.dataset).folder, sample.pictures)
    meter = Meter(CPU)
    images = TrainingImages(
        clip, pictures, Views(view_of), method.image_start, spec.train, spec.seed, meter, frozen_view=method.frozen_view
    )
    if method.is_fitted():
        fit_to_images(method, images, spec, meter)
    before = {name: value.detach().clone() for name, value in trained_state(method).items()}
    if method.trains:
        trainer = Trainer(method, images, spec, meter)
        if not measured:
            trainer.flops = {"train": 0.0, "cache": 0.0}
        trainer.train(0, lambda record: None)
    if method.selects():
        found = validation_images(method, pictures, Views(lambda image, key: image), spec.train.precision, batch_size=5)
        choose(method, found.scorer(method))
    return summarise(before, trained_state(method))


@pytest.fixture(autouse=True)
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let steps within the backward pass begin long before it ends, as with large towers."""
    monkeypatch.setattr(step, "PART_BYTES", 20_000)


@pytest.mark.parametrize("name", CHECKED)
def test_the_harness_trains_to_the_weights_of_the_plain_loop(name: str) -> None:
    if not path_of(name).exists():
        pytest.fail(f"no training of '{name}' is stored: python -m tests.store_trainings {name}", pytrace=False)
    stored = read(name)
    assert not differences(stored.weights, train(stored.spec))


def test_every_stored_training_is_that_of_a_method() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} <= set(CHECKED)


# Mistakes that a comparison of losses or of accuracies in float32 might not notice.
Patch = pytest.MonkeyPatch


def with_train(**changes: object) -> Callable[[RunSpec, Patch], RunSpec]:
    """Change settings of the training."""
    return lambda spec, patch: spec.model_copy(update={"train": spec.train.model_copy(update=changes)})


def without_last_token_of_one_class(spec: RunSpec, patch: Patch) -> RunSpec:
    tokenize = CLIP.tokenize

    def wrong(clip: CLIP, texts: list[str]) -> Prompts:
        prompts = tokenize(clip, texts)
        ids = prompts.ids.clone()
        ids[0, prompts.eot[0] - 1] += 1
        return replace(prompts, ids=ids)

    patch.setattr(CLIP, "tokenize", wrong)
    return spec


def reading(tower: type[TextTower] | type[ImageTower], shift: int) -> Callable[[RunSpec, Patch], RunSpec]:
    """Let a tower read other tokens after its last block."""

    def plant(spec: RunSpec, patch: Patch) -> RunSpec:
        right = tower.read_positions
        patch.setattr(tower, "read_positions", lambda *tokens: right(*tokens) + shift)
        return spec

    return plant


def rates_of_the_next_epoch(spec: RunSpec, patch: Patch) -> RunSpec:
    set_rates = trainer.set_rates
    patch.setattr(trainer, "set_rates", lambda steps, recipe, epoch, *when: set_rates(steps, recipe, epoch + 1, *when))
    return spec


def labels_of_the_next_image(spec: RunSpec, patch: Patch) -> RunSpec:
    batches = TrainingImages.batches
    patch.setattr(
        TrainingImages, "batches", lambda images, *which: ((x, y.roll(1)) for x, y in batches(images, *which))
    )
    return spec


MISTAKES: dict[str, Callable[[RunSpec, Patch], RunSpec]] = {
    "weight decay is forgotten": with_train(weight_decay=0.0),
    "momentum is a little less": with_train(momentum=0.899),
    "the last warm-up rate is off in the third digit": with_train(warmup_lr=1.01e-5),
    "every epoch sees the views of the first": with_train(cache="once"),
    "one token of one prompt is another": without_last_token_of_one_class,
    "the last block reads the token before end-of-text": reading(TextTower, -1),
    "the last block reads a patch instead of the class token": reading(ImageTower, 1),
    "the schedule is one epoch ahead": rates_of_the_next_epoch,
    "images have the labels of others": labels_of_the_next_image,
}


@pytest.mark.parametrize("name", ["coop", "skip"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_harness_is_noticed(name: str, mistake: str, monkeypatch: Patch) -> None:
    stored = read(name)
    assert differences(stored.weights, train(MISTAKES[mistake](stored.spec, monkeypatch), measured=False))


def test_a_method_without_a_stored_training_gets_one_by_the_command(
    tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.stored_trainings.FOLDER", tmp_path)
    store_trainings.main(["coop"])
    assert read("coop").spec.method == "coop"
    assert "coop.json: moved by up to 0.0" in capsys.readouterr().out
