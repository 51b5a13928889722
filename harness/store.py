"""Results on disk: one folder a run, complete when and only when it holds `result.json`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.errors import UserError
from harness.spec import RunSpec, Settings

if TYPE_CHECKING:  # torch and pandas take a second each, and listing runs needs neither
    import pandas as pd
    from torch import Tensor

TEMPORARY = ".tmp"
Json = dict[str, Any]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is either there whole or not at all.

    Raises:
        UserError: no space, no permission.
    """
    temporary = path.with_name(f"{path.name}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"'{path}' cannot be written: {error.strerror}") from error


def to_json(value: Json) -> bytes:
    """JSON for people: indented, keys in the order given."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


class RunFolder:
    """The folder of one run.

    Args:
        root: the results folder.
        run_id: id of the run's spec.

    Attributes:
        path: `<root>/runs/<run_id>`.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.path = root / "runs" / run_id
        self.result_file = self.path / "result.json"
        self.checkpoint_file = self.path / "checkpoint.safetensors"
        self.log_file = self.path / "log.txt"
        self._metrics = self.path / "metrics.jsonl"
        self._progress = self.path / "progress.safetensors"

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def prepare(self, spec: RunSpec) -> None:
        """With the folder locked: remove what a killed process left half-written, and note the spec."""
        for leftover in self.path.glob(f"*{TEMPORARY}"):
            leftover.unlink()
        write_atomically(self.path / "spec.yaml", yaml.safe_dump(spec.settings(), sort_keys=False).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that no second process works in it; the system frees it when the process ends.

        Raises:
            UserError: another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # no such locks on Windows
            yield
            return
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"run {self.path.name} is being computed by another process: wait for it") from None
            yield

    @property
    def is_complete(self) -> bool:
        """Whether the run is done."""
        return self.result_file.is_file()

    def write_json(self, name: str, value: Json) -> None:
        """Write a JSON file beside the result."""
        write_atomically(self.path / name, to_json(value))

    def finish(self, result: Json) -> None:
        """Write the result, which makes the run complete, and remove what only an unfinished run needs."""
        write_atomically(self.result_file, to_json(result))
        self._progress.unlink(missing_ok=True)

    def append_metrics(self, record: Json) -> None:
        """Add one line to `metrics.jsonl`, the record that W&B is fed from."""
        try:
            with self._metrics.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise UserError(f"'{self._metrics}' cannot be written: {error.strerror}") from error

    def read_metrics(self, epochs: int | None = None) -> list[Json]:
        """The recorded epochs; with `epochs`, only the first so many, and the file is cut to them."""
        if not self._metrics.is_file():
            return []
        records = []
        for line in self._metrics.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:  # the line that was being written when the process was killed
                break
        if epochs is not None:
            records = [record for record in records if record["epoch"] < epochs]
            write_atomically(self._metrics, "".join(json.dumps(record) + "\n" for record in records).encode())
        return records

    def save_checkpoint(self, tensors: "dict[str, Tensor]", about: Json) -> int:
        """Write the trained tensors; returns the size of the file in bytes."""
        return save_tensors(self.checkpoint_file, tensors, about)

    def save_progress(self, tensors: "dict[str, Tensor]", about: Json) -> None:
        """Write what training needs to go on: one file, so that weights, momentum, epoch and costs agree."""
        save_tensors(self._progress, tensors, about)

    def load_progress(self) -> "tuple[dict[str, Tensor], Json] | None":
        """What `save_progress` wrote last, or None."""
        if not self._progress.is_file():
            return None
        return load_tensors(self._progress)


def save_tensors(path: Path, tensors: "dict[str, Tensor]", about: Json) -> int:
    """Write tensors and plain data as safetensors; returns the size in bytes."""
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(own, metadata={"about": json.dumps(about)})
    write_atomically(path, data)
    return len(data)


def load_tensors(path: Path) -> "tuple[dict[str, Tensor], Json]":
    """Read what `save_tensors` wrote.

    Raises:
        UserError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["about"])  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"'{path}' is damaged ({error}): remove it to start the run anew") from error


def cannot_write(folder: Path, error: OSError) -> UserError:
    """The error of a results folder that cannot be written."""
    return UserError(
        f"results folder '{folder}' cannot be written ({error.strerror}): choose another with RESULTS=/path "
        "or change its permissions"
    )


def run_state(root: Path, run_id: str) -> str:
    """`done`, `begun` (goes on from its last saved epoch) or `left`."""
    path = root / "runs" / run_id
    if (path / "result.json").is_file():
        return "done"
    return "begun" if (path / "progress.safetensors").is_file() else "left"


def check_writable(root: Path) -> None:
    """Raise a UserError if nothing can be written to the results folder."""
    probe = root / f"writable{TEMPORARY}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise cannot_write(root, error) from error


def read_result(path: Path) -> Json:
    """One result.

    Raises:
        UserError: the file is damaged.
    """
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' is damaged ({error}): remove its folder to compute the run again") from error
    assert isinstance(result, dict)
    return result


def results_frame(root: Path, run_ids: list[str] | None = None) -> "pd.DataFrame":
    """Finished runs as a table, one row a run.

    Args:
        root: the results folder.
        run_ids: which runs; None for all in the folder. Those that are not complete are left out.

    Returns:
        Columns id, method, dataset, backbone, protocol, shots, seed, recipe, precision, device, `accuracy.<evaluation>`
        (percent), `<phase>.<cost>` and the parameters' counts.
    """
    import pandas as pd

    ids = run_ids if run_ids is not None else sorted(path.parent.name for path in root.glob("runs/*/result.json"))
    folders = [RunFolder(root, run_id) for run_id in ids]
    return pd.DataFrame([flatten(read_result(folder.result_file)) for folder in folders if folder.is_complete])


def flatten(result: Json) -> Settings:
    """A result as one row."""
    spec, costs = result["spec"], result["costs"]
    return {
        "id": result["id"],
        "method": spec["method"],
        "dataset": spec["data"]["dataset"],
        "backbone": spec["backbone"],
        "protocol": spec["protocol"],
        "shots": spec["data"]["shots"],
        "seed": spec["seed"],
        "recipe": spec["recipe"],
        "precision": spec["train"]["precision"],
        "cache": spec["train"]["cache"],
        "device": result["environment"]["device"],
        **{f"accuracy.{item['name']}": item["accuracy"] for item in result["evaluations"]},
        **{f"ece.{item['name']}": item["ece"] for item in result["evaluations"]},
        **{f"{phase}.{key}": value for phase, values in costs["phases"].items() for key, value in values.items()},
        **{key: value for key, value in costs.items() if key != "phases"},
    }
