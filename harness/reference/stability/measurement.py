"""Whether rounding moves the result of a recipe by less than its seeds lie apart."""

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from harness.experiment.axes import NO_VALUE
from harness.experiment.grid import differing_settings, values_at
from harness.experiment.protocols import find_protocol
from harness.experiment.spec import RunSpec
from harness.machine.device import choose_device
from harness.machine.environment import describe
from harness.reference.stability.training import Ending, Repeated, name_of, score_of
from harness.results.files import Json, to_json, write_atomically
from harness.results.rounding import Rounding, save_rounding

MOST_LETTERS = 120
# What runs of one method may differ in although their settings are called the same.
CELLS = ("backbone", "data.dataset", "data.shots")
STABLE, SENSITIVE, CHAOTIC = "stable", "sensitive", "chaotic"
EXACT, UNKNOWN = "nothing trains", "one seed: no spread"
# Beyond this share of their movement, trainings end in different places; a large spread over seeds may hide it.
SAME_PLACE = 0.01


@dataclass(frozen=True)
class Stability:
    """How far a recipe's results move when the trained values start one unit in the last place away.

    Attributes:
        method: its name.
        label: the method, and what differs between the recipes that are measured.
        metric: name of the metric that the protocol ranks methods by, such as H.
        threads: of the CPU, with which everything was computed.
        seeds: of the runs.
        moves: how often each seed was trained again from a moved start.
        score: the metric of the mean accuracies, as tables show it, in percent.
        scores: the metric of each seed, from the start that is not moved, in percent.
        spread: sample standard deviation of `scores`; None for fewer than two seeds.
        score_moves: largest distance of the metric of a moved training from that of the same seed.
        accuracy_moves: the same of the accuracy of each evaluation.
        weights_apart: largest distance of the weights of a moved training from those of the same seed, as a share of
            how far that training moved them.
        runs: how far each run moved, where any was moved.
    """

    method: str
    label: str
    metric: str
    threads: int
    seeds: tuple[int, ...]
    moves: int
    score: float
    scores: tuple[float, ...]
    spread: float | None
    score_moves: float
    accuracy_moves: dict[str, float]
    weights_apart: float
    runs: tuple[Rounding, ...] = ()

    @property
    def verdict(self) -> str:
        """Chaotic, if the metric moves by its standard deviation over the seeds or more; sensitive, if it does not, but
        the weights end in different places; otherwise stable."""
        if not self.moves:
            return EXACT
        if self.spread is None:
            return UNKNOWN
        if self.score_moves >= self.spread and self.score_moves > 0:
            return CHAOTIC
        return SENSITIVE if self.weights_apart > SAME_PLACE else STABLE


def summarise(specs: Sequence[RunSpec], label: str, endings: Sequence[Sequence[Ending]]) -> Stability:
    """What the trainings of one recipe say.

    Args:
        specs: one run for each seed.
        label: of the recipe.
        endings: for each of them its endings: the first is not moved, the others are.
    """
    scores = tuple(of_seed[0].score for of_seed in endings)
    firsts = [of_seed[0].accuracies for of_seed in endings]
    means = {name: statistics.fmean(first[name] for first in firsts) for name in firsts[0]}
    pairs = [(of_seed[0], moved) for of_seed in endings for moved in of_seed[1:]]
    return Stability(
        method=specs[0].method,
        label=label,
        metric=find_protocol(specs[0].protocol).headline,
        threads=torch.get_num_threads(),
        seeds=tuple(spec.seed for spec in specs),
        moves=len(endings[0]) - 1,
        score=score_of(specs[0], means),
        scores=scores,
        spread=statistics.stdev(scores) if len(scores) > 1 else None,
        score_moves=max((abs(moved.score - first.score) for first, moved in pairs), default=0.0),
        accuracy_moves={
            name: max((abs(moved.accuracies[name] - first.accuracies[name]) for first, moved in pairs), default=0.0)
            for name in endings[0][0].accuracies
        },
        weights_apart=max((first.weights_apart(moved) for first, moved in pairs), default=0.0),
        runs=tuple(rounding_of(spec, of_seed) for spec, of_seed in zip(specs, endings, strict=True) if of_seed[1:]),
    )


