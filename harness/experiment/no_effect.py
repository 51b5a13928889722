"""Settings that were asked for and change nothing in the runs that were planned: told before the first run."""

from collections.abc import Callable, Iterator, Sequence

from harness.clip.towers import END
from harness.experiment.layers import DEFAULT, PlannedRun, Setting
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec
from harness.experiment.templates import has_own_prompts, start_stages

TRACKED = ("wandb.project", "wandb.entity", "wandb.group", "wandb.tags")
CACHED = ("train.cache_batch_size", "runtime.cache_gpu_mib", "runtime.cache_host_mib")
AUGMENTED = ("data.flip", "data.crop_scale")
# Settings of an executor that others do not read.
OF_EXECUTORS = {"schedule.slurm": ("slurm",), "schedule.ray_address": ("ray",), "schedule.max_jobs": ("ray", "slurm")}


def without_effect(planned: Sequence[PlannedRun], schedule: Sequence[Setting] = ()) -> list[str]:
    """One line for each setting that was asked for and has no effect, in all of some runs or in part of them.

    Args:
        planned: the runs.
        schedule: how they are executed.
    """
    found: dict[str, list[PlannedRun]] = {}
    given: dict[str, int] = {}
    for item in planned:
        for setting in item.given():
            given[setting.key] = given.get(setting.key, 0) + 1
            if reason := reason_in(item.spec, setting.key):
                found.setdefault(f"{setting.key}\n{reason}", []).append(item)
    lines = []
    trains = any(item.spec.train.epochs for item in planned)
    for name, runs in found.items():
        key, reason = name.split("\n")
        if reason == NOTHING_TRAINS and trains:
            # Zero-shot CLIP beside methods that train.
            continue
        some = f" in {len(runs)} of {given[key]} runs, such as {runs[0].spec.name}" if len(runs) < given[key] else ""
        lines.append(f"{key} has no effect{some}: {reason}")
    return [*lines, *in_schedule(schedule), *of_index(planned)]


def in_schedule(schedule: Sequence[Setting]) -> Iterator[str]:
    """Settings of another executor than the one that is used."""
    executor = next((item.value for item in schedule if item.key == "schedule.executor"), "local")
    for item in schedule:
        for key, executors in OF_EXECUTORS.items():
            if item.source != DEFAULT and item.key.startswith(key) and executor not in executors:
                yield f"{item.key} has no effect: the executor is {executor}, not {' or '.join(executors)}"


def of_index(planned: Sequence[PlannedRun]) -> Iterator[str]:
    """A sample that is given leaves less to the seeds."""
    indexed = {item.spec.seed for item in planned if item.spec.data.index}
    if len(indexed) > 1:
        yield "data.index gives all seeds the same pictures: they differ in what else is drawn"


NOTHING_TRAINS = "nothing trains"


def reason_in(spec: RunSpec, key: str) -> str | None:
    """Why a setting changes nothing in a run; None if it may change something."""
    section, _, name = key.partition(".")
    if spec.train.epochs == 0 and (key in AUGMENTED or (section == "train" and key != "train.precision")):
        is_choice = key == "train.epochs" and method_class(spec.method).trains
        return None if is_choice else NOTHING_TRAINS
    if section == spec.method:
        cls = method_class(spec.method)
        return cls.unused(cls.Config(**spec.options)).get(name)
    if key in TRACKED and spec.wandb.mode == "disabled":
        return "wandb.mode is disabled"
    if key in CACHED and not spec.train.caches:
        return "train.cache is none"
    rule = RULES.get(key)
    return rule(spec) if rule else None


def of_validation(spec: RunSpec) -> str | None:
    """Nothing may be evaluated during training under a protocol that tests."""
    if not all("test" in item.splits for item in spec.evaluate):
        return None
    others = [protocol.name for protocol in PROTOCOLS.values() if protocol.validates == spec.protocol]
    use = f", use {' or '.join(others)}" if others else ""
    return f"all evaluations of {spec.protocol} are on test pictures, which are left for the end{use}"


def of_image_rate(spec: RunSpec) -> str | None:
    """Where training begins behind the image tower, none of its own weights trains."""
    starts = start_stages(spec)
    return f"{spec.method} trains no weights of the image tower" if starts and starts[0] == END else None


def of_template(spec: RunSpec) -> str | None:
    """A method with prompts of its own replaces the template."""
    return f"{spec.method} has prompts of its own" if has_own_prompts(spec) else None


def of_held_out(spec: RunSpec) -> str | None:
    """Shots are held out for evaluations that the protocol does not have."""
    if any("held_out" in item.splits for item in spec.evaluate):
        return None
    others = [item.name for item in PROTOCOLS.values() if item.needs_folds and item.validates == spec.protocol]
    use = f", use {' or '.join(others)}" if others else ""
    return f"{spec.protocol} does not evaluate the shots that are held out of training{use}"


def of_adam(spec: RunSpec) -> str | None:
    """SGD has no second moments."""
    return "it is of adam and adamw" if spec.train.optimizer == "sgd" else None


RULES: dict[str, Callable[[RunSpec], str | None]] = {
    "train.validate_every": of_validation,
    "train.lr_image": of_image_rate,
    "train.lr": lambda spec: (
        f"all {spec.train.epochs} epochs are warm-up at warmup_lr"
        if spec.train.warmup_epochs >= spec.train.epochs
        else None
    ),
    "train.momentum": lambda spec: None if spec.train.optimizer == "sgd" else "it is of sgd",
    "train.betas": of_adam,
    "train.eps": of_adam,
    "train.lr_min": lambda spec: "train.schedule is constant" if spec.train.schedule == "constant" else None,
    "train.warmup_lr": lambda spec: None if spec.train.warmup_epochs else "train.warmup_epochs is 0",
    "train.batches": lambda spec: (
        f"with {spec.data.shots} shots batches are random"
        if spec.train.batches != spec.train.batch_kind(spec.data.shots)
        else None
    ),
    "data.templates": of_template,
    "data.held_out": of_held_out,
}
