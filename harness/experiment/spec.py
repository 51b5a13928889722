"""What one run is: a typed, validated description. Its hash is the run's id."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.data.own_names import is_own
from harness.data.sample_source import find_index
from harness.errors import UserError, nearest
from harness.experiment.axes import Word
from harness.experiment.content import (
    backbone_content,
    dataset_content,
    index_content,
    templates_content,
    weights_content,
)
from harness.experiment.data_spec import DRAWN, DataSpec
from harness.experiment.descriptions import is_description_file
from harness.experiment.place import MOST_THREADS, RuntimeSpec, TrackingSpec, WandbSpec
from harness.experiment.settings import Section, Settings, validate
from harness.experiment.training_spec import MOST_CACHED, SelectSpec, TrainSpec
from harness.experiment.tuned import TunedSpec
from harness.experiment.yaml_values import LARGEST
from harness.machine.units import parse_seconds

MOST_TOGETHER = 64
KNOWN_ID = "id"
"""Where a spec keeps its id once that is computed."""


class EvalSpec(Section):
    """One evaluation: a split of some classes of a data set, with exactly those classes to choose from."""

    name: str = Field(description="what tables call it, such as base or new")
    dataset: str
    classes: str = "all"
    splits: tuple[Literal["train", "val", "test", "held_out"], ...] = Field(("test",), min_length=1)


class ScheduleSpec(Section):
    """How the runs of an experiment are brought to their end. Changes no result."""

    executor: Literal["local", "ray", "slurm"] = Field(
        "local", description="local: this machine; ray: a Ray cluster; slurm: job arrays of a Slurm cluster"
    )
    devices: tuple[str, ...] | None = Field(
        None, description="numbers of GPUs, or cpu; null: all GPUs that torch sees, else the CPU"
    )
    runs_per_device: int = Field(
        1, ge=1, le=MOST_THREADS, description="runs at a time on one device; over 1 costs are not measured alone"
    )
    together: int = Field(
        1,
        ge=1,
        le=MOST_TOGETHER,
        description="runs of one method on features that a process trains as one; over 1 the "
        "seconds of their training are not shown",
    )
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads a run; null: the cores shared among the runs"
    )
    time_limit: float | None = Field(
        24 * 3600.0, gt=0, description="of one attempt at a run: seconds, or 90s, 30m, 2h, 1d; null: none"
    )
    retries: int = Field(1, ge=0, description="further attempts after a crash, a hang or when memory ran out")
    share_busy_devices: bool = Field(False, description="also use GPUs whose memory is in use already")
    memory: str | None = Field(
        None, description="runs that need more on their device are refused: 24GiB; null: what a GPU has free"
    )
    max_jobs: int | None = Field(
        None, ge=1, description="ray, slurm: runs at a time; null: as many as there is room for"
    )
    ray_address: str | None = Field(None, description="of a Ray cluster; null: RAY_ADDRESS, else one on this machine")
    slurm: Settings = Field({}, description="what sbatch is to be asked for, such as {partition: gpu, account: lab}")

    @field_validator("time_limit", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        return parse_seconds(value)

    @field_validator("devices", mode="before")
    @classmethod
    def _as_words(cls, value: Any) -> Any:
        words = value if isinstance(value, list | tuple) or value is None else str(value).split(",")
        return None if words is None else [str(word).strip() for word in words]


class RunSpec(Section):
    """One run: train once, evaluate everywhere the protocol asks.

    `options` are the method's own; in YAML and on the command line they stand under the method's name.
    """

    method: str
    options: Settings = Field(default_factory=dict)
    backbone: Word = "clip-emoji"
    seed: int = Field(1, ge=0, le=LARGEST)
    protocol: str = "base_to_new"
    recipe: str = "official"
    tuned: TunedSpec | None = None
    data: DataSpec = DataSpec()
    train: TrainSpec = TrainSpec()
    select: SelectSpec = SelectSpec()
    evaluate: tuple[EvalSpec, ...] = Field(min_length=1)
    wandb: WandbSpec = WandbSpec()
    tracking: TrackingSpec = TrackingSpec()
    runtime: RuntimeSpec = RuntimeSpec()

    @model_validator(mode="before")
    @classmethod
    def _options_under_method_name(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("method"), str) and value["method"] in value:
            value = dict(value)
            value["options"] = value.pop(value["method"]) or {}
        return value

    @model_validator(mode="after")
    def _evaluations_differ(self) -> "RunSpec":
        names = [evaluation.name for evaluation in self.evaluate]
        if len(set(names)) != len(names):
            raise ValueError(f"evaluations need different names, these are {names}")
        return self

    @model_validator(mode="after")
    def _training_has_no_conflict(self) -> "RunSpec":
        if self.train.epochs and (conflict := self.train.conflict):
            raise ValueError(conflict)
        return self

    def identity(self) -> Settings:
        """Everything that decides the result, as plain data; of files what is in them, not where they lie.

        Raises:
            UserError: a file or folder that the run names by its path cannot be read.
        """
        dump = self.model_dump(mode="json", exclude={"recipe", "wandb", "tracking", "runtime"})
        dump["backbone"] = backbone_content(self.backbone)
        for section in (dump["data"], *dump["evaluate"]):
            section["dataset"] = dataset_content(section["dataset"])
        if index := self.index_file:
            dump["data"]["index"] = index_content(index)
        if dump["tuned"]:
            dump["tuned"] = TunedSpec.identity(dump["tuned"])
        dump["options"] = self._options_by_content()
        for key in ("templates", "teacher_templates"):
            dump["data"][key] = templates_content(f"data.{key}", dump["data"][key])
        # What it was when the first ids were given. It changes no result, and is part of ids for that reason alone.
        dump["train"]["cache_batch_size"] = self.train.cache_batch_size or MOST_CACHED
        for section, fields in ((dump, RunSpec), (dump["data"], DataSpec), (dump["train"], TrainSpec)):
            for key, default in defaults_added_later(fields).items():
                if section[key] == default:
                    del section[key]
        return _with_options(dump)

    def _options_by_content(self) -> Settings:
        """The method's options; of a file of weights what is in it."""
        options = self.model_dump(mode="json", include={"options"})["options"]
        texts = {name for name, value in options.items() if isinstance(value, str)}
        if texts:  # else the method need not be imported, which takes seconds
            from harness.experiment.registry import method_class

            for name in texts.intersection(method_class(self.method).weights_options()):
                options[name] = weights_content(f"{self.method}.{name}", options[name])
        return dict(options)

    def settings(self) -> Settings:
        """The whole spec as plain data, the form of `spec.yaml`."""
        return _with_options(self.model_dump(mode="json"))

    @property
    def id(self) -> str:
        """Hash of what decides the result: 12 hexadecimal digits. Names the run's folder and its W&B run."""
        if KNOWN_ID in self.__dict__:
            return str(self.__dict__[KNOWN_ID])
        identity = self.identity()
        found = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        # What is in files may change: only the id of a run that names none stays what it is.
        if not self._names_files(identity):
            self.__dict__[KNOWN_ID] = found
        return found

    def _names_files(self, identity: Settings) -> bool:
        """Whether something stands in the identity by its content."""
        data = identity["data"]
        by_content = (
            identity["backbone"] != self.backbone,
            data.get("index") is not None,
            any(map(is_own, [self.data.dataset, *(item.dataset for item in self.evaluate)])),
            any(map(is_description_file, [self.data.templates, self.data.teacher_templates])),
            identity[self.method] != self.options,
        )
        return any(by_content)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "RunSpec":
        """The spec with some fields changed, which may be another run."""
        changed = super().model_copy(update=update, deep=deep)
        changed.__dict__.pop(KNOWN_ID, None)
        return changed

    @property
    def sample_seed(self) -> int:
        """The seed that the k-shot sample is drawn with."""
        return self.seed if self.data.sample_seed is None else self.data.sample_seed

    @property
    def index_file(self) -> Path | None:
        """The file of the k-shot sample that the run is given; None if it draws one.

        Raises:
            UserError: none or several are meant.
        """
        data = self.data
        return find_index(data.index, data.dataset, data.shots, self.sample_seed) if data.index else None

    @property
    def sample_source(self) -> str:
        """Where the k-shot sample comes from, as the setting that says so; empty if it is drawn as usual."""
        if self.data.index:
            return f"data.index={self.data.index}"
        return "" if self.data.sampling == DRAWN else f"data.sampling={self.data.sampling}"

    @property
    def most_epochs(self) -> int:
        """Epochs of the training; a bound where its length is given in steps and the pictures decide."""
        return self.train.num_epochs(self.data.shots, steps=1)

    @property
    def is_tested(self) -> bool:
        """Whether an evaluation looks at test pictures; otherwise nothing of the test split is read."""
        return any("test" in item.splits for item in self.evaluate)

    @property
    def name(self) -> str:
        """A name for people, such as skip-dtd-16shot-seed1; several runs may share it."""
        tail = self.data.long_tail
        shots = f"longtail{tail.most}to{tail.fewest}" if tail else f"{self.data.shots}shot"
        return f"{self.method}-{self.data.dataset}-{shots}-seed{self.seed}"


