"""`compare` of an experiment and published numbers."""

import re
from pathlib import Path

import pandas as pd
import pytest

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.spec import RunSpec
from harness.report.published import read_published
from tests.commands import error_line, skipbench
from tests.made_up_results import result_json, write_result

PAPER = EXPERIMENTS / "paper" / "base_to_new.yaml"


@pytest.fixture(scope="module")
def printed() -> pd.DataFrame:
    """Published base, new and H, a row for each data set and method."""
    rows = read_published("base_to_new")
    return rows[rows["source"].str.contains("2412.11509|2203.05557")].pivot(
        index=["dataset", "method"], columns="metric", values="value"
    )


def finish(results: Path, spec: RunSpec, accuracies: dict[str, float]) -> None:
    """Put a result into a results folder, as a run that is complete has one."""
    write_result(results, result_json(spec, accuracies, {"train": {"seconds": 1.0}}))


def table_rows(printed: str) -> dict[tuple[str, str, str], list[str]]:
    """Data set, method, metric -> the cells behind them: published, ours, std, seeds, difference, within.

    Of several published values the first.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for cells in (line.split() for line in printed.splitlines()):
        if len(cells) == 12 and cells[2] == "fp32":
            found.setdefault((cells[0], cells[1], cells[3]), cells[4:10])
    return found


def test_compare_sets_finished_runs_beside_the_paper(tmp_path: Path, printed: pd.DataFrame) -> None:
    specs = expand(load_experiment(PAPER))
    for spec in specs:
        if spec.method == "skip":
            theirs = printed.loc[(spec.data.dataset, "skip")]
            # Seeds 1, 2, 3 have a deviation of 1 about half a point below the paper, and of 0.1 two points below it.
            finish(
                tmp_path,
                spec,
                {"base": theirs["base"] - 0.5 + spec.seed - 2, "new": theirs["new"] - 2.2 + spec.seed / 10},
            )
    (zeroshot,) = (spec for spec in specs if (spec.method, spec.data.dataset) == ("zeroshot", "dtd"))
    finish(tmp_path, zeroshot, {"base": 50.0, "new": 60.0})
    done = skipbench("compare", str(PAPER), "--results", str(tmp_path))
    assert done.returncode == 0
    out = done.stdout
    assert re.fullmatch(r"base_to_new, 34 of \d+ runs", out.splitlines()[0].strip())
    rows = table_rows(out)
    assert len(rows) == 3 * 11 + 3 + 3
    for dataset in load_experiment(PAPER).datasets:
        theirs = printed.loc[(dataset, "skip")]
        base = theirs["base"]
        assert rows[dataset, "skip", "base"] == [f"{base:.2f}", f"{base - 0.5:.2f}", "1.00", "3", "-0.50", "yes"]
        assert rows[dataset, "skip", "new"][2:] == ["0.10", "3", "-2.00", "no"]
    average = rows["average", "skip", "base"]
    assert average[0] == f"{printed.loc[('average', 'skip'), 'base']:.2f}"
    assert float(average[4]) == pytest.approx(-0.5, abs=0.02)
    assert average[5] == "yes"
    assert rows["dtd", "zeroshot", "base"][1:4] == ["50.00", "-", "1"]
    assert rows["dtd", "zeroshot", "base"][5] == "-"
    assert "ViT-B-16-quickgelu" in out
    lines = out[out.index("Published:") :].splitlines()
    assert lines[1] == "[1] Skip Tuning, arXiv:2412.11509v2"
    assert any(line.endswith("] CoCoOp, arXiv:2203.05557") for line in lines)
    assert any("(re-run by DiscoVL; 3 seeds)" in line for line in lines)


def test_compare_of_some_data_sets_has_no_average(tmp_path: Path) -> None:
    for spec in expand(load_experiment(PAPER)):
        if spec.method == "maple" and spec.data.dataset in ("dtd", "eurosat"):
            finish(tmp_path, spec, {"base": 80.0, "new": 60.0})
    done = skipbench("compare", str(PAPER), "--results", str(tmp_path))
    assert done.returncode == 0
    out = done.stdout
    assert re.fullmatch(r"base_to_new, 6 of \d+ runs", out.splitlines()[0].strip())
    assert {(dataset, method) for dataset, method, _ in table_rows(out)} == {("dtd", "maple"), ("eurosat", "maple")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([str(PAPER)], "none of the N runs is complete in '{results}': see `skipbench plan`, then `bench`"),
        ([str(PAPER), "skip.depth=4", "--seeds", "1"], "none of the N runs is complete in '{results}'"),
        (["--protocol", "few_shot_validation"], "there are no published numbers for protocol 'few_shot_validation'"),
        (["a.yaml", "b.yaml", "--costs"], "--costs is for published costs: comparing two runs or experiments shows"),
        (["nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["8e2efc"], "'8e2efc' is no experiment: compare takes two runs, or an experiment beside published numbers"),
        ([str(PAPER), "--dataset", "dtdd"], "unknown data set 'dtdd'. Did you mean 'dtd'?"),
    ],
)
def test_compare_without_anything_to_compare_is_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    # A run that is only begun is not complete.
    spec = expand(load_experiment(PAPER))[0]
    (tmp_path / "runs" / spec.id).mkdir(parents=True)
    (tmp_path / "runs" / spec.id / "progress.safetensors").write_bytes(b"")
    # How many there are follows from the number of methods.
    line = re.sub(r"the [\d,]+ runs", "the N runs", error_line("compare", *words, "--results", str(tmp_path)))
    assert line.startswith(f"error: {message.format(results=tmp_path)}")


def test_compare_of_the_embedded_benchmark_has_no_counterpart(tmp_path: Path) -> None:
    for spec in expand(load_experiment(EXPERIMENTS / "bench.yaml")):
        finish(tmp_path, spec, {"base": 59.0, "new": 60.0})
    line = error_line("compare", "--results", str(tmp_path))
    assert line.startswith("error: no published number fits: ours are of emoji, published of imagenet, caltech101, ")


FEW_SHOT = str(EXPERIMENTS / "paper" / "few_shot.yaml")


def test_compare_sets_few_shot_runs_beside_numbers_of_the_same_shots(tmp_path: Path) -> None:
    grid = {"datasets": ["dtd"], "methods": ["skip", "gda", "prolip"], "seeds": [1], "shots": [2, 16]}
    for spec in expand(load_experiment(Path(FEW_SHOT), grid)):
        finish(tmp_path, spec, {"all": 70.0})
    words = ("--dataset", "dtd", "--seeds", "1", "--shots", "2,16", "--results", str(tmp_path))
    done = skipbench("compare", FEW_SHOT, *words)
    assert done.returncode == 0
    cells = [line.split() for line in done.stdout.splitlines() if line.startswith(" dtd")]
    theirs = read_published("few_shot")
    theirs = theirs[(theirs["dataset"] == "dtd") & (theirs["backbone"] == "ViT-B/16")]
    for shots in (2, 16):
        (value,) = theirs.loc[(theirs["method"] == "skip") & (theirs["shots"] == shots), "value"]
        (row,) = (row for row in cells if row[1:3] == ["skip", str(shots)])
        assert row[5] == f"{value:.2f}"
        assert row[6].startswith("±")
        assert "digitised" in row
    (row,) = (row for row in cells if row[1] == "gda")
    assert row[2] == "16"
    # With other backbones GDA was published at 2 shots, and ProLIP has no number of single data sets.
    assert "Not compared: gda with ViT-B-16-quickgelu at 2 shots; published with " in done.stdout


def test_compare_costs_names_the_hardware_of_both(tmp_path: Path) -> None:
    for spec in expand(load_experiment(PAPER)):
        if spec.method == "coop":
            finish(tmp_path, spec, {"base": 80.0, "new": 60.0})
    done = skipbench("compare", str(PAPER), "--costs", "--results", str(tmp_path))
    assert done.returncode == 0
    (row,) = (line for line in done.stdout.splitlines() if line.startswith(" average") and "train time" in line)
    assert re.search(r"1186 s +hardware not stated, precision not stated +1\.\d+ \(\w+ s\) +cpu, fp32", row)
    assert "[1] Skip Tuning, arXiv:2412.11509v2 (memory: layer-by-layer estimate)" in done.stdout
    line = error_line("compare", str(PAPER), "--dataset", "dtd", "--costs", "--results", str(tmp_path))
    assert line.startswith("error: no published cost fits: ours are of dtd with ViT-B-16-quickgelu, published of ")
