"""What commands import: nothing that they do not use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT

HEAVY = (
    "torch", "torchvision", "timm", "open_clip", "numpy", "pandas", "scipy", "matplotlib", "optuna", "wandb", "PIL",
    "huggingface_hub", "torch._dynamo", "ftfy", "opentelemetry.exporter",
)  # fmt: skip
TELL = f"import json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))\n"
COMMAND = """
import contextlib, io, runpy, sys
sys.argv[0] = "skipbench"
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    runpy.run_module("harness", run_name="__main__")
"""
EMBEDDED = ["--results", "results/embedded"]
RUN = """
import sys
from pathlib import Path
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.recipes import EXPERIMENTS
from harness.training.run import Run
settings = {"methods": sys.argv[1], "shots": "1", "seeds": "1", "settings": {"train": {"epochs": 1}}}
for planned in plan_grid(load_experiment(EXPERIMENTS / "bench.yaml", settings)):
    Run(planned.spec, Path(sys.argv[2])).execute()
"""
# A method is a class of torch: whoever reads its options imports it.
COMMANDS: dict[tuple[str, ...], set[str]] = {
    ("--help",): set(),
    ("list",): set(),
    ("keys",): set(),
    ("runs", *EMBEDDED): {"numpy", "torch"},
    ("show", "0023", *EMBEDDED): set(),
    ("export", *EMBEDDED, "--out", "nowhere.txt"): {"numpy", "pandas"},
    ("bench", "skip", "--dry-run"): {"numpy", "torch"},
}


def imported(code: str, *words: str) -> set[str]:
    """The heavy modules that a process has imported when it has executed some code."""
    words = (sys.executable, "-c", code + TELL, *words)
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_MODE"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_imports_only_what_it_uses(words: tuple[str, ...]) -> None:
    assert imported(COMMAND, *words) == COMMANDS[words]


def test_a_run_imports_neither_open_clip_nor_what_that_brings() -> None:
    assert imported("import harness.training.run\n") == {"torch", "numpy", "wandb", "PIL"}
    loading = "from harness.clip.load import load_backbone; load_backbone('clip-emoji')\n"
    assert not {"open_clip", "torchvision", "timm"} & imported(loading)


@pytest.mark.parametrize("method", ["zeroshot", "skip"])
def test_a_run_imports_neither_the_compiler_nor_what_sends_statistics(method: str, tmp_path: Path) -> None:
    found = imported(RUN, method, str(tmp_path))
    assert list(tmp_path.glob("runs/*/result.json"))
    assert list(tmp_path.glob("runs/*/wandb/offline-run-*"))
    assert not {"torch._dynamo", "opentelemetry.exporter"} & found


def test_a_large_signed_rank_test_and_the_page_import_no_statistics_of_scipy() -> None:
    code = (
        "import sys, pandas, harness.report.page\n"
        "from harness.report.statistics import signed_rank_p\n"
        "assert signed_rank_p(pandas.Series(range(1, 61)) * 1.0) < 0.001\n"
        "assert not {'scipy.stats', 'scipy.optimize'} & set(sys.modules)\n"
    )
    assert "torch" not in imported(code)


def test_what_rehearsals_take_is_imported_only_if_it_is_asked_for() -> None:
    assert "torch._dynamo" in imported("import harness.schedule.preloaded_for_rehearsals\n")
    assert "torch._dynamo" not in imported("import harness.schedule.preloaded\n")
