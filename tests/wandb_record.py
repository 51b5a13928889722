"""Whether what a W&B server was sent is the record of a run."""

import json
from pathlib import Path
from typing import Any

from tests.wandb_stub import StubRun


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The epochs of a run's own record."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_is_the_record(run: StubRun, folder: Path, group: str) -> None:
    """What the server has is what our record holds: each epoch once, at its step."""
    records, result = metrics(folder), json.loads((folder / "result.json").read_text())
    rows, epochs = run.history, epochs_of(run)
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert [row["epoch"] for row in epochs] == list(range(len(records)))
    assert [row["train/loss"] for row in epochs] == [record["loss"] for record in records]
    steps = [step for record in records for step in record["step_records"]]
    assert [[row["step"], row["step/loss"]] for row in rows if "step" in row] == [step[:2] for step in steps]
    assert len(rows) == len(steps) + len(epochs) + (1 if media_row(run) else 0)
    assert run.summary["accuracy/base"] == result["evaluations"][0]["accuracy"]
    assert run.settings()["skip"] == result["spec"]["skip"]
    assert run.settings()["environment"]["torch"] == result["environment"]["torch"]
    assert (run.group, run.exit_code) == (group, 0)
    assert run.name is not None
    assert run.name.startswith(f"{result['name']} ")


def epochs_of(run: StubRun) -> list[dict[str, Any]]:
    """The rows of epochs that the server has."""
    return [row for row in run.history if "epoch" in row]


def media_row(run: StubRun) -> dict[str, Any] | None:
    """The row of tables and pictures that the server has, if it is there: it comes last, once."""
    found = [number for number, row in enumerate(run.history) if any(key.startswith("predictions/") for key in row)]
    assert found in ([], [len(run.history) - 1])
    return run.history[-1] if found else None
