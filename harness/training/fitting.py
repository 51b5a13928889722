"""What a method computes from the shots without training: `Method.fit`, in the arithmetic of a precision."""

import random

import torch

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter
from harness.training.build import move
from harness.training.feature_cache import TrainingImages
from harness.training.precision import autocast, store_method
from methods.base import Method, Shots, TooFewShotsError


@torch.no_grad()
def fit_method(method: Method, shots: Shots, precision: str, seed: int) -> None:
    """Fit a method to its shots; what it adds gets the weights of a precision.

    Args:
        method: built for the training classes, which are set.
        shots: at the method's `image_start`, on its device.
        precision: fp32, bf16, fp16 or half.
        seed: of the run; what `fit` draws depends on nothing else.

    Raises:
        UserError: there are too few shots or views.
    """
    device = method.clip.device
    torch.manual_seed(random.Random(f"fit/{seed}").getrandbits(63))
    try:
        with autocast(precision, device):
            method.fit(shots)
    except TooFewShotsError as error:
        raise UserError(str(error)) from None
    move(store_method(method, precision), device)


def shots_of(images: TrainingImages, spec: RunSpec) -> Shots:
    """The shots that the method of a run is fitted to: the first views of its training images."""
    views = images.first_views(spec.train.fit_views or images.views or 1)
    return Shots(views, images.pictures.labels.to(images.clip.device), spec.data.shots)


def fit_to_images(method: Method, images: TrainingImages, spec: RunSpec, meter: Meter) -> None:
    """Fit the method of a run to its training images.

    Args:
        method: built for the training classes, which are set.
        images: at the method's stage.
        spec: the run.
        meter: receives the costs of the phase `fit`.
    """
    shots = shots_of(images, spec)
    before = [*method.parameters(), *method.buffers(), *images.resident(), shots.x]

    def fit() -> None:
        fit_method(method, shots, spec.train.precision, spec.seed)

    if not method.trains and images.is_cached:
        meter.probe("cache", images.run_first_batch, before, on_gpu=images.shared is not None)
    # First, so that what it leaves behind is replaced.
    meter.probe("fit", fit, before)
    with meter.phase("fit", images=len(images.pictures)):
        fit()
