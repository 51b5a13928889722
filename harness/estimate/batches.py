"""How many pictures a run puts through its backbone at once where its spec leaves that open, found by a rehearsal."""

import torch

from harness.errors import first_line
from harness.estimate.fit import device_of, shared_estimator
from harness.estimate.known_batches import known_or_found
from harness.experiment.spec import RunSpec
from harness.experiment.templates import start_stages
from harness.machine.costs import Batches
from harness.results.log import log
from harness.training.batches import fewest, leaves_open, most
from harness.training.shared_features import is_shareable

CHOSEN = ("cache", "evaluate")
"""Phases whose batches are chosen."""


def choose_batches(spec: RunSpec) -> Batches:
    """The most pictures with which neither caching passes nor evaluations take more memory than a training step.

    Features that runs share are always computed a few pictures at once, so there is nothing to choose. Where nothing
    trains, or the step of a method cannot be rehearsed, it is as few as keep the device busy.
    """
    starts = start_stages(spec)
    if not leaves_open(spec) or (starts and is_shareable(starts[0])):
        return most(spec)
    device = device_of(spec)
    try:
        with torch.random.fork_rng([]):
            return known_or_found(spec, device, lambda alike: rehearse(alike, device))
    except Exception as error:  # whatever a rehearsal cannot do, a run may
        log.info("the training step cannot be rehearsed (%s)", first_line(error))
        return fewest(spec, torch.device(device))


def rehearse(spec: RunSpec, device: str) -> Batches:
    """What the estimator finds for a run on a type of device.

    Raises:
        UserError: as `Estimator.estimate`.
    """
    found = shared_estimator().estimate(spec, device=device, phases=CHOSEN, flops=False).batches
    assert found
    return found
