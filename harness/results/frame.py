"""Finished runs as a data frame."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiment.spec import RunSpec
from harness.machine.costs import TRAIN
from harness.results.folder import RunFolder
from harness.results.index import runs_if_any
from harness.results.metrics import metric_values
from harness.results.record import Result, read_result

if TYPE_CHECKING:  # pandas takes a second to import, and listing runs does not need it
    import pandas as pd


def results_frame(root: Path, run_ids: list[str] | None = None) -> "pd.DataFrame":
    """Finished runs as a table, one row per run.

    Args:
        root: the results folder.
        run_ids: which runs; None for all in the folder. Those that are not complete are left out.

    Returns:
        The columns of `result_row`.

    Raises:
        DamagedError: a result cannot be read.
    """
    import pandas as pd

    if run_ids is None:
        run_ids = [run.id for run in runs_if_any(root)]
    folders = [RunFolder(root, run_id) for run_id in run_ids]
    return pd.DataFrame([result_row(read_result(folder.result_file)) for folder in folders if folder.is_complete])


def spec_row(spec: RunSpec) -> dict[str, Any]:
    """What a row says of a run before it is computed: method, backbone, protocol, dataset, shots, seed, recipe, ..."""
    return {
        "name": spec.name,
        "method": spec.method,
        "dataset": spec.data.dataset,
        "backbone": spec.backbone,
        "protocol": spec.protocol,
        "shots": spec.data.shots,
        "tail": str(spec.data.long_tail or ""),
        "label_noise": spec.data.label_noise,
        "seed": spec.seed,
        "sample_seed": spec.sample_seed,
        "sample_source": spec.sample_source,
        "sample_index": spec.data.index or "",
        "recipe": spec.recipe,
        "tuned": spec.tuned.summary() if spec.tuned else "",
        "precision": spec.train.precision,
        "cache": spec.train.cache,
    }


def result_row(result: Result) -> dict[str, Any]:
    """A result as one row.

    Returns:
        id, the columns of `spec_row`, every metric by its name (`accuracy.<evaluation>` in percent, H, train_memory in
        MiB, ...), `<phase>.<cost>`, device, alone, numbers of parameters.
    """
    # Dumped once: a results folder may hold thousands of runs.
    costs = result.costs.model_dump()
    phases = costs.pop("phases")
    if result.costs.together and TRAIN in phases:
        # Those of several runs stand in the result, and nowhere beside those of single ones.
        phases[TRAIN] = {**phases[TRAIN], "seconds": None, "images_per_second": None}
    return {
        "id": result.id,
        **spec_row(result.spec),
        "device": result.environment.device,
        **metric_values(result),
        **{f"{phase}.{key}": value for phase, values in phases.items() for key, value in values.items()},
        **costs,
    }