def _with_options(dump: Settings) -> Settings:
    options = dump.pop("options")
    method = dump["method"]
    return {"method": method, method: options, **{key: value for key, value in dump.items() if key != "method"}}


ADDED_LATER = frozenset(
    (
        "select",
        "tuned",
        "teacher_templates",
        "held_out",
        "label_noise",
        "sampling",
        "sample_seed",
        "validate_every",
        "keep_remainder",
        "optimizer",
        "betas",
        "eps",
        "lr_min",
        "schedule",
        "views",
        "fit_views",
        "iterations_per_shot",
        "lbfgs_iterations",
        "feature_store",
        "feature_store_mib",
        "decode",
        "compile",
    )
)
"""Settings that came after the first results. At their defaults they are no part of an id, so that ids stay."""


@cache
def defaults_added_later(section: type[Section]) -> dict[str, Any]:
    """The settings of a section that came later, and their defaults as they are written in JSON."""
    return {key: jsonable(info.default) for key, info in section.model_fields.items() if key in ADDED_LATER}


def jsonable(default: Any) -> Any:
    """The default of a setting, as it is written in JSON."""
    if isinstance(default, Section):
        return default.model_dump(mode="json")
    return list(default) if isinstance(default, tuple) else default


SPEC_KEYS = frozenset(RunSpec.model_fields) - {"options"}


