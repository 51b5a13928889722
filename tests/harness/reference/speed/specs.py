"""What the tests of the benchmark measure, and how they read what it wrote."""

import json
from typing import Any

import torch

from harness.reference.speed.spec import Row, SpeedSpec
from harness.reference.speed.timing import Sample, Timings, Work

CLASSES, BATCH = 8, 2


def spec_of(*rows: Row, **changes: Any) -> SpeedSpec:
    sizes = {"classes": CLASSES, "batch_size": BATCH, "eval_batch_size": BATCH, "cache_batch_size": BATCH}
    return SpeedSpec(**{"backbone": "clip-emoji", "class_names": ("emoji-food",), "rows": rows, **sizes, **changes})


def strictly(text: str) -> Any:
    """JSON without NaN and infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def at_once(reference: Work, here: Work, device: torch.device, pairs: int) -> Timings:
    """Stands in for `time_in_turn` and runs nothing: the one takes 4 seconds, the other 2."""
    return Timings((Sample(4.0, 5.0),) * pairs, (Sample(2.0, 3.0),) * pairs)
