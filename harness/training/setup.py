"""What a run builds before it trains."""

from dataclasses import dataclass

from harness.clip.towers import CLIP
from harness.results.record import Refusal
from harness.training.run_data import FewShotData
from methods.base import Method


@dataclass(frozen=True)
class Setup:
    """What a run builds before it trains.

    Attributes:
        clip: the backbone, as the precision stores it, on the device.
        data: the few-shot sample.
        method: built for the training classes.
        refusals: evaluations that the method cannot take part in.
    """

    clip: CLIP
    data: FewShotData
    method: Method
    refusals: tuple[Refusal, ...] = ()
