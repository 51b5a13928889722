"""What lies in a results folder: every run, how it stands, and why."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UserError, nearest
from harness.results.claim import Holder, holder_of
from harness.results.files import Json
from harness.results.folder import RunFolder
from harness.results.record import read_result

# The same grammar, many times faster, where libyaml is there.
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class StoredRun:
    """One run of a results folder.

    Attributes:
        folder: where it lies.
    """

    folder: RunFolder

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.path.name

    @cached_property
    def state(self) -> str:
        """`done`, `running`, `failed`, `begun` or `left`."""
        return self.folder.state

    @cached_property
    def result(self) -> Json | None:
        """`result.json`, if the run is complete."""
        return read_result(self.folder.result_file) if self.folder.is_complete else None

    @cached_property
    def settings(self) -> Json:
        """The run's spec as plain data; empty if it was killed before it was written, or is damaged."""
        if self.result:
            return dict(self.result["spec"])
        try:
            settings = yaml.load((self.folder.path / "spec.yaml").read_text(), YAML_LOADER)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return {}
        return settings if isinstance(settings, dict) else {}

    def setting(self, key: str) -> Any:
        """One setting by its key, such as `data.shots`; None if it is not there."""
        value: Any = self.settings
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    @property
    def name(self) -> str:
        """As `RunSpec.name`."""
        data = self.settings.get("data", {})
        return f"{self.setting('method')}-{data.get('dataset')}-{data.get('shots')}shot-seed{self.setting('seed')}"

    @cached_property
    def epochs(self) -> list[Json]:
        """Recorded epochs."""
        return self.folder.read_metrics()

    @property
    def holder(self) -> Holder | None:
        """Who computes it now."""
        return holder_of(self.folder.path)

    @cached_property
    def failure(self) -> Json | None:
        """Why it failed, if it did."""
        return self.folder.read_failure() if self.state == "failed" else None

    @property
    def outcome(self) -> str:
        """Accuracies of a finished run, the reason of a failed one, the epoch of one that is on its way."""
        if self.result:
            return " ".join(f"{item['name']} {item['accuracy']:.2f}" for item in self.result["evaluations"])
        if self.failure:
            return str(self.failure.get("reason", ""))
        if self.state == "running" and self.holder:
            return f"{self.progress}, by {self.holder}"
        return self.progress

    @property
    def progress(self) -> str:
        """How many epochs are recorded."""
        return f"{len(self.epochs)} of {self.setting('train.epochs')} epochs"


def stored_runs(results: Path) -> Iterator[StoredRun]:
    """All runs of a results folder, by id.

    Raises:
        UserError: there is no such folder.
    """
    folder = results / "runs"
    if not folder.is_dir():
        raise UserError(f"'{results}' holds no runs: name the folder with --results")
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield StoredRun(RunFolder(results, path.name))


def find_run(results: Path, prefix: str) -> StoredRun:
    """The run whose id begins with `prefix`.

    Raises:
        UserError: there is none, or more than one.
    """
    ids = [run.id for run in stored_runs(results)]
    found = [run_id for run_id in ids if run_id.startswith(prefix)]
    if len(found) > 1 and prefix not in found:
        raise UserError(f"'{prefix}' begins {len(found)} runs: {', '.join(found[:5])}{', ...' * (len(found) > 5)}")
    if not found or not prefix:
        raise UserError(f"no run '{prefix}' in '{results}'.{nearest(prefix, ids)} `skipbench runs` lists all")
    return StoredRun(RunFolder(results, prefix if prefix in found else found[0]))


def end_of_log(path: Path, count: int) -> list[str]:
    """The last lines of a log: from its last error on, if there is one, else so many; none if it is not there."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    errors = [number for number, line in enumerate(lines) if "Z ERROR " in line]
    return lines[errors[-1] :] if errors else lines[-count:]


def to_plain_yaml(settings: Json) -> str:
    """Settings as YAML for people."""
    return yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False, allow_unicode=True)