def rounding_of(spec: RunSpec, endings: Sequence[Ending]) -> Rounding:
    """How far rounding moved one run, from its endings: the first is not moved, the others are."""
    first, *moved = endings
    return Rounding(
        run=spec.id,
        metric=find_protocol(spec.protocol).headline,
        moves=len(moved),
        threads=torch.get_num_threads(),
        score=first.score,
        score_moves=max(abs(other.score - first.score) for other in moved),
        accuracy_moves={
            name: max(abs(other.accuracies[name] - accuracy) for other in moved)
            for name, accuracy in first.accuracies.items()
        },
        weights_apart=max(first.weights_apart(other) for other in moved),
    )


def measure(
    recipes: dict[str, list[RunSpec]], moves: int, report: Callable[[str], None] = lambda title: None
) -> Iterator[Stability]:
    """Measure recipes one after the other.

    Args:
        recipes: label -> the runs of a recipe that differ in nothing but their seeds.
        moves: how many moved starts each run is trained from.
        report: called with what is trained next.

    Raises:
        UserError: a run cannot be computed.
    """
    for label, specs in recipes.items():
        endings = []
        for spec in specs:
            run, of_seed = Repeated(spec), list[Ending]()
            for move in range(trainings_of(spec, moves)):
                report(f"{label}, seed {spec.seed}, {name_of(move)}")
                of_seed.append(run.train(move))
            endings.append(of_seed)
        yield summarise(specs, label, endings)


def trainings_of(spec: RunSpec, moves: int) -> int:
    """How many trainings a run takes: one from its own start and one from each moved start; one if nothing trains."""
    return 1 + moves if spec.train.epochs else 1


def recipes_of(specs: Sequence[RunSpec]) -> dict[str, list[RunSpec]]:
    """Label -> runs that differ in nothing but their seeds. The label is the method and what differs from others."""
    cells = [key for key in CELLS if len({values_at(spec, [key])[key] for spec in specs}) > 1]
    found: dict[str, list[RunSpec]] = {}
    for spec in specs:
        same_method = [other.model_copy(update={"seed": 0}) for other in specs if other.method == spec.method]
        values = values_at(spec, list(dict.fromkeys([*cells, *differing_settings(same_method)])))
        words = [f"{key}={value}" for key, value in values.items() if value != NO_VALUE]
        found.setdefault(" ".join([spec.method, *words]), []).append(spec)
    return found


def save(results: Path, specs: Sequence[RunSpec], measured: Sequence[Stability]) -> Path:
    """Write what was measured, of which runs and on which machine, to `<results>/stability/`; returns the file.

    How far each run moved stands in a file of its own, where tables find it by the run's id.

    Raises:
        UserError: the disk is full, or writing is not permitted.
    """
    parts = (
        sorted({spec.method for spec in specs}),
        sorted({spec.data.dataset for spec in specs}),
        sorted({spec.protocol for spec in specs}),
        sorted({spec.backbone for spec in specs}),
    )
    name = "-".join("_".join(part) for part in parts)[:MOST_LETTERS]
    path = results / "stability" / (re.sub(r"[^A-Za-z0-9.-]+", "_", name) + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": describe(choose_device(specs[0].runtime.device)).model_dump(),
        "runs": [spec.id for spec in specs],
        "measured": [summary_of(item) for item in measured],
    }
    write_atomically(path, to_json(content))
    for rounding in (one for item in measured for one in item.runs):
        save_rounding(results, rounding)
    return path


def summary_of(measured: Stability) -> Json:
    """What is written of a recipe: its runs have files of their own."""
    about = asdict(replace(measured, runs=()))
    del about["runs"]
    return {**about, "verdict": measured.verdict}
