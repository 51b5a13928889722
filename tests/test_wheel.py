"""SkipBench works outside its checkout: a wheel, unpacked somewhere, its commands run from an empty folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.commands import ROOT

pytestmark = pytest.mark.slow


def project_files() -> list[str]:
    """Files of the project, those not yet committed included."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what `pip install .` installs, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in project_files():
        if name.split("/")[0] in ("harness", "methods", "experiments", "pyproject.toml", "README.md", "LICENSE"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


# Several commands in one process, which imports torch once; a line of JSON says how each ended.
COMMANDS = """
import contextlib, io, json, sys
import harness, methods
from harness.cli import main

print(json.dumps([0, harness.__file__, methods.__file__]))
for words in json.loads(sys.argv[1]):
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["skipbench", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ending:
            code = ending.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
Ended = tuple[int, str, str]
"""Exit code, output and errors of a command."""


def skipbench(site: Path, folder: Path, *commands: str) -> list[Ended]:
    """Run commands of the installed package in a folder; what comes first is where harness and methods lie."""
    environment = {key: value for key, value in os.environ.items() if key not in ("RESULTS", "DATA")}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps([words.split() for words in commands])],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in map(json.loads, done.stdout.splitlines())]


def test_the_wheel_holds_all_data_and_no_tests(installed: Path) -> None:
    kinds = (".yaml", ".csv", ".css", ".js", ".html", ".zip", ".safetensors", ".json", ".gz", ".txt")
    development = ("experiments/embedded/",)
    needed = [
        name
        for name in project_files()
        if name.startswith(("harness/", "experiments/", "methods/"))
        and name.endswith((*kinds, ".py"))
        and not name.startswith(development)
    ]
    assert len(needed) > 150
    assert not [name for name in needed if not (installed / name).is_file()]
    assert not list(installed.rglob("test_*.py"))


def test_commands_work_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("methods: [zeroshot]")
    printed = {
        "bench zeroshot wandb.mode=disabled": "zeroshot",
        "table": "zeroshot",
        "report": "results.html",
        "data emoji": "emoji",
        "estimate zeroshot --device cpu": "peak MiB",
        "list": "base_to_new",
        "plan paper/base_to_new": "759 runs",
        "plan experiments/paper/base_to_new.yaml": "759 runs",
    }
    refused = {
        # Papers have no numbers of the embedded images, but their numbers are found.
        "compare mine.yaml": ["no published number fits: ours are of emoji", "published of imagenet"],
        "plan paper/base_to_now": ["Did you mean 'paper/base_to_new'?"],
    }
    (_, *where), *ended = skipbench(installed, tmp_path, *printed, *refused)
    assert all(file.startswith(f"{installed}/") for file in where), "it is the installed package that is tested"
    for (words, found), (code, out, err) in zip(printed.items(), ended, strict=False):
        assert code == 0, (words, err)
        assert found in out, words
    assert (tmp_path / "results" / "runs").is_dir()
    assert (tmp_path / "results" / "reports" / "results.html").stat().st_size > 10_000
    for told, (code, _, err) in zip(refused.values(), ended[len(printed) :], strict=True):
        assert code == 2
        assert all(part in err for part in told)
    assert ended[-1][2].count("\n") == 1
