"""Choose the recipes of the embedded benchmark, on validation pictures only, with the same budget for every method.

    python experiments/embedded/tune_recipes.py experiments/embedded/tuning.yaml --results /tmp/tuning

Every method of the grid file is trained at every point of its grid, all with the same number of points, under the
protocol `base_to_new_validation`: on the first 12 base classes, evaluated on the validation pictures of these 12 and on
the few-shot pictures of the other 11 base classes. Methods that cannot serve new classes are trained on all classes
under `few_shot_validation` and evaluated on their validation pictures. No test picture and no new class is looked at.

The best point of a method is chosen, unless rounding alone decides where its training ends (`skipbench stability`):
then the next best that is stable. Results are kept, so a second start goes on.
"""

import argparse
import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import merge, parse_overrides, read_yaml
from harness.experiment.spec import RunSpec, ScheduleSpec
from harness.reference.stability.measurement import STABLE, Stability, measure
from harness.reference.stability.training import score_of
from harness.results.folder import RunFolder
from harness.schedule import run_all

PROTOCOL = "base_to_new_validation"


def grid_points(grid: dict[str, list[Any]], trials: int) -> list[list[str]]:
    """All combinations of a grid as `key=value` pairs.

    Raises:
        SystemExit: there are not as many as every method has.
    """
    points = list(itertools.product(*grid.values()))
    if len(points) != trials:
        raise SystemExit(f"a grid of {len(points)} points: every method has {trials} trials")
    return [
        [f"{key}={'null' if value is None else value}" for key, value in zip(grid, one, strict=True)] for one in points
    ]


def specs_of(method: str, point: list[str], about: dict[str, Any]) -> list[RunSpec]:
    """The runs of one point of the grid."""
    protocol = next((name for name, methods in about["protocols"].items() if method in methods), PROTOCOL)
    changes = {"methods": [method], "protocol": protocol, "seeds": about["seeds"], "recipe": "official"}
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes)
    settings = merge(parse_overrides(about["fixed"]), parse_overrides(point), {"wandb": {"mode": "disabled"}})
    return expand(experiment, settings)


def row_of(method: str, point: list[str], specs: list[RunSpec], results: Path) -> dict[str, Any]:
    """What the table says of one point: mean accuracies over the seeds, and what they are judged by."""
    of_seeds = [RunFolder(results, spec.id).read_result().accuracies for spec in specs]
    means = {name: statistics.fmean(one[name] for one in of_seeds) for name in of_seeds[0]}
    spread = statistics.stdev(score_of(specs[0], one) for one in of_seeds)
    row: dict[str, Any] = {"method": method, "settings": " ".join(point)}
    row |= {name: round(mean, 2) for name, mean in means.items()}
    return row | {"score": round(score_of(specs[0], means), 2), "std": round(spread, 2)}


def stabilities(rows: list[dict[str, Any]], specs: dict[str, list[RunSpec]], moves: int) -> Iterator[Stability]:
    """How stable the points are, from the best to the first that is stable."""
    for row in sorted(rows, key=lambda row: -row["score"]):
        (found,) = measure({row["settings"]: specs[row["settings"]]}, moves)
        yield found
        if found.verdict == STABLE:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path, help="YAML: trials, seeds, fixed settings, and a grid for every method")
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--at-once", type=int, default=1, help="runs at a time")
    parser.add_argument("--results", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--out", type=Path, help="CSV file for the table; rows of other methods in it stay")
    options = parser.parse_args()
    about = read_yaml(options.grid)
    schedule = ScheduleSpec(runs_per_device=options.at_once)
    for method in options.methods or about["methods"]:
        points = grid_points(about["methods"][method], about["trials"])
        specs = {" ".join(point): specs_of(method, point, about) for point in points}
        failures = run_all([spec for of_point in specs.values() for spec in of_point], options.results, schedule)
        failed = {failure.spec.id for failure in failures}
        rows = []
        for point in points:
            ids = [spec.id for spec in specs[" ".join(point)]]
            if failed.intersection(ids):
                print(method, *point, "failed:", failures[0].failure.reason, flush=True)
            else:
                rows.append(row_of(method, point, specs[" ".join(point)], options.results))
        for found in stabilities(rows, specs, about["moves"]):
            row = next(row for row in rows if row["settings"] == found.label)
            row |= {"moves_by": round(found.score_moves, 2), "verdict": found.verdict}
        chosen = next((row for row in rows if row.get("verdict") == STABLE), None)
        if chosen:
            chosen["chosen"] = "yes"
        table = pd.DataFrame(rows).sort_values("score", ascending=False)
        print(table.to_string(index=False), flush=True)
        if options.out:
            write(options.out, method, table)


def write(path: Path, method: str, table: pd.DataFrame) -> None:
    """Put the rows of a method into a table on disk, in the place of those that it has of it."""
    columns = ["method", "settings", "base", "new", "all", "score", "std", "moves_by", "verdict", "chosen"]
    others = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)
    whole = pd.concat([others[others["method"] != method], table.reindex(columns=columns)])
    whole.sort_values(["method", "score"], ascending=[True, False]).to_csv(path, index=False)


if __name__ == "__main__":
    main()
