"""Finished runs as a data frame."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiment.settings import Settings
from harness.results.files import Json
from harness.results.folder import RunFolder
from harness.results.record import read_result, result_files

if TYPE_CHECKING:  # torch and pandas take a second each, and listing runs needs neither
    import pandas as pd


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
