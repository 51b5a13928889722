"""SkipBench works outside its checkout: a wheel, unpacked somewhere, its commands run from an empty folder."""

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


def skipbench(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the installed package in a folder."""
    environment = {key: value for key, value in os.environ.items() if key not in ("RESULTS", "DATA")}
    return subprocess.run(
        [sys.executable, "-c", "import sys; from harness.cli import main; main()", *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


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
    def run(*words: str) -> str:
        done = skipbench(installed, tmp_path, *words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    where = "import harness, methods; print(harness.__file__, methods.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.count(str(installed)) == 2, "it is the installed package that is tested"

    assert "zeroshot" in run("bench", "zeroshot", "wandb.mode=disabled")
    assert (tmp_path / "results" / "runs").is_dir()
    assert "zeroshot" in run("table")
    run("report")
    assert (tmp_path / "results" / "reports" / "results.html").stat().st_size > 10_000
    assert "emoji" in run("data", "emoji")
    assert "peak MiB" in run("estimate", "zeroshot", "--device", "cpu")
    assert "base_to_new" in run("list")
    assert "759 runs" in run("plan", "paper/base_to_new")
    assert "759 runs" in run("plan", "experiments/paper/base_to_new.yaml")
    (tmp_path / "mine.yaml").write_text("methods: [zeroshot]")
    compared = skipbench(installed, tmp_path, "compare", "mine.yaml")
    assert compared.returncode == 2, "papers have no numbers of the embedded images, but their numbers are found"
    assert "no published number fits: ours are of emoji" in compared.stderr
    assert "published of imagenet" in compared.stderr


def test_a_misspelt_experiment_names_the_nearest(installed: Path, tmp_path: Path) -> None:
    done = skipbench(installed, tmp_path, "plan", "paper/base_to_now")
    assert done.returncode == 2
    assert "Did you mean 'paper/base_to_new'?" in done.stderr
    assert done.stderr.count("\n") == 1
