"""What the tests of the benchmark measure, and how they read what it wrote."""

import json
from typing import Any

from harness.reference.speed.spec import Row, SpeedSpec

CLASSES, BATCH = 8, 2


def spec_of(*rows: Row, **changes: Any) -> SpeedSpec:
    sizes = {"classes": CLASSES, "batch_size": BATCH, "eval_batch_size": BATCH, "cache_batch_size": BATCH}
    return SpeedSpec(**{"backbone": "clip-emoji", "class_names": ("emoji-food",), "rows": rows, **sizes, **changes})


def strictly(text: str) -> Any:
    """JSON without NaN and infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)
