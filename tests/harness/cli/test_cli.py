"""The commands as a user runs them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.cli import write_all_characters
from tests.commands import ROOT, Finished, error_line, results_of, run_process, skipbench, start, wait_for
from tests.evaluations import FEW_OF_BOTH

QUICK = ["train.epochs=2", "skip.depth=3"]
# Half of the base classes: 12.
FEW = [*QUICK, "data.classes=base.base", FEW_OF_BOTH]


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A small benchmark of two methods and two seeds, in a process of its own: nothing else may be printed."""
    results = tmp_path_factory.mktemp("bench")
    words = ["bench", "zeroshot,skip", "--seeds", "1,2", "--shots", "4", "--results", str(results), *FEW]
    return results, run_process(*words, WANDB_MODE="offline")


def test_bench_ends_with_a_table(benched: tuple[Path, Finished]) -> None:
    results, done = benched
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    header = next(line for line in lines if "method" in line and "H" in line)
    assert header.split()[:6] == ["method", "precision", "seeds", "base", "new", "H"]
    for title in ("train s", "cache s", "train img/s", "train MiB", "run MiB"):
        assert title in header
    (zeroshot,) = (line for line in lines if line.split()[:1] == ["zeroshot"])
    (skip,) = (line for line in lines if line.split()[:1] == ["skip"])
    found = results_of(results)
    assert set(found) == {"zeroshot-emoji-4shot-seed1", "skip-emoji-4shot-seed1", "skip-emoji-4shot-seed2"}
    base = [found[f"skip-emoji-4shot-seed{seed}"]["evaluations"][0]["accuracy"] for seed in (1, 2)]
    spread = abs(base[0] - base[1]) / 2**0.5
    assert skip.split()[1:6] == ["fp32", "2", f"{sum(base) / 2:.1f}", "±", f"{spread:.1f}"]
    assert "±" not in zeroshot
    assert f"Results: {results}/runs/" in done.stdout
    assert "W&B: 3 offline runs" in done.stdout
    assert len(list(results.glob("runs/*/wandb/offline-run-*/*.wandb"))) == 3


def test_bench_again_computes_nothing(benched: tuple[Path, Finished]) -> None:
    results, first = benched
    before = {path: path.stat().st_mtime_ns for path in results.glob("runs/*/*")}
    words = ["bench", "zeroshot,skip", "--seeds", "1,2", "--shots", "4", "--results", str(results), *FEW]
    again = skipbench(*words, WANDB_MODE="offline")
    assert again.returncode == 0
    assert "3 of 3 runs are complete already." in again.stdout
    assert {path: path.stat().st_mtime_ns for path in results.glob("runs/*/*")} == before
    table = first.stdout[first.stdout.index("base_to_new") : first.stdout.index("W&B: ")]
    assert table in again.stdout


def test_run_repeats_the_run_of_a_spec_file(benched: tuple[Path, Finished], tmp_path: Path) -> None:
    results, _ = benched
    original = results_of(results)["skip-emoji-4shot-seed2"]
    spec_file = results / "runs" / original["id"] / "spec.yaml"
    done = skipbench("run", str(spec_file), "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    repeated = results_of(tmp_path)["skip-emoji-4shot-seed2"]
    assert repeated["id"] == original["id"]
    assert repeated["evaluations"] == original["evaluations"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "skipp"], "unknown method 'skipp'. Did you mean 'skip'?"),
        (["bench", "skip", "--dataset", "emojy"], "unknown data set 'emojy'. Did you mean 'emoji'?"),
        (["bench", "skip", "train.epoch=3"], "unknown key 'train.epoch'. Did you mean 'epochs'?"),
        (["bench", "skip", "skip.dept=3"], "unknown key 'skip.dept'. Did you mean 'depth'?"),
        (["bench", "skip", "skip.depth=7"], "skip.depth=7 is beyond a backbone of 6 blocks"),
        (["bench", "skip", "finetune.depth=1"], "settings for method 'finetune' are given, but it is not run"),
        (["bench", "skip", "seed=3"], "set it with SEEDS"),
        (["bench", "skip", "train.epochs"], "unexpected"),
        (["bench", "skip", "--seeds", "one"], "seeds.0='one': input should be a valid integer"),
        (["bench", "skip", "--protocol", "base2new"], "unknown protocol 'base2new'. Did you mean 'base_to_new'?"),
        (["bench", "skip", "--backbone", "ViT-B-16"], "Use 'ViT-B-16-quickgelu'"),
        (["bench", "skip", "--recipe", "oficial"], "Did you mean 'official'?"),
        (["bench", "skip", "--dataset", "dtd"], "set DATA=/path/to/data"),
        (["bench", "skip", "runtime.device=cuda:99"], "cuda:99"),
        (["bench", "--experiment", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["run", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["parity", "nowhere"], "is not a folder of reference vectors"),
        (["keys", "skipp"], "Did you mean 'skip'?"),
        (["bench", "skip", "--nonsense"], "No such option"),
    ],
)
def test_mistakes_get_one_helpful_line(words: list[str], message: str, tmp_path: Path) -> None:
    environment = {"RESULTS": str(tmp_path / "results")}
    if message == "unexpected":
        message = "'train.epochs' is not of the form key=value"
    done = skipbench(*words, **environment)
    assert done.returncode not in (0, None)
    told = [line for line in done.stderr.splitlines() if line.strip()]
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert sum("rror" in line for line in told) == 1, told
    assert not list(tmp_path.glob("results/runs/*/result.json"))


