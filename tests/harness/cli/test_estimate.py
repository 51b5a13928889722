"""`skipbench estimate`: what it prints and writes, and what it refuses in one line."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.cli.estimate import choose_cases
from harness.cli.grid import GridOptions, Words
from harness.errors import UserError

SMALL = ("--classes", "3", "--shots", "1", "--recipe", "official", "--batch", "2")


def estimate(*words: str, results: Path) -> str:
    done = CliRunner().invoke(cli, ["estimate", *words, "--results", str(results)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_an_axis_is_a_table_files_and_a_figure(tmp_path: Path) -> None:
    words = ["clip_adapter,zeroshot", "clip_adapter.reduction=2,4", *SMALL, "runtime.eval_batch_size=1"]
    output = estimate(*words, "--fits", "1GiB", results=tmp_path)
    assert "clip-emoji: memory, limit 1GiB" in output
    assert "largest batch" in output
    assert "Not in it: rounding and reserve of a GPU's allocator" in output
    # Zero-shot has no such option: one row.
    assert [line.split()[0] for line in output.splitlines() if " emoji " in line] == ["clip_adapter"] * 2 + [
        "zeroshot"
    ] + ["clip_adapter"] * 2 + ["zeroshot"]
    (table,) = tmp_path.glob("estimates/*.csv")
    rows = pd.read_csv(table)
    assert list(rows["trainable_parameters"]) == [16384, 8192, 0]
    assert list(rows["largest_batch"])[:2] == [3, 3]
    (data,) = tmp_path.glob("estimates/*.json")
    written = json.loads(data.read_text())["estimates"]
    assert [item["axes"] for item in written] == [{"clip_adapter.reduction": value} for value in ("2", "4", "–")]
    assert written[0]["phases"]["train"]["num_bytes"] == rows["train_bytes"][0]
    (figure,) = tmp_path.glob("estimates/*.png")
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_words_options_and_short_names_are_axes_alike() -> None:
    words = ("classes=3,4", "train.batch_size=1..2", "shots=1,2", "train.precision=fp32,half", "backbone=clip-emoji")
    short = ("classes=3..4", "batch=1,2", "precision=fp32,half", "backbone=clip-emoji")
    cases = choose_cases(Words("coop,zeroshot", words), GridOptions(recipe="official"))
    assert cases == choose_cases(Words("coop,zeroshot", short), GridOptions(recipe="official", shots="1..2"))
    assert [case.spec.method for case in cases] == ["coop"] * 16 + ["zeroshot"] * 8
    assert {case.spec.seed for case in cases} == {1}
    assert cases[0].axes == {"data.shots": "1", "train.batch_size": "1", "train.precision": "fp32", "classes": "3"}
    assert cases[1].title == "coop data.shots=1 train.batch_size=1 train.precision=fp32 classes=4"


def test_a_setting_that_changes_no_result_may_change_costs(tmp_path: Path) -> None:
    estimate("zeroshot", "runtime.eval_batch_size=1,2", "--classes", "3", "--shots", "1", results=tmp_path)
    (table,) = tmp_path.glob("estimates/*.csv")
    one, two = pd.read_csv(table)["evaluate_bytes"]
    assert one < two


def test_check_measures_the_same_on_a_cpu(tmp_path: Path) -> None:
    output = estimate("clip_adapter", *SMALL, "--device", "cpu", "--check", results=tmp_path)
    lines = [line for line in output.splitlines() if line.endswith(("% ", "%"))]
    assert len(lines) == 4
    assert all("+0.00 %" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["skip", "skip.depth=3..1"], "the range is empty"),
        (["skip", "--classes", "none"], "whole number"),
        (["skip", "--fits", "huge"], "no amount of memory"),
        (["skip", "--device", "tpu"], "use cuda or cpu"),
        (["skp"], "Did you mean 'skip'"),
        (["skip", "skip.deph=1,2"], "Did you mean 'depth'"),
        (["skip", "--classes", "3", "--shots", "4", "--batch", "9"], r"training images of one class \(4\)"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        estimate(*words, results=tmp_path)
