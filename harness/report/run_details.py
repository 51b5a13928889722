"""The part of the report page about single runs: spec, costs, training curve, accuracy of classes, predictions."""

import base64
import io
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml

from harness.errors import UserError
from harness.machine.costs import PhaseCosts
from harness.machine.units import MIB
from harness.report.card_notes import card_line
from harness.report.marks import details_of
from harness.results.epochs import EpochRecord
from harness.results.folder import DAMAGED, DONE, FAILED, RunFolder
from harness.results.record import DamagedError, Prediction, Result
from harness.text import counted
from harness.tracking.delivery import read_delivery

T = TypeVar("T")
PICTURE_BYTES = 500_000
PICTURE_SIZE = 48  # pixels
MOST_LOSSES = 60
NO_SPEC = {"seed", "wandb", "tracking", "runtime"}


def dumped(data: dict[str, Any]) -> str:
    """JSON for a script element; no text in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def rounded(value: Any, digits: int) -> float | None:
    """A number rounded to the digits that are shown; None if it is missing or not finite."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def describe_runs(runs: pd.DataFrame, results: Path, budget: int) -> tuple[dict[str, Any], list[str]]:
    """Details of single runs, as far as there is room; values that many runs share are stored once.

    Args:
        runs: the runs.
        results: the results folder.
        budget: bytes of JSON that may be used.

    Returns:
        details (run id -> its facts, with indices into the lists), specs, classes (lists of names), cards (lines),
        pictures (path -> data URL); and why files are damaged.
    """
    damage: list[str] = []
    specs, classes, cards = Shared(), Shared(), Shared()
    details: dict[str, Any] = {}
    wanted: dict[str, str] = {}
    budget -= PICTURE_BYTES
    for run_id, state, reason in zip(runs["id"], runs["state"], runs["reason"], strict=True):
        if state in (FAILED, DAMAGED):
            details[run_id] = {"reason": reason, "seed": 0, "spec": specs.place("")}
        if state != DONE:
            continue
        folder = RunFolder(results, run_id)
        result = folder.read_result()
        detail = describe(folder, result, specs, classes, damage)
        detail["card"] = cards.place(card_line(result.spec.method))
        budget -= len(dumped(detail)) + len(run_id) + 6 + specs.grown() + classes.grown() + cards.grown()
        if budget < 0:
            break
        details[run_id] = detail
        for item in result.evaluations:
            for example in detail["examples"].get(item.name, ()):
                wanted.setdefault(example[0], item.dataset)
    root = os.environ.get("DATA")
    pictures = thumbnails(wanted, root, PICTURE_BYTES + max(budget, 0))
    shared = {"specs": specs.values, "classes": classes.values, "cards": cards.values}
    return {"details": details, **shared, "pictures": pictures}, damage


class Shared:
    """A list that holds every value once, however many runs share it."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}
        self._new = 0

    def place(self, value: Any) -> int:
        """Index of a value in the list; adds it if it is new."""
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
            self._new += len(key.encode()) + 1
        return self._places[key]

    def grown(self) -> int:
        """Bytes by which the list grew since the last call."""
        grown, self._new = self._new, 0
        return grown


def legible(read: Callable[[], T], default: T, damage: list[str]) -> T:
    """The content of a file; if it is damaged, the default, and its reason is added to `damage`."""
    try:
        return read()
    except DamagedError as error:
        damage.append(str(error))
        return default


def describe(folder: RunFolder, result: Result, specs: Shared, classes: Shared, damage: list[str]) -> dict[str, Any]:
    """One run: spec, costs, curve, accuracy of classes, predictions; damaged files are added to `damage`."""
    spec = {key: value for key, value in result.spec.settings().items() if key not in NO_SPEC}
    records: list[EpochRecord] = legible(folder.read_metrics, [], damage)
    predictions: dict[str, list[Prediction]] = legible(folder.read_predictions, {}, damage)
    losses = [(one.epoch + 1, float(f"{one.loss:.4g}")) for one in records if math.isfinite(one.loss)]
    step = max(1, math.ceil(len(losses) / MOST_LOSSES))
    return {
        "seed": result.spec.seed,
        "spec": specs.place(yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=100)),
        "costs": [phase_row(name, costs) for name, costs in result.costs.phases.items()],
        "facts": facts(result),
        "notes": details_of(result),
        "losses": losses[::step],
        "classes": {
            item.name: {
                "names": classes.place(list(item.per_class)),
                "values": [rounded(value, 1) for value in item.per_class.values()],
            }
            for item in result.evaluations
            if item.per_class
        },
        "examples": {name: [example(one) for one in some] for name, some in predictions.items()},
        "url": legible(lambda: read_url(folder.path), None, damage),
    }


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
    parts += [counted(machine.threads, "CPU thread")] if machine.threads else []
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
