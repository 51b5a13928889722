"""How many pictures go through a backbone at once outside of training steps: in caching passes and in evaluations."""

from collections.abc import Callable

import torch

from harness.clip.towers import END
from harness.experiment.place import MOST_EVALUATED
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import MOST_CACHED
from harness.machine.costs import Batches
from harness.training.shared_features import AT_ONCE, in_memory
from methods.base import Method

Choose = Callable[[RunSpec], Batches]
"""Chooses what a run leaves open."""


def leaves_open(spec: RunSpec) -> bool:
    """Whether a run leaves open how many pictures go through its backbone at once."""
    return spec.train.cache_batch_size is None or spec.runtime.eval_batch_size is None


def most(spec: RunSpec) -> Batches:
    """What a run asks for; what it leaves open is the most that is useful."""
    return Batches(
        cache=spec.train.cache_batch_size or MOST_CACHED,
        evaluate=spec.runtime.eval_batch_size or MOST_EVALUATED,
    )


def fewest(spec: RunSpec, device: torch.device) -> Batches:
    """What a run asks for; what it leaves open is what keeps a device busy."""
    floor = in_memory(device, END, MOST_CACHED)
    return Batches(
        cache=spec.train.cache_batch_size or floor,
        evaluate=spec.runtime.eval_batch_size or floor,
    )


def batch_sizes(fewest: int, most: int) -> list[int]:
    """The sizes among which is chosen, in ascending order.

    All but the largest are multiples of what features are computed in, so that what is left over is no small remainder
    either, as far as possible: small products of matrices round differently.
    """
    return [size for size in range(AT_ONCE, most, AT_ONCE) if size >= fewest] + [most]


def at_the_same_time(batches: Batches, method: Method, device: torch.device) -> Batches:
    """The pictures that are on their way through the image tower at the same time, for the record."""
    stage = method.image_start
    return Batches(
        cache=in_memory(device, stage, batches.cache),
        evaluate=in_memory(device, stage, batches.evaluate),
    )
