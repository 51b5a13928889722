"""Results with made-up numbers, in the form that SkipBench 0.1 wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.experiment.spec import RunSpec
from harness.results.record import Result, parse_result

MIB = 2**20
Json = dict[str, Any]


def evaluation(spec: RunSpec, name: str, accuracy: float, **facts: Any) -> Json:
    """An evaluation of a spec, by its name."""
    (item,) = (item for item in spec.evaluate if item.name == name)
    return {**item.model_dump(mode="json"), "accuracy": accuracy, "ece": 3.0, **facts}


def result_json(
    spec: RunSpec, accuracies: Mapping[str, float], phases: Mapping[str, Json], device: str = "cpu", **facts: Any
) -> Json:
    """The content of `result.json`, with the keys that all versions had.

    Args:
        spec: of the run.
        accuracies: evaluation -> percent.
        phases: phase -> costs.
        device: name of the GPU, or cpu.
        facts: further keys, or others instead.
    """
    return {
        "id": spec.id,
        "name": spec.name,
        "spec": spec.settings(),
        "evaluations": [evaluation(spec, name, accuracy) for name, accuracy in accuracies.items()],
        "costs": {
            "phases": dict(phases),
            "trainable_parameters": 10 if spec.train.epochs else 0,
            "total_parameters": 100,
        },
        "environment": {"device": device},
        **facts,
    }


def a_result(spec: RunSpec, accuracies: Mapping[str, float], phases: Mapping[str, Json], **facts: Any) -> Result:
    """The same as a record."""
    return parse_result(json.dumps(result_json(spec, accuracies, phases, **facts)), Path("made up"))


def write_result(results: Path, content: Json) -> Path:
    """Put a result into a results folder, as a complete run has one; returns the run's folder."""
    folder = results / "runs" / content["id"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(content))
    return folder