def test_missing_data_root_names_folder_and_remedy(tmp_path: Path) -> None:
    line = error_line("bench", "skip", "--dataset", "dtd", DATA=str(tmp_path / "nowhere"), RESULTS=str(tmp_path))
    assert line == f"error: data root '{tmp_path}/nowhere' does not exist: set DATA to the folder that contains dtd/"


def test_results_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    line = error_line("bench", "skip", "--results", str(blocked / "results"))
    assert line.startswith(f"error: results folder '{blocked}/results' cannot be written")
    if os.getuid():  # root may write everywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        assert "cannot be written" in error_line("bench", "skip", "--results", str(locked / "results"))


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = skipbench("--debug", "bench", "skip", "--seeds", "one")
    assert "Traceback" in done.stderr
    assert done.returncode == 2


def test_one_failing_run_does_not_stop_the_others(tmp_path: Path) -> None:
    words = ["--shots", "4,8", "--seeds", "1", "--results", str(tmp_path), "train.batch_size=8", "train.epochs=1"]
    done = skipbench("bench", "skip", *FEW, *words)
    assert done.returncode == 1
    assert set(results_of(tmp_path)) == {"skip-emoji-8shot-seed1"}
    (line,) = done.stderr.splitlines()
    assert "skip-emoji-4shot-seed1: same-class batches of 8 need 8 training images" in line
    log = Path(line.rsplit("[log: ", 1)[1].rstrip("]"))
    assert "same-class batches" in log.read_text()
    assert "skip " in done.stdout


def test_an_unreachable_server_is_told_once_and_costs_one_timeout(tmp_path: Path) -> None:
    words = ["bench", "zeroshot,skip", "--seeds", "1", "--shots", "1", "--results", str(tmp_path / "r"), *FEW]
    done = skipbench(
        *words, WANDB_MODE="online", WANDB_API_KEY="x" * 40, WANDB_BASE_URL="http://127.0.0.1:9", HOME=str(tmp_path)
    )
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("note: W&B is not reachable (")
    assert "W&B: 2 offline runs" in done.stdout


