"""The part of the report page about single runs: settings, costs, curves, accuracy of classes, predictions, files."""

import base64
import io
import json
import math
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from harness.errors import UserError
from harness.experiment.settings import flat_settings
from harness.machine.costs import PhaseCosts
from harness.machine.units import MIB
from harness.report.card_notes import card_line
from harness.report.marks import details_of
from harness.report.run_predictions import predicted
from harness.report.runs import MOST_KEPT
from harness.results.epochs import EpochRecord
from harness.results.folder import DAMAGED, DONE, FAILED, RunFolder
from harness.results.logits import is_logits_file
from harness.results.record import DamagedError, Prediction, Result
from harness.text import counted
from harness.tracking.delivery import read_delivery

T = TypeVar("T")
# Kept free for pictures, and for predictions where runs kept their logits.
PICTURE_BYTES = 400_000
PREDICTION_BYTES = 300_000
PICTURE_SIZE = 48  # pixels
MOST_POINTS = 60
SELECTION = "choosing the epoch"
NO_SPEC = {"seed", "wandb", "tracking", "runtime"}
# Those that the page links to, where a run has them.
FILES = ("result.json", "spec.yaml", "metrics.jsonl", "log.txt")


def dumped(data: dict[str, Any]) -> str:
    """JSON for a script element; no text in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def rounded(value: Any, digits: int) -> float | None:
    """A number rounded to the digits that are shown; None if it is missing or not finite."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


@dataclass(frozen=True)
class RunFiles:
    """The files of runs.

    Attributes:
        sets: different lists of names among FILES.
        of: index of the list of each run, in their order.
        with_logits: ids of runs that kept logits.
    """

    sets: list[tuple[str, ...]]
    of: list[int]
    with_logits: frozenset[str]


def run_files(ids: Iterable[str], results: Path) -> RunFiles:
    """Which files some runs have; none where there is no folder."""
    sets, of, with_logits = Shared(), [], set()
    folder = results / "runs"
    for run_id in ids:
        try:
            names = os.listdir(os.path.join(folder, run_id))
        except OSError:
            names = []
        of.append(sets.place(tuple(name for name in FILES if name in names)))
        if any(map(is_logits_file, names)):
            with_logits.add(run_id)
    return RunFiles(sets.values, of, frozenset(with_logits))


def describe_runs(runs: pd.DataFrame, results: Path, files: RunFiles, budget: int) -> tuple[dict[str, Any], list[str]]:
    """Details of single runs, as far as there is room, first seeds first; values that many runs share are stored once.

    Args:
        runs: the runs.
        results: the results folder.
        files: of these runs.
        budget: bytes of JSON that may be used.

    Returns:
        details (run id -> its facts, with indices into the lists), lines (`key: value` of settings), specs (lists of
        indices of lines), classes (lists of names), cards (lines), predicted (see `run_predictions`), pictures (path ->
        data URL); and why files are damaged.
    """
    damage: list[str] = []
    shared = SharedParts()
    details: dict[str, Any] = {}
    wanted: dict[str, str] = {}
    kept: list[tuple[RunFolder, Result]] = []
    reserved = PICTURE_BYTES + (PREDICTION_BYTES if files.with_logits else 0)
    budget -= reserved
    ordered = first_seeds_first(runs)
    for run_id, state, reason in zip(*(ordered[name].tolist() for name in ("id", "state", "reason")), strict=True):
        if state in (FAILED, DAMAGED):
            detail = {"reason": reason, "seed": 0, "spec": shared.specs.place(())}
        elif state == DONE:
            folder = RunFolder(results, run_id)
            result = folder.read_result()
            detail = describe(folder, result, shared, damage)
        else:
            continue
        budget -= len(dumped(detail)) + len(run_id) + 6 + shared.grown()
        if budget < 0:
            break
        details[run_id] = detail
        if state != DONE:
            continue
        if run_id in files.with_logits:
            kept.append((folder, result))
        for item in result.evaluations:
            for example in detail["examples"].get(item.name, ()):
                wanted.setdefault(example[0], item.dataset)
    of_pictures = predicted(kept, PREDICTION_BYTES, damage)
    room = reserved - of_pictures.size + max(budget, 0)
    pictures = thumbnails({**wanted, **of_pictures.pictures}, os.environ.get("DATA"), room)
    parts = {**shared.values(), "predicted": of_pictures.data, "pictures": pictures}
    return {"details": details, **parts}, damage


