"""Tables: mean, standard deviation and H, against pandas."""

from typing import Any

import pandas as pd
import pytest

from harness.experiment.spec import parse_run_spec
from harness.report.method_table import caption, footnote, method_table
from harness.results.frame import result_row
from harness.results.metrics import harmonic_mean
from tests.made_up_results import MIB, a_result

SCORES = {
    ("emoji", "skip"): [(81.25, 60.5), (79.0, 66.125), (83.5, 58.25)],
    ("emoji", "finetune"): [(90.0, 30.0), (85.0, 45.0), (80.0, 60.0)],
    ("emoji", "zeroshot"): [(50.5, 55.25)],
}


def make_row(
    dataset: str,
    method: str,
    seed: int,
    accuracies: dict[str, float],
    phases: dict[str, dict[str, Any]] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """A run as a row of `results_frame`; its device is known, whatever phases it has."""
    evaluate = [{"name": name, "dataset": dataset} for name in accuracies]
    data = {"dataset": dataset, "shots": 16}
    spec = parse_run_spec({"method": method, "seed": seed, "data": data, "evaluate": evaluate})
    return result_row(a_result(spec, accuracies, phases or {}, device=device))


def costs_of(method: str, seed: int) -> dict[str, dict[str, Any]]:
    trains, caches = method != "zeroshot", method == "skip"
    found: dict[str, dict[str, Any]] = {
        "setup": {"seconds": 0.5, "peak_tensor_bytes": 5 * MIB},
        "cache": {"seconds": 1.5 * seed if caches else 0.0},
        "train": {"seconds": 0.0},
        "evaluate": {"seconds": 1.0, "peak_tensor_bytes": 50 * MIB if method == "skip" else 7 * MIB},
    }
    if trains:
        # 100.4 images/s of the first seed, twice as many of the second.
        images = {"seconds": 10.0 * seed, "images": 1004 * seed**2}
        found["train"] = {**images, "peak_tensor_bytes": (20 + seed) * MIB}
    return found


def make_runs(
    scores: dict[tuple[str, str], list[tuple[float, float]]] = SCORES, with_peaks: bool = True
) -> pd.DataFrame:
    rows = []
    for (dataset, method), pairs in scores.items():
        for seed, (base, new) in enumerate(pairs, start=1):
            phases = costs_of(method, seed)
            if not with_peaks:
                phases = {name: {**costs, "peak_tensor_bytes": None} for name, costs in phases.items()}
            rows.append(make_row(dataset, method, seed, {"base": base, "new": new}, phases))
    return pd.DataFrame(rows)


def cell(runs: pd.DataFrame, method: str, column: str) -> str:
    table = method_table(runs).set_index("method")
    return str(table.loc[method, column])


@pytest.mark.parametrize("method", ["skip", "finetune"])
@pytest.mark.parametrize("column", ["base", "new"])
def test_accuracy_is_mean_and_sample_deviation(method: str, column: str) -> None:
    runs = make_runs()
    stats = runs.groupby("method")[f"accuracy.{column}"].agg(["mean", "std"]).loc[method]
    assert cell(runs, method, column) == f"{stats['mean']:.1f} ± {stats['std']:.1f}"


def test_literal_cells() -> None:
    runs = make_runs()
    assert cell(runs, "finetune", "base") == "85.0 ± 5.0"
    assert cell(runs, "finetune", "new") == "45.0 ± 15.0"
    # H of the means 85 and 45 is 58.8; the mean of the seeds' H (45.0, 58.8, 68.6) would be 57.5.
    assert cell(runs, "finetune", "H") == "58.8 ± 11.8"


@pytest.mark.parametrize("method", ["skip", "finetune"])
def test_h_is_that_of_the_means_and_its_deviation_that_of_the_seeds(method: str) -> None:
    runs = make_runs()
    means = runs.groupby("method")[["accuracy.base", "accuracy.new"]].mean().loc[method]
    h = 2 / (1 / means["accuracy.base"] + 1 / means["accuracy.new"])
    of_seeds = 2 / (1 / runs["accuracy.base"] + 1 / runs["accuracy.new"])
    spread = of_seeds[runs["method"] == method].std(ddof=1)
    assert cell(runs, method, "H") == f"{h:.1f} ± {spread:.1f}"


def test_a_single_seed_has_no_deviation() -> None:
    runs = make_runs()
    assert cell(runs, "zeroshot", "base") == "50.5"
    assert cell(runs, "zeroshot", "H") == f"{2 / (1 / 50.5 + 1 / 55.25):.1f}"
    assert cell(runs, "zeroshot", "seeds") == "1"
    assert cell(runs, "skip", "seeds") == "3"


def test_costs() -> None:
    runs = make_runs()
    assert cell(runs, "skip", "train s") == "20.0 ± 10.0"
    assert cell(runs, "skip", "cache s") == "3.0 ± 1.5"
    assert cell(runs, "skip", "train img/s") == "201 ± 100"
    assert cell(runs, "skip", "train MiB") == "22.0 ± 1.0"
    # The highest of all phases, seed by seed.
    assert cell(runs, "skip", "run MiB") == "50.0 ± 0.0"
    assert cell(runs, "finetune", "run MiB") == "22.0 ± 1.0"
    assert cell(runs, "zeroshot", "run MiB") == "7.0"


def test_what_was_not_measured_is_a_dash() -> None:
    runs = make_runs()
    for column in ("train s", "cache s", "train img/s", "train MiB"):
        assert cell(runs, "zeroshot", column) == "-"
    assert cell(runs, "finetune", "cache s") == "-"
    without = make_runs(with_peaks=False)
    assert cell(without, "skip", "train MiB") == cell(without, "skip", "run MiB") == "-"


def test_a_gpus_memory_is_that_of_its_allocator() -> None:
    allocated = {"setup": None, "train": 300 * MIB, "evaluate": 400 * MIB}
    phases = {name: {"seconds": 1.0, "peak_allocated_bytes": size} for name, size in allocated.items()}
    runs = pd.DataFrame([make_row("emoji", "skip", 1, {"base": 80.0, "new": 60.0}, phases, device="a GPU")])
    assert (cell(runs, "skip", "train MiB"), cell(runs, "skip", "run MiB")) == ("300.0", "400.0")
    assert "allocator peak" in footnote(runs)
    assert "exact peak of live tensor bytes" in footnote(make_runs())


def test_rows_come_in_the_order_of_the_runs_and_only_what_differs_is_shown() -> None:
    table = method_table(make_runs())
    assert list(table["method"]) == ["skip", "finetune", "zeroshot"]
    assert not {"dataset", "shots"} & set(table.columns)
    two = make_runs({("emoji", "skip"): [(80.0, 60.0)], ("dtd", "skip"): [(70.0, 50.0), (72.0, 50.0)]})
    table = method_table(two)
    assert list(table["dataset"]) == ["emoji", "dtd"]
    assert list(table["base"]) == ["80.0", "71.0 ± 1.4"]
    more_shots = two.assign(shots=[4, 16, 16])
    assert list(method_table(more_shots)["shots"]) == ["4", "16"]


def test_one_accuracy_has_no_h() -> None:
    runs = pd.DataFrame([make_row("emoji", "skip", seed, {"all": 70.0 + seed}) for seed in (1, 2)])
    table = method_table(runs)
    assert "H" not in table.columns
    assert list(table["all"]) == ["71.5 ± 0.7"]
    assert list(table["train s"]) == ["-"]


def test_a_method_that_lacks_an_evaluation_has_a_dash() -> None:
    runs = pd.DataFrame(
        [
            make_row("emoji", "skip", 1, {"base": 80.0, "new": 60.0}),
            make_row("emoji", "finetune", 1, {"base": 70.0}),
        ]
    )
    assert cell(runs, "finetune", "base") == "70.0"
    assert cell(runs, "finetune", "new") == cell(runs, "finetune", "H") == "-"


def test_harmonic_mean() -> None:
    assert harmonic_mean(60, 30) == pytest.approx(40)
    assert harmonic_mean(50, 50) == pytest.approx(50)
    assert harmonic_mean(0, 80) == 0
    assert harmonic_mean(0, 0) == 0


def test_caption_and_footnote_name_what_the_runs_share() -> None:
    runs = make_runs()
    assert caption(runs) == "base_to_new, emoji, 16 shots"
    assert caption(runs.assign(shots=[1, 2, 4, 8, 16, 16, 16])) == "base_to_new, emoji"
    note = footnote(runs.assign(recipe=["official"] * 3 + ["mine"] * 4))
    for part in ("clip-emoji", "mine, official", "cpu", "sample std", "H of the means"):
        assert part in note


def test_precisions_are_rows_of_their_own() -> None:
    runs = make_runs({("emoji", "skip"): [(80.0, 60.0), (70.0, 50.0), (90.0, 40.0)]})
    runs["precision"] = ["fp32", "half", "half"]
    table = method_table(runs)
    assert table[["method", "precision", "seeds"]].values.tolist() == [["skip", "fp32", "1"], ["skip", "half", "2"]]
