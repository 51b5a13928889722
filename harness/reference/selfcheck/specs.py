"""Which methods the self-check looks at, and the small runs that it makes of them."""

from pydantic import Field

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_names
from harness.experiment.settings import Section, Settings, parse_overrides, read_yaml, validate
from harness.experiment.spec import RunSpec
from harness.reference.selfcheck.findings import Asked

# Six classes, and others for methods that know them. Nothing that an earlier run computed.
SMALL = (
    "data.classes=base.base.base",
    "evaluate=[{name: seen, dataset: emoji, classes: base.base.base, splits: [val]}, "
    "{name: other, dataset: emoji, classes: base.base.new, splits: [val]}]",
    "train.batch_size=2",
    "runtime.feature_store_mib=0",
    "runtime.picture_store_mib=0",
    "runtime.workers=0",
    "wandb.mode=disabled",
)


class Chosen(Section):
    """The methods of sections that do not look at all of them: `experiments/selfcheck.yaml`."""

    repeat: tuple[str, ...] = Field(min_length=1)
    times: tuple[str, ...] = Field(min_length=1)
    large: tuple[str, ...] = Field(min_length=1)
    quick: tuple[str, ...] = Field(min_length=1)


def methods_of(asked: Asked, section: str | None = None) -> tuple[str, ...]:
    """The methods that a section looks at.

    Args:
        asked: by the user.
        section: that has methods of its own in `experiments/selfcheck.yaml`; None: it looks at all methods.
    """
    if asked.methods:
        return asked.methods
    chosen: Chosen = validate(Chosen, read_yaml(EXPERIMENTS / "selfcheck.yaml"), "")
    if asked.quick:
        return chosen.quick
    return tuple(method_names()) if section is None else getattr(chosen, section)


def small_spec(method: str, asked: Asked, *words: str, backbone: str | None = None) -> RunSpec:
    """A run of a method on six classes of the embedded data set, with the recipe for its backbone.

    Args:
        method: its name.
        asked: whose device computes.
        words: further settings, such as train.epochs=2.
        backbone: another one than the embedded one.

    Raises:
        UserError: a setting that the method cannot take.
    """
    changes: Settings = {"methods": [method], "seeds": [1], "shots": [1]}
    if backbone:
        changes["backbone"] = backbone
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes)
    return expand(experiment, parse_overrides([*SMALL, f"runtime.device={asked.device}", *words]))[0]
