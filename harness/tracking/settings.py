"""What W&B is asked for: settings of a run first, then the environment; all of it checked before a run starts."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from harness.errors import UserError, nearest
from harness.experiment.differences import differences, in_short
from harness.experiment.spec import RunSpec
from harness.tracking.sinks import check_sinks

Mode = Literal["online", "offline", "disabled"]
DEFAULT_MODE: Mode = "offline"
DEFAULT_PROJECT = "skipbench"
# Values of WANDB_MODE besides the modes of a spec.
MODE_ALIASES: dict[str, Mode] = {"dryrun": "offline", "run": "online", "shared": "online"}
# W&B's limits.
LONGEST_NAME, LONGEST_TAG = 128, 64
NOT_IN_NAMES = "/\\#?%:"
# Variables of W&B for what is decided by the run.
IGNORED = {
    "WANDB_DIR": "W&B's files are kept in the folder of each run",
    "WANDB_NAME": "a run is named after its settings",
    "WANDB_RUN_ID": "a run has its own id",
    "WANDB_RESUME": "an interrupted run is always continued",
    "WANDB_JOB_TYPE": "it is train or eval",
}


@dataclass(frozen=True)
class Tracking:
    """What W&B is asked for.

    Attributes:
        mode: online, offline or disabled.
        project: W&B project.
        entity: W&B team or user; None for the user's default.
        group: of runs; None for none.
        tags: of the run.
        name: of the run, for people.
    """

    mode: Mode
    project: str
    entity: str | None
    group: str | None
    tags: tuple[str, ...]
    name: str


def tracking_of(spec: RunSpec, environment: Mapping[str, str] = os.environ) -> Tracking:
    """What W&B is asked for by a run.

    Raises:
        UserError: W&B would refuse it; names key and value.
    """
    asked = spec.wandb
    mode = tracking_mode(spec, environment)
    project = first(asked.project, "wandb.project", environment, "WANDB_PROJECT")
    entity = first(asked.entity, "wandb.entity", environment, "WANDB_ENTITY")
    tags = [("wandb.tags", tag) for tag in asked.tags] or [
        ("WANDB_TAGS", tag.strip()) for tag in environment.get("WANDB_TAGS", "").split(",") if tag.strip()
    ]
    if mode != "disabled":
        for key, value in (project, entity):
            if value is not None:
                check_name(key, value)
        for key, tag in tags:
            if not 1 <= len(tag) <= LONGEST_TAG:
                raise UserError(f"{key}: tag '{tag}' has {len(tag)} characters, W&B takes 1 to {LONGEST_TAG}")
    trial = () if spec.tracking.trial is None else (f"trial-{spec.tracking.trial}",)
    own = (spec.method, spec.data.dataset, spec.protocol, spec.backbone, *trial)
    return Tracking(
        mode=mode,
        project=project[1] or DEFAULT_PROJECT,
        entity=entity[1],
        group=fitting(asked.group) if asked.group else None,
        tags=(*(tag[:LONGEST_TAG] for tag in own), *(tag for _, tag in tags)),
        name=fitting(" ".join([spec.name, *trial, *in_short(spec.method, differences(spec))])),
    )


def tracking_mode(spec: RunSpec, environment: Mapping[str, str] = os.environ) -> Mode:
    """The spec's mode, else that of WANDB_DISABLED or WANDB_MODE, else offline.

    Raises:
        UserError: WANDB_MODE is none of W&B's modes.
    """
    if spec.wandb.mode:
        return spec.wandb.mode
    if environment.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return "disabled"
    word = environment.get("WANDB_MODE") or DEFAULT_MODE
    modes: dict[str, Mode] = {**{mode: mode for mode in get_args(Mode)}, **MODE_ALIASES}
    if word not in modes:
        raise UserError(f"WANDB_MODE={word} is no mode of W&B.{nearest(word, get_args(Mode))}")
    return modes[word]


def first(value: str | None, key: str, environment: Mapping[str, str], variable: str) -> tuple[str, str | None]:
    """Where a value comes from, and the value: a setting, else an environment variable, else None."""
    return (variable, environment.get(variable) or None) if value is None else (key, value)


def check_name(key: str, value: str) -> None:
    """Raise a UserError if W&B takes no project or entity of that name."""
    if not 1 <= len(value) <= LONGEST_NAME:
        raise UserError(f"{key}={value}: it has {len(value)} characters, W&B takes 1 to {LONGEST_NAME}")
    if found := [char for char in value if char in NOT_IN_NAMES or not char.isprintable()]:
        raise UserError(f"{key}={value}: W&B takes no '{found[0]}' in it, and none of {' '.join(NOT_IN_NAMES)}")


def fitting(name: str) -> str:
    """A name of a run or a group as W&B takes it: what it does not take becomes a hyphen, and the end is cut."""
    return "".join("-" if char in NOT_IN_NAMES or not char.isprintable() else char for char in name)[:LONGEST_NAME]


def check_tracking(specs: Iterable[RunSpec], environment: Mapping[str, str] = os.environ) -> list[str]:
    """Find out before the first run whether W&B takes what it is asked for.

    Returns:
        Lines for the user: variables of W&B that are ignored, and why.

    Raises:
        UserError: it does not, or the package of a sink is not installed.
    """
    asked = list(specs)
    check_sinks(list(dict.fromkeys(name for spec in asked for name in spec.tracking.sinks)))
    modes = {tracking_of(spec, environment).mode for spec in asked}
    if modes <= {"disabled"}:
        return []
    return [f"{name} is ignored: {reason}" for name, reason in IGNORED.items() if environment.get(name)]
