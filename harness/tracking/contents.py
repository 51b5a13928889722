"""What whoever tracks a run is told of it, all from our own record: rows of its curves, its summary, tables, files."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.errors import UserError
from harness.experiment.axes import text_of
from harness.experiment.differences import differences
from harness.experiment.grid import expand, load_experiment
from harness.experiment.protocols import find_protocol
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import Settings, flat_settings, parse_overrides
from harness.experiment.spec import RunSpec
from harness.machine.costs import CACHE, TRAIN
from harness.machine.environment import Environment
from harness.machine.units import MIB
from harness.results.epochs import EpochRecord
from harness.results.metrics import evaluation_metrics, metric_values, run_metrics, summary_metrics
from harness.results.record import Result
from harness.tracking.media import Media

EPOCH: Literal["epoch"] = "epoch"
STEP: Literal["step"] = "step"
Axis = Literal["epoch", "step"]
HEADLINE = "headline"


class Row(NamedTuple):
    """Values at one place of an axis.

    Attributes:
        axis: epochs or training steps.
        number: the epoch or step, 0, 1, ...
        values: key -> value.
    """

    axis: Axis
    number: int
    values: dict[str, float]


class Curve(NamedTuple):
    """How a group of keys is shown.

    Attributes:
        keys: a key, or all that begin alike, such as train/*.
        axis: what they are drawn over.
        best: which of its values counts, min or max; None: the last one.
    """

    keys: str
    axis: Axis
    best: Literal["min", "max"] | None = None


CURVES = (
    Curve("train/*", EPOCH),
    Curve("train/selection_accuracy", EPOCH, "max"),
    Curve("validation/*", EPOCH, "max"),
    Curve("seconds/*", EPOCH),
    Curve("memory/*", EPOCH),
    Curve("system/*", EPOCH),
    Curve("step/*", STEP),
)


@dataclass(frozen=True)
class Opening:
    """What is known of a run when its tracking begins.

    Attributes:
        spec: the run.
        run_id: its id.
        folder: its folder, `<results>/runs/<id>`.
        environment: the machine.
        project, name, group, tags: at W&B and likewise elsewhere.
    """

    spec: RunSpec
    run_id: str
    folder: Path
    environment: Environment
    project: str
    name: str
    group: str | None
    tags: tuple[str, ...]

    @property
    def config(self) -> Settings:
        """What decides the result, and the machine."""
        return {**self.spec.identity(), "environment": self.environment.model_dump()}

    @property
    def flat_config(self) -> Settings:
        """The same by dotted keys."""
        return flat_settings(self.config)

    @property
    def notes(self) -> str:
        """How the run is repeated."""
        return f"Repeat it with: {repeat_command(self.spec)}"


@dataclass(frozen=True)
class Ending:
    """What is known of a run when it is complete.

    Attributes:
        result: of the run.
        summary: key -> value.
        media: tables and pictures.
        files: its log and spec.
        artifacts: checkpoint and k-shot sample, if they are to be delivered.
    """

    result: Result
    summary: Mapping[str, Any]
    media: Media
    files: tuple[Path, ...]
    artifacts: tuple[Path, ...]


def rows_of(records: Sequence[EpochRecord]) -> list[Row]:
    """The rows of a run's curves, in an order that never changes: of each epoch its steps first, then the epoch."""
    return [row for record in records for row in rows_of_epoch(record)]


def rows_of_epoch(record: EpochRecord) -> Iterator[Row]:
    """The rows of one epoch."""
    for step in record.step_records:
        rates = {"step/lr": step.lr, "step/lr_image": step.lr_image}
        yield Row(STEP, step.step, {"step/loss": step.loss, **rates})
    line = record.model_dump(
        mode="json", exclude={"epoch", "accuracies", "seconds", "peak_bytes", "system", "step_records"}
    )
    seconds = {TRAIN: record.train_seconds, CACHE: record.cache_seconds, **record.seconds}
    yield Row(
        EPOCH,
        record.epoch,
        {
            **{f"train/{key}": value for key, value in line.items() if value is not None},
            "train/images_per_second": record.images_per_second,
            **{f"validation/{name}": value for name, value in record.accuracies.items()},
            **{f"seconds/{phase}": value for phase, value in seconds.items()},
            **{f"memory/{phase}_mib": value / MIB for phase, value in record.peak_bytes.items()},
            **{f"system/{name}": value for name, value in record.system.items()},
        },
    )


def summary_of(result: Result) -> dict[str, Any]:
    """Metrics and costs under W&B's names."""
    costs = result.costs
    of_evaluations = {
        f"{metric.wandb}/{item.name}": metric.value(item)
        for metric in evaluation_metrics()
        for item in result.evaluations
    }
    values = metric_values(result)
    of_runs = {metric.wandb: values.get(metric.name) for metric in (*summary_metrics(), *run_metrics())}
    by_phase = {
        f"costs/{phase}/{key}": value
        for phase, cost in costs.phases.items()
        for key, value in {**cost.model_dump(), "peak_mib": cost.peak_bytes and cost.peak_bytes / MIB}.items()
    }
    headline = {HEADLINE: headline_of(result, values)}
    known = {key: value for key, value in (of_evaluations | of_runs | by_phase | headline).items() if value is not None}
    return {
        **known,
        **{f"costs/{key}": value for key, value in costs.model_dump(exclude={"phases"}).items()},
        **{f"method/{key}": value for key, value in result.method_facts.items()},
        **selection_of(result),
        **{f"refused/{item.evaluation}": item.reason for item in result.refusals},
    }


def headline_of(result: Result, values: Mapping[str, float]) -> float | None:
    """The metric that runs of the protocol are ranked by; None if the run has none or its protocol is unknown."""
    try:
        return values.get(find_protocol(result.spec.protocol).headline)
    except UserError:
        return None


def selection_of(result: Result) -> dict[str, Any]:
    """What a run chose, under W&B's names: `selection.chosen.<name>`, `selection.candidates`, ...; empty if nothing."""
    if result.selection is None:
        return {}
    chosen = {f"selection.chosen.{name}": value for name, value in result.selection.chosen.items()}
    about = result.selection.model_dump(mode="json", exclude={"chosen"})
    return chosen | {f"selection.{name}": value for name, value in about.items() if value is not None}


def repeat_command(spec: RunSpec) -> str:
    """The command that computes a run again; where no short one gives the same run, that with its `spec.yaml`."""
    data = spec.data
    grid: dict[str, Any] = {
        "protocol": spec.protocol,
        "backbone": spec.backbone,
        "recipe": spec.recipe,
        "seeds": spec.seed,
    }
    grid |= {"dataset": data.dataset, "shots": data.shots_text}
    changed = [f"{key}={text_of(value)}" for key, value in differences(spec).items() if key != "recipe"]
    options = [word for name, value in grid.items() for word in (f"--{name}", str(value))]
    try:
        axes: dict[str, Any] = {"methods": [spec.method], "datasets": [data.dataset]}
        axes |= {name: [value] for name, value in grid.items() if name not in ("dataset", "protocol")}
        experiment = load_experiment(EXPERIMENTS / "bench.yaml", {**axes, "protocol": spec.protocol})
        found = [one.id for one in expand(experiment, parse_overrides(changed))]
    except UserError:
        found = []
    if found != [spec.id]:
        return "skipbench run spec.yaml"
    return shlex.join(["skipbench", "bench", spec.method, *changed, *options])
