"""Protocols: what a run trains on, what it is evaluated on, and how its numbers are judged and laid out in tables.

A new protocol is one more `Protocol` in `PROTOCOLS`; planning, sweeps, tables, figures, the report and the comparison
with published numbers read everything that they need to know from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from harness.errors import UserError, nearest
from harness.experiment.settings import Settings

BASE, NEW, ALL = "base", "new", "all"
BASE_TO_NEW, FEW_SHOT = "base_to_new", "few_shot"


class Layout(Enum):
    """How the tables of a protocol are laid out."""

    PARTS = "data set x (evaluations and the metric that sums them up)"
    SHOTS = "data set x shots"
    TARGETS = "training data set and target data sets"


@dataclass(frozen=True)
class Part:
    """One evaluation on the data set that a run trains on.

    Attributes:
        name: what tables call it.
        classes: subset of the classes, such as all, base, new or base.new.
        splits: train, val, test or held_out.
    """

    name: str
    classes: str
    splits: tuple[str, ...] = ("test",)

    def settings(self) -> Settings:
        """As an item of `evaluate` in a spec."""
        return {"name": self.name, "classes": self.classes, "splits": list(self.splits)}


@dataclass(frozen=True)
class Protocol:
    """What a run under this protocol is.

    Attributes:
        name: as users write it.
        about: one line for `skipbench list`.
        layout: of its tables.
        train_classes: subset of the classes to train on.
        parts: evaluations on the training data set; with `targets`, whole data sets are evaluated instead.
        targets: training data set -> data sets that a run is evaluated on besides it.
        headline: name of the metric that methods are ranked by (`harness.results.metrics`).
        validates: name of the protocol that settings chosen under this one are meant for; None for a protocol that
            tests. A protocol that validates reads no test image.
        needs_folds: whether it evaluates shots held out of training (`data.held_out`), so that sweeps need folds.
        published: name of the file of published numbers in `harness/report/published_numbers/`; None if there are none.
        published_average: what that file calls the average over target data sets.
    """

    name: str
    about: str
    layout: Layout
    train_classes: str = ALL
    parts: tuple[Part, ...] = ()
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headline: str = "accuracy"
    validates: str | None = None
    needs_folds: bool = False
    published: str | None = None
    published_average: str | None = None

    def settings(self) -> Settings:
        """Settings that every run under this protocol has, its evaluations excepted."""
        return {"data": {"classes": self.train_classes}}

    def evaluations(self, dataset: str, targets: tuple[str, ...] | None = None) -> list[Settings]:
        """What a run that trains on a data set is evaluated on, as items of `evaluate`.

        Args:
            dataset: the training data set.
            targets: data sets to evaluate on besides it; None: the protocol's own.

        Raises:
            UserError: the protocol takes no targets, or needs some and has none for this data set.
        """
        if not self.targets:
            if targets:
                takes = " or ".join(protocol.name for protocol in PROTOCOLS.values() if protocol.targets)
                raise UserError(f"protocol '{self.name}' takes no targets: use {takes}")
            return [part.settings() for part in self.parts]
        names = targets or self.targets.get(dataset)
        if not names:
            raise UserError(
                f"protocol '{self.name}' has no targets for training data set '{dataset}': train on "
                f"{' or '.join(self.targets)}, or set `targets` in the experiment file"
            )
        return [{"name": name, "dataset": name, "classes": ALL} for name in (dataset, *names)]


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol '{name}'.{nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def validation_protocols() -> list[str]:
    """Names of the protocols under which settings may be chosen."""
    return [protocol.name for protocol in PROTOCOLS.values() if protocol.validates]


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "base_to_new",
            "train on the first half of the classes, test on both halves; judged by their harmonic mean H",
            Layout.PARTS,
            train_classes=BASE,
            parts=(Part("base", BASE), Part("new", NEW)),
            headline="H",
            published="base_to_new",
        ),
        Protocol(
            "base_to_new_together",
            "base_to_new, and test images of both halves among all classes together: what OpenworldAUC is taken of",
            Layout.PARTS,
            train_classes=BASE,
            parts=(Part("base", BASE), Part("new", NEW), Part("together", ALL)),
            headline="H",
        ),
        Protocol(
            "base_to_new_validation",
            "base_to_new within the base classes, on validation images: for choosing settings",
            Layout.PARTS,
            train_classes="base.base",
            parts=(Part("base", "base.base", ("val",)), Part("new", "base.new", ("train", "val"))),
            headline="H",
            validates="base_to_new",
        ),
        Protocol(
            "base_to_new_held_out",
            "base_to_new within the base classes, on shots held out of training: for cross-validation",
            Layout.PARTS,
            train_classes="base.base",
            parts=(Part("base", "base.base", ("held_out",)), Part("new", "base.new", ("train",))),
            headline="H",
            validates="base_to_new",
            needs_folds=True,
        ),
        Protocol(
            "few_shot",
            "train and test on all classes, for one or several numbers of shots",
            Layout.SHOTS,
            parts=(Part("all", ALL),),
            published="few_shot",
        ),
        Protocol(
            "few_shot_validation",
            "few_shot on validation images: for choosing settings",
            Layout.SHOTS,
            parts=(Part("all", ALL, ("val",)),),
            validates="few_shot",
        ),
        Protocol(
            "few_shot_held_out",
            "few_shot on shots held out of training: for cross-validation",
            Layout.SHOTS,
            parts=(Part("all", ALL, ("held_out",)),),
            validates="few_shot",
            needs_folds=True,
        ),
        Protocol(
            "cross_dataset",
            "train on all classes of one data set, test on it and on other data sets",
            Layout.TARGETS,
            targets={
                "imagenet": (
                    "caltech101",
                    "oxford_pets",
                    "stanford_cars",
                    "oxford_flowers",
                    "food101",
                    "fgvc_aircraft",
                    "sun397",
                    "dtd",
                    "eurosat",
                    "ucf101",
                ),
                "emoji": ("emoji-faces", "emoji-animals", "emoji-food", "emoji-travel", "emoji-objects"),
            },
            headline="target_accuracy",
            published="cross_dataset",
            published_average="average_10_targets",
        ),
        Protocol(
            "domain_generalization",
            "train on all classes of one data set, test on it and on the same classes in other domains",
            Layout.TARGETS,
            targets={
                "imagenet": ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"),
                "emoji": ("emoji-outline", "emoji-glyph"),
            },
            headline="target_accuracy",
            published="domain_generalization",
            published_average="average_4_imagenet_variants",
        ),
    )
}
