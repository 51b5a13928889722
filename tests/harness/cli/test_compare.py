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
    return read_published("base_to_new").pivot(index=["dataset", "method"], columns="metric", values="value")


def finish(results: Path, spec: RunSpec, accuracies: dict[str, float]) -> None:
    """Put a result into a results folder, as a run that is complete has one."""
    write_result(results, result_json(spec, accuracies, {"train": {"seconds": 1.0}}))


def table_rows(printed: str) -> dict[tuple[str, str, str], list[str]]:
    """Data set, method, metric -> the cells behind them: published, ours, std, seeds, difference, within."""
    lines = [line.split() for line in printed.splitlines()]
    return {(cells[0], cells[1], cells[3]): cells[4:] for cells in lines if len(cells) == 10 and cells[2] == "fp32"}


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
    assert out.splitlines()[-1] == "Published: CoCoOp, arXiv:2203.05557, Skip Tuning, arXiv:2412.11509v2"


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
        ([str(EXPERIMENTS / "paper" / "few_shot.yaml")], "there are no published numbers for protocol 'few_shot'"),
        (["nowhere.yaml"], "'nowhere.yaml' does not exist"),
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
