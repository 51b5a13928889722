"""Choose the recipes of the embedded benchmark, on validation pictures only.

    python experiments/embedded/tune_recipes.py experiments/embedded/tuning.yaml --results /tmp/tuning

Every method of the grid file is trained at every point of its grid under the protocol `base_to_new_validation`: on the
first 12 base classes, evaluated on the validation pictures of these 12 and on the few-shot pictures of the other 11
base classes. No test picture and no new class is looked at. Results are kept, so a second start goes on.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import merge, parse_overrides, read_yaml
from harness.experiment.spec import RunSpec
from harness.results.frame import results_frame
from harness.results.metrics import harmonic_mean
from harness.schedule import run_all

PROTOCOL = "base_to_new_validation"


def grid_points(grid: dict[str, list[Any]]) -> list[list[str]]:
    """All combinations of a grid as `key=value` pairs."""
    points = itertools.product(*grid.values())
    return [[f"{key}={value}" for key, value in zip(grid, point, strict=True)] for point in points]


def specs_of(method: str, point: list[str], fixed: list[str], seeds: list[int]) -> list[RunSpec]:
    """The runs of one point of the grid."""
    changes = {"methods": [method], "protocol": PROTOCOL, "seeds": seeds, "recipe": "official"}
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes)
    return expand(experiment, merge(parse_overrides(fixed), parse_overrides(point), {"wandb": {"mode": "disabled"}}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path, help="YAML: seeds, fixed settings, and a grid for every method")
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--results", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--out", type=Path, help="CSV file for the table")
    options = parser.parse_args()
    about = read_yaml(options.grid)
    rows = []
    for method in options.methods or about["methods"]:
        for point in grid_points(about["methods"][method]):
            specs = specs_of(method, point, about["fixed"], about["seeds"])
            failures = run_all(specs, options.results)
            runs = results_frame(options.results, [spec.id for spec in specs])
            if failures:
                print(method, *point, "failed:", failures[0].failure.reason, flush=True)
                continue
            base, new = runs["accuracy.base"], runs["accuracy.new"]
            by_seed = pd.Series([harmonic_mean(*pair) for pair in zip(base, new, strict=True)])
            row = {
                "method": method,
                "settings": " ".join(point),
                "base": round(base.mean(), 2),
                "new": round(new.mean(), 2),
                "H": round(harmonic_mean(base.mean(), new.mean()), 2),
                "H_std": round(by_seed.std(ddof=1), 2),
            }
            rows.append(row)
            print(*row.values(), flush=True)
    table = pd.DataFrame(rows).sort_values(["method", "H"], ascending=[True, False])
    print(table.to_string(index=False))
    if options.out:
        table.to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
