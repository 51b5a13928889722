"""What a run takes from the pictures of its sample, by what its method does: train, be fitted, choose."""

from typing import TYPE_CHECKING

from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec

if TYPE_CHECKING:
    from methods.base import Method

# Settings of the training that matter although nothing trains.
ALWAYS = ("train.precision",)
# Those that matter to a method that is fitted.
OF_FIT = ("train.views", "train.fit_views", "train.cache_batch_size")

# Those that decide which pictures are in the sample.
OF_SAMPLE = ("data.index", "data.sampling", "data.sample_seed")


def is_fitted(spec: RunSpec) -> bool:
    """Whether something is computed from the training pictures before anything trains."""
    return method_class(spec.method).is_fitted()


def chooses(spec: RunSpec) -> bool:
    """Whether the method chooses something on validation pictures."""
    return method_class(spec.method).selects()


def uses_training_pictures(spec: RunSpec) -> bool:
    """Whether the result depends on the training pictures."""
    return spec.train.epochs > 0 or is_fitted(spec)


def depends_on_sample(spec: RunSpec) -> bool:
    """Whether the result depends on the training or validation pictures, and thereby on seed and shots."""
    return uses_training_pictures(spec) or chooses(spec)


def is_idle(cls: "type[Method]", key: str) -> bool:
    """Whether a setting with a dotted key changes nothing in any run of a method that does not train, or not choose."""
    if key.startswith("train."):
        return not cls.trains and key not in ALWAYS and not (cls.is_fitted() and key in OF_FIT)
    if key in ("data.label_noise", *OF_SAMPLE):
        chooses_on_sample = key in OF_SAMPLE and cls.selects()
        return not (cls.trains or cls.is_fitted() or chooses_on_sample)
    if key == "select.pictures":
        return not cls.selects()
    return key.startswith("select.") and not cls.trains and not (cls.selects() and key == "select.shots")
