"""What the untouched CLIP embeds beside the images of a method, whatever is cached and wherever it comes from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.clip.load import load_backbone
from harness.clip.towers import CLIP, END, RAW
from harness.data import picture_files
from harness.data.datasets import read_dataset
from harness.data.loader import PictureSet, normalise
from harness.data.transforms import TrainTransform
from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import TrainSpec
from harness.machine.meter import Meter
from harness.machine.units import MIB
from harness.reference.stability.recording import RecordedImages
from harness.training.feature_cache import Batch, TrainingImages
from harness.training.feature_store import FeatureStore
from harness.training.refusals import refuse_trained_teacher
from harness.training.run import Run
from harness.training.shared_features import SharedFeatures
from tests.harness.reference.contract.faulty_taught_methods import TAUGHT_FAULTS

INDICES = [[4, 0, 2], [1, 3, 5]]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
DEPTHS = ("promptsrc.depth_text=1", "promptsrc.depth_image=1", "data.teacher_templates=zeroshot")
CACHES = ["none", "fresh", "once"]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe that the files of pictures will not change within a tick of the clock."""
    monkeypatch.setattr(picture_files, "SETTLED", 0.0)


def make_images(
    clip: CLIP, stage: int, view: str, shared: SharedFeatures | None = None, **train: Any
) -> TrainingImages:
    splits = read_dataset("emoji", None)
    spec = TrainSpec(cache_batch_size=4, **train)
    about = (PictureSet(splits.folder, splits.train[:7]), TrainTransform(48), stage, spec, 1)
    return TrainingImages(clip, *about, Meter(torch.device("cpu")), shared=shared, frozen_view=view)


def views(images: TrainingImages, key: str) -> list[Tensor]:
    """Batches of the random views with a key, drawn from the pictures themselves."""
    clip = images.clip
    batches = images.pictures.batches(TrainTransform(48), INDICES, [key], 0, False)
    return [normalise(batch, clip.mean, clip.std, clip.device) for batch in batches]


@torch.no_grad()
def assert_beside(images: TrainingImages, batch: Batch, own: Tensor, other: Tensor) -> None:
    """The batch is made of two views; what is frozen is embedded by a CLIP that nobody has touched."""
    assert batch.frozen is not None
    torch.testing.assert_close(batch.x, images.clip.image.run(own, RAW, images.stage), **CLOSE)
    torch.testing.assert_close(batch.frozen, load_backbone("clip-emoji").image.run(other), **CLOSE)


@pytest.mark.parametrize("stage", [0, 2, END])
@pytest.mark.parametrize("view", ["same", "other"])
@pytest.mark.parametrize("cache", CACHES)
def test_the_untouched_clip_embeds_the_same_or_another_view(clip: CLIP, stage: int, view: str, cache: str) -> None:
    images = make_images(clip, stage, view, cache=cache)
    for epoch in (0, 1):
        images.prepare(epoch)
        batches = list(images.with_frozen(epoch, INDICES))
        shown = 0 if cache == "once" and stage > 0 else epoch
        own = views(images, f"1/{shown}")
        other = own if view == "same" else views(images, f"1/other/{shown}")
        assert len(batches) == len(INDICES)
        for indices, batch, *pixels in zip(INDICES, batches, own, other, strict=True):
            assert_beside(images, batch, *pixels)
            assert batch.labels.tolist() == [images.pictures.pictures[index].label for index in indices]


@pytest.mark.parametrize("view", ["same", "other"])
@pytest.mark.parametrize("stage", [0, 2])
def test_epochs_take_turns_with_views_of_both(clip: CLIP, stage: int, view: str) -> None:
    images = make_images(clip, stage, view, views=2)
    for epoch in (0, 1, 2):
        images.prepare(epoch)
        own = views(images, f"1/{epoch % 2}")
        other = own if view == "same" else views(images, f"1/other/{epoch % 2}")
        for batch, *pixels in zip(images.with_frozen(epoch, INDICES), own, other, strict=True):
            assert_beside(images, batch, *pixels)


def test_without_a_twin_nothing_is_beside_a_batch(clip: CLIP) -> None:
    splits = read_dataset("emoji", None)
    about = (PictureSet(splits.folder, splits.train[:7]), TrainTransform(48), 0, TrainSpec(), 1)
    images = TrainingImages(clip, *about, Meter(torch.device("cpu")))
    assert [batch.frozen for batch in images.with_frozen(0, INDICES)] == [None, None]
    assert not images.caches