def check_shape(settings: Mapping[str, Any], *methods: str) -> None:
    """Raise a UserError where a section is given as a single value, or evaluations are no list of sections."""
    for key in ("data", "train", "select", "wandb", "tracking", "runtime", "schedule", *methods):
        left_empty = key in methods and settings.get(key) is None
        if key in settings and not left_empty and not isinstance(settings[key], Mapping):
            raise UserError(f"{key}={settings[key]!r}: '{key}' is a section, set the keys in it, such as data.shots=4")
    evaluations = settings.get("evaluate", [])
    if not isinstance(evaluations, list | tuple) or not all(isinstance(item, Mapping) for item in evaluations):
        raise UserError("'evaluate' is a list of evaluations, such as [{name: new, classes: new}]")


def parse_run_spec(settings: Mapping[str, Any]) -> RunSpec:
    """A complete spec from settings, method options included.

    Raises:
        UserError: the first thing that is wrong.
    """
    from harness.experiment.registry import check_method, method_class

    method = check_method(str(settings.get("method", "")))
    unknown = [key for key in settings if key not in SPEC_KEYS and key != method]
    if unknown:
        raise UserError(f"unknown key '{unknown[0]}'.{nearest(unknown[0], [*SPEC_KEYS, method])}")
    check_shape(settings, method)
    spec: RunSpec = validate(RunSpec, settings, "")
    config = validate(method_class(method).Config, spec.options, f"{method}.")
    return spec.model_copy(update={"options": config.model_dump(mode="json")})
