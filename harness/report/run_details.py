"""What the report page says of single runs: spec, costs, training curve, accuracy of classes, predictions."""

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
from harness.results.folder import DAMAGED, DONE, FAILED, RunFolder
from harness.results.record import DamagedError, EpochRecord, Prediction, Result

T = TypeVar("T")
PICTURE_BYTES = 500_000
PICTURE_SIZE = 48  # pixels
MOST_LOSSES = 60
NO_SPEC = {"seed", "wandb", "runtime"}


def dumped(data: dict[str, Any]) -> str:
    """JSON inside a script element, which a text in it cannot end."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def rounded(value: Any, digits: int) -> float | None:
    """A number with as many digits as it is shown with; None for none."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def describe_runs(runs: pd.DataFrame, results: Path, budget: int) -> tuple[dict[str, Any], list[str]]:
    """What the page says of single runs, as far as there is room; what many runs share is there once.

    Args:
        runs: which.
        results: the results folder.
        budget: bytes of JSON.

    Returns:
        details (run id -> what it is, with numbers of lists), specs, classes (lists of names), pictures (path -> data
        URL); and which files are damaged.
    """
    damage: list[str] = []
    specs, classes = Shared(), Shared()
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
        budget -= len(dumped(detail)) + len(run_id) + 6 + specs.grown() + classes.grown()
        if budget < 0:
            break
        details[run_id] = detail
        for item in result.evaluations:
            for example in detail["examples"].get(item.name, ()):
                wanted.setdefault(example[0], item.dataset)
    root = os.environ.get("DATA")
    pictures = thumbnails(wanted, root, PICTURE_BYTES + max(budget, 0))
    found = {"details": details, "specs": specs.values, "classes": classes.values, "pictures": pictures}
    return found, damage


class Shared:
    """A list of values that are there once, however many runs share them."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}
        self._new = 0

    def place(self, value: Any) -> int:
        """Number of a value in the list."""
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
            self._new += len(key.encode()) + 1
        return self._places[key]

    def grown(self) -> int:
        """Bytes by which the list grew since the last question."""
        grown, self._new = self._new, 0
        return grown


def legible(read: Callable[[], T], default: T, damage: list[str]) -> T:
    """What a file holds; the default if it is damaged, which is noted."""
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
        "url": read_url(folder.path / "wandb.json"),
    }


def example(prediction: Prediction) -> list[Any]:
    """A prediction: path, class, predicted class, confidence."""
    return [prediction.path, prediction.label, prediction.predicted, round(prediction.confidence, 2)]


def phase_row(name: str, costs: PhaseCosts) -> list[Any]:
    """A phase: seconds, images/s, peak MiB."""
    peak = costs.peak_bytes
    speed = rounded(costs.images_per_second, 0)
    return [name, rounded(costs.seconds, 2), speed, rounded(peak / MIB, 1) if peak else None]


def facts(result: Result) -> str:
    """Sizes and the machine, in a sentence."""
    costs, machine = result.costs, result.environment
    parts = [f"{costs.trainable_parameters:,} of {costs.total_parameters:,} parameters trained"]
    if costs.train_flops_per_image:
        parts.append(f"{costs.train_flops_per_image / 1e9:.3g} GFLOP an image in training")
    parts += [f"{machine.processor or ''} {machine.device}".strip(), f"torch {machine.torch or '?'}"]
    return ", ".join(parts) + "."


def read_url(path: Path) -> str | None:
    """Where W&B shows a run; None for an offline one."""
    try:
        url = json.loads(path.read_text()).get("url")
    except (OSError, ValueError, AttributeError):
        return None
    return url if isinstance(url, str) else None


def thumbnails(wanted: dict[str, str], data_root: str | None, budget: int) -> dict[str, str]:
    """Small pictures as data URLs, as far as the data sets are here and there is room.

    Args:
        wanted: path of a picture -> its data set.
        data_root: folder of the data sets.
        budget: bytes.
    """
    if not wanted:
        return {}
    # Not at the top: pictures are the only thing here that needs it.
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
    """A picture as a small data URL; None if it cannot be read."""
    from harness.data.pictures import read_picture

    try:
        image = read_picture(folder, path)
    except UserError:
        return None
    image.thumbnail((2 * PICTURE_SIZE, 2 * PICTURE_SIZE))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=55)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
