"""`skipbench stores`: what is kept is shown, and removed only where that was said or confirmed."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import harness.cli.stores as module
from harness.cli import cli
from harness.training.store_folders import contents_of
from tests.commands import skipbench

NAME = "0123456789abcdef" * 2


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    features, pictures = tmp_path / "features", tmp_path / "pictures"
    monkeypatch.setenv("SKIPBENCH_FEATURES", str(features))
    monkeypatch.setenv("SKIPBENCH_PICTURES", str(pictures))
    files = [
        features / f"{NAME}.safetensors",
        pictures / NAME[:2] / f"{NAME[2:]}.pixels",
        features / "batches" / f"{NAME}.json",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1" * 200_000)
    return files


def test_each_store_is_a_line(kept: list[Path], tmp_path: Path) -> None:
    kept[1].unlink()
    features, pictures, batches, intact = skipbench("stores").stdout.splitlines()
    assert features.startswith("features  1 file, 0.2 MB, last use ")
    assert features.endswith(f" s ago: {tmp_path}/features")
    assert pictures == f"pictures  nothing: {tmp_path}/pictures"
    assert batches.endswith(f"{tmp_path}/features/batches")
    assert intact == f"intact    nothing: {tmp_path}/features/intact"


def test_one_store_or_all_are_cleared(kept: list[Path]) -> None:
    done = skipbench("stores", "--clear", "pictures", "--yes")
    assert done.stdout.splitlines()[-1] == "removed pictures: 1 file, 0.2 MB"
    assert [file.exists() for file in kept] == [True, False, True]
    done = skipbench("stores", "--clear", "all", "--yes")
    assert done.stdout.splitlines()[-1] == "removed features: 1 file, 0.2 MB; batches: 1 file, 0.2 MB"
    assert not any(file.exists() for file in kept)
    assert skipbench("stores", "--clear", "all").stdout.splitlines()[-1] == "nothing to remove"


def test_nothing_is_removed_where_nobody_can_be_asked(kept: list[Path]) -> None:
    done = skipbench("stores", "--clear", "features")
    assert done.returncode == 2
    assert done.stderr == (
        "error: this would be removed (features: 1 file, 0.2 MB): add --yes to go on without being asked\n"
    )
    assert all(file.exists() for file in kept)


@pytest.mark.parametrize("answer", ["y", "n"])
def test_the_answer_counts(answer: str, kept: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setattr(module.sys, "stdin", Terminal)
    monkeypatch.setattr(module.click, "confirm", lambda question: answer == "y")
    module.remove([item for item in map(contents_of, ("features",)) if item.files], yes=False)
    assert kept[0].exists() is (answer == "n")


def test_another_name_is_refused() -> None:
    done = CliRunner().invoke(cli, ["stores", "--clear", "results"])
    assert done.exit_code == 2
