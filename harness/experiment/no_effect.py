"""Settings that were asked for and change nothing in the runs that were planned: told before the first run."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.clip.towers import END
from harness.experiment.layers import DEFAULT, PlannedRun, Setting
from harness.experiment.needs import ALWAYS, OF_FIT, chooses, depends_on_sample, is_fitted, uses_training_pictures
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
    # Runs of the same layers differ in their seeds, which decide nothing of this, and there may be thousands.
    first = {id(item.layers): item for item in reversed(planned)}
    told = {
        key: [(setting.key, reason_in(item.spec, setting.key)) for setting in item.given()]
        for key, item in first.items()
    }
    for item in planned:
        for key, reason in told[id(item.layers)]:
            given[key] = given.get(key, 0) + 1
            if reason:
                found.setdefault(f"{key}\n{reason}", []).append(item)
    lines = []
    excused = {reason for reason, does in OF_METHODS.items() if any(does(item.spec) for item in first.values())}
    for name, runs in found.items():
        key, reason = name.split("\n")
        if reason in excused:
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
    seeds: dict[tuple[str, int], set[int]] = {}
    files: dict[tuple[str, int], set[Path]] = {}
    for spec in (item.spec for item in planned):
        if index := spec.index_file:
            cell = (spec.data.dataset, spec.data.shots)
            seeds.setdefault(cell, set()).add(spec.seed)
            files.setdefault(cell, set()).add(index)
    if any(len(files[cell]) == 1 < len(seeds[cell]) for cell in files):
        yield (
            "data.index gives all seeds the same pictures: they differ in what else is drawn; with {seed} in its path "
            "each has its own"
        )


def of_sampling(spec: RunSpec) -> str | None:
    """What is given is not drawn."""
    if spec.data.index:
        return "data.index gives the sample"
    return None if depends_on_sample(spec) else NO_TRAINING_PICTURES


NOTHING_TRAINS = "nothing trains"
NOT_FITTED = "the method computes nothing from the shots but by training"
NO_TRAINING_PICTURES = "nothing is learned from training pictures"
CHOOSES_NOTHING = "nothing is chosen on validation pictures"
# What some methods do not do: no news beside methods that do it, as of zero-shot CLIP beside methods that train.
OF_METHODS: dict[str, Callable[[RunSpec], bool]] = {
    NOTHING_TRAINS: lambda spec: spec.train.epochs > 0,
    NOT_FITTED: is_fitted,
    CHOOSES_NOTHING: chooses,
    NO_TRAINING_PICTURES: uses_training_pictures,
}


def reason_in(spec: RunSpec, key: str) -> str | None:
    """Why a setting changes nothing in a run; None if it may change something."""
    section, _, name = key.partition(".")
    cls = method_class(spec.method)
    unused = cls.unused(cls.Config(**spec.options))
    if section == spec.method:
        return unused.get(name)
    if spec.train.epochs == 0 and is_of_training(key) and not (cls.is_fitted() and is_of_fit(key)):
        return None if key == "train.epochs" and cls.trains else NOTHING_TRAINS
    if key in unused:
        return unused[key]
    if key in TRACKED and spec.wandb.mode == "disabled":
        return "wandb.mode is disabled"
    if key in CACHED and not spec.train.caches:
        return "train.cache is none"
    rule = RULES.get(key)
    return rule(spec) if rule else None


def is_of_training(key: str) -> bool:
    """Whether a setting says how something trains, so that it changes nothing where nothing does."""
    of_section = key.startswith("train.") and key not in ALWAYS
    return of_section or key in AUGMENTED or key in ("select.epoch", "select.epoch_pictures")


def is_of_fit(key: str) -> bool:
    """Whether a setting of the training also decides what a method is fitted to: random views of the shots."""
    return key in OF_FIT or key in AUGMENTED


def of_views(spec: RunSpec) -> str | None:
    """Views are those of the training and, unless `fit_views` is given, of what is fitted."""
    if spec.train.epochs == 0 and spec.train.fit_views is not None:
        return f"{NOTHING_TRAINS}, and train.fit_views={spec.train.fit_views} is given"
    return None


def of_validation_shots(spec: RunSpec) -> str | None:
    """Nothing may look at validation pictures."""
    select = spec.select
    looked_at = [select.pictures] if chooses(spec) else []
    looked_at += [select.epoch_pictures] if select.epoch != "last" and spec.train.epochs else []
    if not looked_at:
        return CHOOSES_NOTHING
    return None if "val" in looked_at else "all choices are made on test pictures"


def of_image_rate(spec: RunSpec) -> str | None:
    """Where training begins behind the image tower, none of its own weights trains; lbfgs has one rate for all."""
    if spec.train.optimizer == "lbfgs":
        return "lbfgs has one rate for all weights"
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
    """Others have no second moments."""
    return None if spec.train.optimizer in ("adam", "adamw") else "it is of adam and adamw"


def of_full_batches(spec: RunSpec) -> str | None:
    """One batch of all pictures leaves nothing over and nothing to choose, but rows of several views."""
    full = spec.train.batch_size is None and spec.train.batches != "all_views"
    return "train.batch_size is null: all pictures are one batch" if full else None


def of_batches(spec: RunSpec) -> str | None:
    """With few shots batches are not of one class."""
    if spec.train.batches != spec.train.batch_kind(spec.data.fewest_shots):
        return f"with {spec.data.shots_text} shots batches are random"
    return of_full_batches(spec)


def of_warm_up(spec: RunSpec) -> str | None:
    """The full rate is never reached."""
    train = spec.train
    if train.warmup_epochs < train.epochs or train.num_steps(spec.data.shots):
        return None
    return f"all {train.epochs} epochs are warm-up at warmup_lr"


RULES: dict[str, Callable[[RunSpec], str | None]] = {
    "train.lr_image": of_image_rate,
    "train.lr": of_warm_up,
    "train.epochs": lambda spec: (
        "train.iterations_per_shot decides how long the training is" if spec.train.iterations_per_shot else None
    ),
    "train.lbfgs_iterations": lambda spec: None if spec.train.optimizer == "lbfgs" else "it is of lbfgs",
    "train.weight_decay": lambda spec: "lbfgs has none" if spec.train.optimizer == "lbfgs" else None,
    "train.keep_remainder": of_full_batches,
    "train.momentum": lambda spec: None if spec.train.optimizer == "sgd" else "it is of sgd",
    "train.betas": of_adam,
    "train.eps": of_adam,
    "train.lr_min": lambda spec: "train.schedule is constant" if spec.train.schedule == "constant" else None,
    "train.warmup_lr": lambda spec: None if spec.train.warmup_epochs else "train.warmup_epochs is 0",
    "train.batches": of_batches,
    "train.views": of_views,
    "train.fit_views": lambda spec: None if is_fitted(spec) else NOT_FITTED,
    "select.pictures": lambda spec: None if chooses(spec) else CHOOSES_NOTHING,
    "select.shots": of_validation_shots,
    "select.epoch_pictures": lambda spec: "select.epoch is last" if spec.select.epoch == "last" else None,
    "data.templates": of_template,
    "data.teacher_templates": lambda spec: (
        None if method_class(spec.method).teacher else f"{spec.method} compares with no frozen CLIP"
    ),
    "data.held_out": of_held_out,
    "data.sample_seed": lambda spec: None if depends_on_sample(spec) else NO_TRAINING_PICTURES,
    "data.sampling": of_sampling,
    "data.label_noise": lambda spec: None if uses_training_pictures(spec) else NO_TRAINING_PICTURES,
}
