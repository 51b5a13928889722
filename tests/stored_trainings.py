"""What trainings in float64 ended with, a file for every method: a few numbers of each tensor, and the run's settings.

The settings are stored too, so that a recipe may change without any other numbers.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.experiment.spec import RunSpec, parse_run_spec

FOLDER = Path(__file__).with_name("trainings")
TOLERANCE = 1e-8
ENTRIES = 6
LEFT_OUT = ("wandb", "tracking", "runtime", "evaluate")
"""Settings that matter for no weight."""


@dataclass(frozen=True)
class Summary:
    """A tensor in a few numbers, each of which all of its entries or their places decide.

    Attributes:
        shape: of the tensor.
        moved: how far the training moved the entry that it moved the most.
        norm: of all entries.
        total: of all entries.
        projection: their sum, entry k multiplied by cos k.
        entries: some of them, first and last included.
    """

    shape: list[int]
    moved: float
    norm: float
    total: float
    projection: float
    entries: list[float]

    @classmethod
    def of(cls, before: Tensor | None, after: Tensor) -> "Summary":
        """The summary of a tensor after a training.

        Args:
            before: the same tensor before it; None if there was none.
            after: any shape and type.
        """
        flat = after.detach().double().flatten()
        moved = flat if before is None else flat - before.detach().double().flatten()
        places = torch.linspace(0, len(flat) - 1, min(ENTRIES, len(flat))).long()
        return cls(
            shape=list(after.shape),
            moved=float(moved.abs().max()),
            norm=float(flat.norm()),
            total=float(flat.sum()),
            projection=float(flat @ torch.arange(len(flat)).double().cos()),
            entries=flat[places].tolist(),
        )

    @property
    def tolerance(self) -> float:
        """How far an entry may be off: a share of the tensor's movement, at most `TOLERANCE`.

        A recipe with tiny steps changes weights by less than that altogether.
        """
        size = self.moved or max(map(abs, self.entries), default=0.0)
        return max(TOLERANCE * min(1.0, size), 1e-14 * max(1.0, self.norm))

    def distance(self, other: "Summary") -> float:
        """How far another summary is off, as a multiple of what is tolerated."""
        if self.shape != other.shape:
            return float("inf")
        of_sums = self.tolerance * max(1, torch.Size(self.shape).numel()) ** 0.5
        sums = [(self.norm, other.norm), (self.total, other.total), (self.projection, other.projection)]
        found = [abs(ours - theirs) / of_sums for ours, theirs in sums]
        found += [abs(a - b) / self.tolerance for a, b in zip(self.entries, other.entries, strict=True)]
        return max(found) if all(value == value for value in found) else float("inf")


@dataclass(frozen=True)
class Stored:
    """One training.

    Attributes:
        spec: its settings.
        weights: name -> summary, of all that trained and of what else the method keeps.
    """

    spec: RunSpec
    weights: dict[str, Summary]


def summarise(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Summary]:
    """Name -> summary of every tensor after a training."""
    return {name: Summary.of(before.get(name), value) for name, value in after.items()}


def differences(stored: dict[str, Summary], found: dict[str, Summary]) -> dict[str, float]:
    """Name -> by how many times of what is tolerated a tensor is off, of all that are off."""
    if stored.keys() != found.keys():
        return dict.fromkeys(stored.keys() ^ found.keys(), float("inf"))
    distances = {name: summary.distance(found[name]) for name, summary in stored.items()}
    return {name: distance for name, distance in distances.items() if distance > 1}


def path_of(name: str) -> Path:
    """The file of a method."""
    return FOLDER / f"{name}.json"


def read(name: str) -> Stored:
    """The stored training of a method."""
    content = json.loads(path_of(name).read_text())
    weights = {key: Summary(**numbers) for key, numbers in content["weights"].items()}
    runtime = {"runtime": {"device": "cpu"}, "wandb": {"mode": "disabled"}}
    nothing = {"evaluate": [{"name": "none", "dataset": content["spec"]["data"]["dataset"]}]}
    return Stored(parse_run_spec({**content["spec"], **runtime, **nothing}), weights)


def write(name: str, stored: Stored) -> None:
    """Store a training of a method."""
    settings = {key: value for key, value in stored.spec.settings().items() if key not in LEFT_OUT}
    rows = [f"{json.dumps(key)}: {json.dumps(asdict(summary))}" for key, summary in stored.weights.items()]
    weights = ",\n".join(rows)
    path_of(name).write_text(f'{{"spec": {json.dumps(settings)},\n"weights": {{\n{weights}\n}}}}\n')