def first_seeds_first(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs in an order in which the first run of each setting comes before the second one of any."""
    turns = runs.groupby(["label", "protocol", "backbone", "tuned", "dataset", "shots"], dropna=False).cumcount()
    return runs.loc[turns.sort_values(kind="stable").index]


class Shared:
    """A list that holds every value once, however many runs share it."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Hashable, int] = {}
        self._new = 0

    def place(self, value: Hashable) -> int:
        """Index of a value in the list; adds it if it is new."""
        if value not in self._places:
            self._places[value] = len(self.values)
            self.values.append(value)
            self._new += len(json.dumps(value)) + 1
        return self._places[value]

    def grown(self) -> int:
        """Bytes by which the list grew since the last call."""
        grown, self._new = self._new, 0
        return grown


class SharedParts:
    """What runs share: lines of settings, whole specs as indices of lines, names of classes, lines of cards."""

    def __init__(self) -> None:
        self.lines, self.specs, self.classes, self.cards = Shared(), Shared(), Shared(), Shared()

    def values(self) -> dict[str, list[Any]]:
        """All lists by their names."""
        return {name: shared.values for name, shared in vars(self).items()}

    def grown(self) -> int:
        """Bytes by which the lists grew since the last call."""
        return sum(shared.grown() for shared in vars(self).values())


def legible(read: Callable[[], T], default: T, damage: list[str]) -> T:
    """The content of a file; if it is damaged, the default, and its reason is added to `damage`."""
    try:
        return read()
    except DamagedError as error:
        damage.append(str(error))
        return default


def describe(folder: RunFolder, result: Result, shared: SharedParts, damage: list[str]) -> dict[str, Any]:
    """One run: settings, costs, curves, accuracy of classes, predictions; damaged files are added to `damage`."""
    records: list[EpochRecord] = legible(folder.read_metrics, [], damage)
    predictions: dict[str, list[Prediction]] = legible(folder.read_predictions, {}, damage)
    losses = [(one.epoch + 1, float(f"{one.loss:.4g}")) for one in records if math.isfinite(one.loss)]
    return {
        "seed": result.spec.seed,
        "spec": shared.specs.place(tuple(map(shared.lines.place, setting_lines(result)))),
        "card": shared.cards.place(card_line(result.spec.method)),
        "costs": [phase_row(name, costs) for name, costs in result.costs.phases.items()],
        "facts": facts(result),
        "notes": details_of(result),
        "losses": thinned(losses),
        "accuracies": accuracy_curves(records),
        "classes": {
            item.name: {
                "names": shared.classes.place(tuple(item.per_class)),
                "values": [rounded(value, 1) for value in item.per_class.values()],
            }
            for item in result.evaluations
            if item.per_class
        },
        "examples": {name: [example(one) for one in some] for name, some in predictions.items()},
        "url": legible(lambda: read_url(folder.path), None, damage),
    }


def setting_lines(result: Result) -> list[str]:
    """The settings of a run that decide its result, but the seed, as `key: value`, values as in YAML."""
    return _lines(json.dumps({key: value for key, value in result.spec.settings().items() if key not in NO_SPEC}))


@lru_cache(MOST_KEPT)
def _lines(settings: str) -> list[str]:
    """As `setting_lines`, from the JSON of the settings: thousands of runs differ in their seeds alone."""
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in flat_settings(json.loads(settings)).items()
    }
    return [f"{key}: {text}" for key, text in texts.items()]


def accuracy_curves(records: Sequence[EpochRecord]) -> dict[str, list[tuple[int, float]]]:
    """Evaluation -> (epoch from 1, accuracy in percent) of the epochs that were validated; SELECTION is the name of
    those of the images by which the epoch to keep is chosen."""
    found: dict[str, list[tuple[int, float]]] = {}
    for one in records:
        values = dict(one.accuracies)
        if one.selection_accuracy is not None:
            values[SELECTION] = one.selection_accuracy
        for name, value in values.items():
            found.setdefault(name, []).append((one.epoch + 1, round(value, 2)))
    return {name: thinned(points) for name, points in found.items()}


def thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most MOST_POINTS of a curve, evenly spaced; the last one is among them."""
    step = max(1, math.ceil(len(points) / MOST_POINTS))
    return points[::-step][::-1]


def example(prediction: Prediction) -> list[Any]:
    """A prediction: path, class, predicted class, confidence."""
    return [prediction.path, prediction.label, prediction.predicted, rounded(prediction.confidence, 2)]


def phase_row(name: str, costs: PhaseCosts) -> list[Any]:
    """A phase: seconds as if alone, images/s, peak MiB."""
    peak = costs.peak_bytes
    speed = rounded(costs.images_per_second, 0)
    return [name, rounded(costs.whole_seconds, 2), speed, rounded(peak / MIB, 1) if peak else None]


def facts(result: Result) -> str:
    """Parameters, operations and the machine, in one sentence."""
    costs, machine = result.costs, result.environment
    parts = [f"{costs.trainable_parameters:,} of {costs.total_parameters:,} parameters trained"]
    if costs.train_flops_per_image:
        parts.append(f"{costs.train_flops_per_image / 1e9:.3g} GFLOP per image in training")
    parts += [f"{machine.processor or ''} {machine.device}".strip()]
    if machine.threads:
        fewer = result.step_threads and result.step_threads != machine.threads
        parts += [counted(machine.threads, "CPU thread") + (f" ({result.step_threads} for steps)" if fewer else "")]
    parts += [f"torch {machine.torch or '?'}"]
    return ", ".join(parts) + "."


def read_url(folder: Path) -> str | None:
    """The page of a run at W&B; None for an offline run.

    Raises:
        DamagedError: the note about it cannot be read.
    """
    delivery = read_delivery(folder)
    return delivery.url if delivery else None


def thumbnails(wanted: dict[str, str], data_root: str | None, budget: int) -> dict[str, str]:
    """Small images as data URLs, as far as the data sets are on this machine and there is room.

    Args:
        wanted: path of an image -> its data set.
        data_root: folder of the data sets.
        budget: bytes that may be used.
    """
    if not wanted:
        return {}
    # Imported here because only images need it.
    from harness.data.datasets import read_dataset

    folders: dict[str, Path | None] = {}
    found: dict[str, str] = {}
    for path, dataset in wanted.items():
        if dataset not in folders:
            try:
                folders[dataset] = read_dataset(dataset, data_root).folder
            except UserError:  # not on this machine
                folders[dataset] = None
        folder = folders[dataset]
        picture = thumbnail(folder, path) if folder else None
        budget -= len(path) + len(picture or "") + 6
        if budget < 0:
            break
        if picture:
            found[path] = picture
    return found


def thumbnail(folder: Path, path: str) -> str | None:
    """An image below a folder as a small data URL; None if it lies elsewhere or cannot be read."""
    # Imported here because only images need it.
    from harness.data.thumbnails import small_picture

    image = small_picture(folder, path, 2 * PICTURE_SIZE)
    if image is None:
        return None
    file = io.BytesIO()
    image.save(file, "WEBP", quality=55)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