def test_a_data_set_in_the_coop_layout(tmp_path: Path) -> None:
    images = tmp_path / "DTD" / "images"
    split: dict[str, list[Any]] = {"train": [], "val": [], "test": []}
    for label, (name, colour) in enumerate({"red_wall": "red", "sky": "blue", "grass": "green"}.items()):
        (images / name).mkdir(parents=True)
        for number in range(8):
            picture = f"{name}/{name}_{number}.jpg"
            Image.new("RGB", (70 + number, 60), colour).save(images / picture)
            part = "train" if number < 4 else "val" if number < 6 else "test"
            split[part].append([picture, label, name])
    (tmp_path / "DTD" / "split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    words = ["--dataset", "dtd", "--protocol", "few_shot", "--shots", "4", "--seeds", "1", *QUICK]
    done = skipbench("bench", "skip", *words, "--results", str(tmp_path / "r"), DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr
    result = results_of(tmp_path / "r")["skip-dtd-4shot-seed1"]
    assert result["evaluations"][0]["images"] == 6
    assert result["evaluations"][0]["template"] == "itap of a {}."
    assert set(result["evaluations"][0]["per_class"]) == {"red_wall", "sky", "grass"}
    assert result["spec"]["data"]["crop_scale"] == [0.08, 1.0]
    (images / "sky" / "sky_7.jpg").write_bytes(b"no picture")
    broken = skipbench("bench", "skip", *words, "train.epochs=1", "--results", str(tmp_path / "r"), DATA=str(tmp_path))
    assert broken.returncode == 1
    (line,) = broken.stderr.splitlines()
    assert f"image '{images}/sky/sky_7.jpg' cannot be decoded" in line


def test_help_teaches() -> None:
    done = run_process("--help")
    assert done.returncode == 0
    for word in ("bench", "list", "parity", "results/runs/<id>", "KEY=VALUE", "skip.depth=4"):
        assert word in done.stdout


def test_list_names_everything_a_line_each() -> None:
    done = skipbench("list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    for beginning in (
        "method    skip ",
        "method    zeroshot ",
        "data set  emoji ",
        "data set  dtd ",
        "backbone  clip-emoji ",
    ):
        assert sum(line.startswith(beginning) for line in lines) == 1
    assert any(line.startswith("recipe    skip") and "official" in line for line in lines)
    assert all(len(line) < 160 for line in lines)


def test_list_shows_the_card_of_a_method() -> None:
    done = skipbench("list", "tip_adapter_f")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "Tip-Adapter-F (tip_adapter_f)"
    assert any(
        line.startswith("  official code selects on: test images. ") and "main.py:121-141" in line for line in lines
    )
    assert any(line.startswith("  options: tip_adapter_f.search_scale") for line in lines)


def test_list_of_no_method_names_the_nearest() -> None:
    done = skipbench("list", "tip_adaptor")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "unknown method 'tip_adaptor'. Did you mean 'tip_adapter'?" in done.stderr


def test_list_of_a_method_without_a_card_says_so(add_method: Callable[[str, str], None]) -> None:
    add_method("mine_", "from methods.base import Method\n\n\nclass Mine(Method):\n    pass\n")
    done = skipbench("list", "mine_")
    assert done.returncode == 0
    assert "card: no card: write mine_.yaml beside its file" in done.stdout


def test_keys_lists_options_with_their_meaning() -> None:
    done = skipbench("keys", "skip")
    assert "skip.depth=3" in done.stdout
    assert "train.epochs=5" in done.stdout


def test_keys_without_a_method_lists_the_settings_of_every_section() -> None:
    lines = skipbench("keys").stdout.splitlines()
    sections = {"data", "train", "select", "wandb", "tracking", "runtime", "schedule"}
    assert {line.partition(".")[0] for line in lines} == sections


def test_parity_passes_and_tells_failure_by_its_exit_code(golden: Path, tmp_path: Path) -> None:
    for file in ("clip_tiny.safetensors", "inputs.safetensors", "zeroshot.json", "zeroshot.safetensors"):
        (tmp_path / file).write_bytes((golden / file).read_bytes())
    good = skipbench("parity", str(tmp_path))
    assert good.returncode == 0, good.stderr
    assert "quantities within tolerance" in good.stdout
    about = json.loads((tmp_path / "zeroshot.json").read_text())
    about["prompts_new"][0] = "a photo of something else."
    (tmp_path / "zeroshot.json").write_text(json.dumps(about))
    bad = skipbench("parity", str(tmp_path))
    assert bad.returncode == 1
    assert "OVER" in bad.stdout


def epochs_in(results: Path) -> int:
    """Epochs that the runs in a results folder have recorded."""
    return sum(len(path.read_text().splitlines()) for path in results.glob("runs/*/metrics.jsonl"))


def test_ctrl_c_stops_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    # The classes are all that there are: an epoch takes long enough to be interrupted.
    words = ["bench", "skip", "--seeds", "1", "--shots", "4", "--results", str(tmp_path), "skip.depth=3", FEW_OF_BOTH]
    main = start(*words, "train.epochs=8")
    wait_for(lambda: epochs_in(tmp_path) >= 2)
    os.killpg(main.pid, signal.SIGINT)
    _, told = main.communicate(timeout=60)
    assert main.returncode == 130
    # click ends the line that shows ^C first.
    assert told.split("\n") == ["", "error: stopped; the same command goes on from the last finished epoch", ""]
    assert not list(tmp_path.glob("runs/*/result.json"))
    assert not list(tmp_path.glob("runs/*/claim*"))
    done_before = epochs_in(tmp_path)
    done = skipbench(*words, "train.epochs=8")
    assert done.returncode == 0, done.stderr
    (result,) = results_of(tmp_path).values()
    assert result["interruptions"] == 1
    assert result["costs"]["phases"]["train"]["images"] == 8 * 23 * 4
    assert done_before < 8


def test_a_lease_that_is_no_number_is_one_line_before_any_run(tmp_path: Path) -> None:
    for command in ("bench", "sweep"):
        done = skipbench(command, "skip", "--results", str(tmp_path), SKIPBENCH_LEASE="-5")
        assert done.returncode == 2
        assert done.stderr == "error: SKIPBENCH_LEASE=-5: give a number of seconds, the same on all machines\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("encoding", "mark"), [("ascii", "+/-"), ("latin-1", "\\xb1"), ("utf-8", "\\xc2\\xb1")])
def test_a_terminal_that_lacks_the_marks_of_a_table_gets_all_of_its_numbers(encoding: str, mark: str) -> None:
    words = ["table", "--results", str(ROOT / "results" / "embedded"), "--methods", "clip_adapter,zeroshot"]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        cwd=ROOT,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert f" {mark} " in repr(done.stdout)
    assert done.stdout.decode(encoding).isascii() == (encoding == "ascii")


def test_a_character_that_nothing_stands_for_is_escaped() -> None:
    write_all_characters()
    assert "a ± b – 日".encode("ascii", "skipbench") == b"a +/- b - \\u65e5"
