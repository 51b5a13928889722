"""Results on disk: one folder a run, complete when and only when it holds `result.json`."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.claim import PREFIX as CLAIM
from harness.claim import Claim, claimed, holder_of, remove_dead_claims
from harness.errors import NoSpaceError, UserError
from harness.spec import RunSpec, Settings

if TYPE_CHECKING:  # torch and pandas take a second each, and listing runs needs neither
    import pandas as pd
    from torch import Tensor

TEMPORARY = ".tmp"
PROGRESS, FAILURE = "progress.safetensors", "failure.json"
STATES = ("done", "running", "failed", "begun", "left")
Json = dict[str, Any]
SAFETENSORS_TYPES = {
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.bool": "BOOL",
}


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
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> UserError:
    """The error of a file that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (NoSpaceError if full else UserError)(f"'{path}' cannot be written: {error.strerror}")


def to_json(value: Json) -> bytes:
    """JSON for people: indented, keys in the order given."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def is_passing(name: str) -> bool:
    """Whether a complete run's folder has no such file."""
    return name.startswith(CLAIM) or name.endswith(TEMPORARY) or name in (PROGRESS, FAILURE)


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

    @property
    def result_file(self) -> Path:
        """Its being there makes the run complete."""
        return self.path / "result.json"

    @property
    def checkpoint_file(self) -> Path:
        """The trained tensors."""
        return self.path / "checkpoint.safetensors"

    @property
    def log_file(self) -> Path:
        """What the run's processes logged."""
        return self.path / "log.txt"

    @property
    def failure_file(self) -> Path:
        """Why the run did not come to its end."""
        return self.path / FAILURE

    @property
    def metrics_file(self) -> Path:
        """A line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def _progress(self) -> Path:
        return self.path / PROGRESS

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    @contextmanager
    def claimed(self) -> Iterator[Claim]:
        """Hold the claim on this run, so that no second process computes it.

        Raises:
            ClaimedError: another process holds it.
        """
        with claimed(self.path) as claim:
            yield claim

    def prepare(self, spec: RunSpec) -> None:
        """With the run claimed: remove what an earlier process left half-written, and note the spec."""
        self._remove_temporary()
        self.failure_file.unlink(missing_ok=True)
        self.note_spec(spec)

    def note_spec(self, spec: RunSpec) -> None:
        """Write what the run is."""
        write_atomically(self.path / "spec.yaml", yaml.safe_dump(spec.settings(), sort_keys=False).encode())

    def _remove_temporary(self) -> None:
        for leftover in self.path.glob(f"*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed processes left: dead claims and, if the run is complete, what only its making needed."""
        with suppress(OSError):
            passing = [name for name in os.listdir(self.path) if is_passing(name)]
            if not passing:
                return
            remove_dead_claims(self.path)
            if self.is_complete and holder_of(self.path) is None:
                for name in passing:
                    (self.path / name).unlink(missing_ok=True)

    def set_aside(self, root: Path) -> Path:
        """Move the whole folder to `<root>/replaced/<id>-<n>`; returns that.

        Raises:
            ClaimedError: a process computes the run.
            UserError: it cannot be moved.
        """
        with self.claimed() as claim:
            number = 1 + len(list(root.glob(f"replaced/{self.path.name}-*")))
            target = root / "replaced" / f"{self.path.name}-{number}"
            try:
                target.parent.mkdir(exist_ok=True)
                self.path.rename(target)
                (target / claim.link.name).unlink()
            except OSError as error:
                raise cannot_write(target, error) from error
        return target

    @property
    def state(self) -> str:
        """`done`, `running`, `failed`, `begun` (goes on from its last saved epoch) or `left`."""
        try:
            names = set(os.listdir(self.path))
        except OSError:
            return "left"
        if self.result_file.name in names:
            return "done"
        if any(name.startswith(CLAIM) for name in names) and holder_of(self.path):
            return "running"
        if FAILURE in names:
            return "failed"
        return "begun" if PROGRESS in names else "left"

    def note_failure(self, failure: Json) -> None:
        """Write why the run did not come to its end; a disk that takes nothing more is no second failure."""
        with suppress(UserError):
            write_atomically(self.failure_file, to_json(failure))

    def read_failure(self) -> Json | None:
        """What `note_failure` wrote, or None."""
        try:
            failure = json.loads(self.failure_file.read_text())
        except (OSError, ValueError):
            return None
        return failure if isinstance(failure, dict) else None

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
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise write_error(self.metrics_file, error) from error

    def read_metrics(self, epochs: int | None = None) -> list[Json]:
        """The recorded epochs; with `epochs`, only the first so many, and the file is cut to them."""
        if not self.metrics_file.is_file():
            return []
        records = []
        for line in self.metrics_file.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:  # the line that was being written when the process was killed
                break
        if epochs is not None:
            records = [record for record in records if record["epoch"] < epochs]
            write_atomically(self.metrics_file, "".join(json.dumps(record) + "\n" for record in records).encode())
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
    # Not at the top: what only lists runs needs no torch, which takes seconds to import.
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(own, metadata={"about": json.dumps(about)})
    write_atomically(path, data)
    return len(data)


def saved_bytes(tensors: "dict[str, Tensor]", about: Json) -> int:
    """Size of the file that `save_tensors` would write, from shapes alone."""
    header: Json = {"__metadata__": {"about": json.dumps(about)}}
    end = 0
    # The order of safetensors: larger types first, then by name.
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        shape, begin = list(tensors[name].shape), end
        end += tensors[name].numel() * tensors[name].dtype.itemsize
        dtype = SAFETENSORS_TYPES[str(tensors[name].dtype)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + length + -length % 8 + end


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


def result_files(root: Path) -> list[Path]:
    """The results of all complete runs, by id."""
    return sorted(root.glob("runs/*/result.json"))


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

    ids = run_ids if run_ids is not None else [path.parent.name for path in result_files(root)]
    folders = [RunFolder(root, run_id) for run_id in ids]
    return pd.DataFrame([flatten(read_result(folder.result_file)) for folder in folders if folder.is_complete])


def tuned_words(spec: Json) -> str:
    """How a tuned recipe was found, in words; empty for a fixed one."""
    tuned = spec.get("tuned")
    if not tuned:
        return ""
    seeds = ",".join(map(str, tuned["seeds"]))
    return f"{tuned['trials']} trials on {tuned['data']}, seeds {seeds} (study {tuned['study']})"


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
        "tuned": tuned_words(spec),
        "precision": spec["train"]["precision"],
        "cache": spec["train"]["cache"],
        "device": result["environment"]["device"],
        **{f"accuracy.{item['name']}": item["accuracy"] for item in result["evaluations"]},
        **{f"ece.{item['name']}": item["ece"] for item in result["evaluations"]},
        **{f"{phase}.{key}": value for phase, values in costs["phases"].items() for key, value in values.items()},
        **{key: value for key, value in costs.items() if key != "phases"},
    }