@pytest.mark.parametrize(("stage", "cached"), [(0, False), (2, True)])
@pytest.mark.parametrize("view", ["same", "other"])
def test_the_caching_pass_counts_an_image_once(clip: CLIP, stage: int, cached: bool, view: str) -> None:
    images = make_images(clip, stage, view)
    assert (images.is_cached, images.caches) == (cached, True)
    for epoch in (0, 0, 1):
        images.prepare(epoch)
    assert images.meter.phases["cache"].images == 2 * 7
    assert images.run_first_batch() == 4
    # Both passes take time, although the images of one of them are counted.
    assert images.meter.phases["cache"].seconds > 0
    uncached = make_images(clip, stage, view, cache="none")
    uncached.prepare(0)
    assert not uncached.caches
    assert uncached.meter.phases["cache"].images == 0


@pytest.mark.parametrize("stage", [0, 2])
def test_what_is_kept_of_the_twin_is_counted_too(clip: CLIP, stage: int) -> None:
    images = make_images(clip, stage, "same")
    assert (images.resident(), images.facts().cache_bytes, images.facts().cache_location) == ([], 0, None)
    images.prepare(0)
    kept = images.resident()
    twin = (7, clip.embed_dim)
    assert [tuple(tensor.shape) for tensor in kept] == ([twin] if stage == 0 else [(7, 37, 128), twin])
    assert images.facts().cache_bytes == sum(tensor.nbytes for tensor in kept)
    assert images.facts().cache_location == "host"


@pytest.mark.parametrize("stage", [0, 2, END])
@pytest.mark.parametrize("view", ["same", "other"])
def test_the_twin_comes_from_the_shared_store(clip: CLIP, tmp_path: Path, stage: int, view: str) -> None:
    store = FeatureStore(tmp_path / "store", 64 * MIB, pytest.fail)
    found = []
    for _ in range(2):
        images = make_images(clip, stage, view, SharedFeatures(clip, "fp32", store))
        assert images.is_shared
        images.prepare(0)
        found.append(list(images.with_frozen(0, INDICES)))
        own = views(images, "1/0")
        other = own if view == "same" else views(images, "1/other/0")
        for batch, *pixels in zip(found[-1], own, other, strict=True):
            assert_beside(images, batch, *pixels)
    for first, again in zip(*found, strict=True):
        assert torch.equal(first.frozen, again.frozen)
    assert images.frozen is not None
    shared = images.frozen.shared
    assert shared is not None
    key = "1/0" if view == "same" else "1/other/0"
    assert shared.of(images.pictures, images.transform, END, 4, key).computed == 0


@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.parametrize("view", ["same", "other"])
@pytest.mark.parametrize("cache", CACHES)
def test_recorded_batches_have_the_twin_and_nothing_is_computed_again(
    clip: CLIP, stage: int, view: str, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = RecordedImages(make_images(clip, stage, view, cache=cache))
    plain = make_images(clip, stage, view, cache=cache)

    def trained(images: TrainingImages) -> list[Batch]:
        found = []
        for epoch in (0, 1):
            images.prepare(epoch)
            found += [Batch(*map(torch.clone, batch)) for batch in images.with_frozen(epoch, INDICES)]
        return found

    expected, first = trained(plain), trained(recorded)
    monkeypatch.setattr(clip.image, "run", lambda *_: pytest.fail("nothing is computed"))
    for batch, once, again in zip(expected, first, trained(recorded), strict=True):
        for theirs, ours, later in zip(batch, once, again, strict=True):
            assert torch.equal(theirs, ours)
            assert torch.equal(ours, later)


@pytest.mark.parametrize(
    ("fault", "weight"),
    [
        ("trains what its teacher of texts is made of", "text.text_projection"),
        ("trains what its twin of images is made of", "image.proj"),
    ],
)
def test_a_run_whose_teacher_would_train_is_refused_before_it_begins(
    fault: str, weight: str, add_method: Callable[[str, str], None], make_spec: Callable[..., RunSpec], tmp_path: Path
) -> None:
    """Or else other runs would find in the shared store what trained weights embed."""
    add_method("near", TAUGHT_FAULTS[fault].code)
    with pytest.raises(UserError, match=rf"^Near trains '{weight}', with which its teacher") as told:
        Run(make_spec("near", "train.epochs=1", "wandb.mode=disabled", shots=1), tmp_path).execute()
    assert "\n" not in str(told.value)
    refuse_trained_teacher(Run(make_spec("promptsrc", *DEPTHS, shots=1), tmp_path).set_up().method)
