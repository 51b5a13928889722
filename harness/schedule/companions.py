"""Which runs may train as one: those of one method that differ in numbers of their training only."""

import json
from functools import cache

from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec
from harness.training.precision import FULL_TYPES
from methods.base import Method

NUMBERS = ("lr", "lr_image", "lr_min", "warmup_lr", "warmup_epochs", "momentum", "weight_decay", "betas", "eps")
"""Settings of `train` in which such runs may differ: the optimizer keeps them for each run."""


@cache
def is_on_features(method: str) -> bool:
    """Whether a method trains with kept features of both towers, whose training steps are small."""
    cls = method_class(method)
    starts_at_the_end = cls.start_stages is Method.start_stages
    return cls.trains and starts_at_the_end and cls.frozen_view is None and not cls.changes_gradients()


def may_train_together(spec: RunSpec) -> bool:
    """Whether a run may train as one with others like it."""
    train = spec.train
    return (
        is_on_features(spec.method)
        and train.epochs > 0
        and train.caches
        and train.compile == "none"
        and train.optimizer != "lbfgs"
        # Batches of one class have sizes that depend on the sample.
        and train.batches != "same_class"
        and train.precision in FULL_TYPES
        # Whoever looks at a method between its epochs also measures it, as one that has its memory to itself.
        and train.validate_every is None
        and spec.select.epoch == "last"
    )


def together_key(spec: RunSpec) -> str | None:
    """A text that is equal for runs that may train as one; None for a run that trains alone.

    Raises:
        UserError: a file or folder that the run names by its path cannot be read.
    """
    if not may_train_together(spec):
        return None
    identity = spec.identity()
    data = {key: value for key, value in identity["data"].items() if key not in ("sample_seed", "index")}
    train = {key: value for key, value in identity["train"].items() if key not in NUMBERS}
    runtime = spec.runtime.model_dump(mode="json")
    return json.dumps({**identity, "seed": None, "data": data, "train": train, "runtime": runtime}, sort_keys=True)
