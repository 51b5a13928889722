"""Pictures that were found intact are not decoded again only to find that out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from harness.data.readers import Picture
from harness.errors import UserError
from harness.experiment.place import RuntimeSpec
from harness.training.intact_pictures import check_once
from harness.training.store_folders import INTACT, contents_of

PICTURES = [Picture(f"{number}.png", number) for number in range(3)]
DEFAULT = RuntimeSpec()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three pictures, and an empty store."""
    monkeypatch.setenv("SKIPBENCH_FEATURES", str(tmp_path / "store"))
    monkeypatch.setattr("harness.data.picture_files.SETTLED", -1.0)
    for picture in PICTURES:
        Image.new("RGB", (4, 4)).save(tmp_path / picture.path)
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the pictures that are opened."""
    from harness.data import pictures

    found: list[str] = []
    find: Callable[[Path, str], object] = pictures.find_problem
    monkeypatch.setattr(pictures, "find_problem", lambda folder, path: (found.append(path), find(folder, path))[1])
    return found


def test_pictures_are_checked_once(folder: Path, opened: list[str]) -> None:
    for _ in range(2):
        assert check_once(folder, PICTURES, False, DEFAULT) == (PICTURES, [])
    assert sorted(opened) == ["0.png", "1.png", "2.png"]
    assert len(contents_of(INTACT).files) == 1


@pytest.mark.parametrize("others", [PICTURES[:2], [*PICTURES, PICTURES[0]], []])
def test_other_pictures_are_other_knowledge(folder: Path, opened: list[str], others: list[Picture]) -> None:
    check_once(folder, PICTURES, False, DEFAULT)
    opened.clear()
    assert check_once(folder, others, False, DEFAULT) == (others, [])
    assert len(opened) == len(others)


def test_a_picture_that_was_changed_is_looked_at_again(folder: Path, opened: list[str]) -> None:
    check_once(folder, PICTURES, False, DEFAULT)
    (folder / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1\.png"):
        check_once(folder, PICTURES, False, DEFAULT)
    (folder / "1.png").unlink()
    usable, broken = check_once(folder, PICTURES, True, DEFAULT)
    assert ([picture.path for picture in usable], [one.path for one in broken]) == (["0.png", "2.png"], ["1.png"])


def test_broken_pictures_are_looked_at_each_time(folder: Path, opened: list[str]) -> None:
    (folder / "1.png").write_bytes(b"no picture")
    for _ in range(2):
        assert len(check_once(folder, PICTURES, True, DEFAULT).broken) == 1
    assert len(opened) == 6
    assert not contents_of(INTACT).files


def test_a_picture_that_was_changed_just_now_is_not_known(
    folder: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.data.picture_files.SETTLED", 1000.0)
    for _ in range(2):
        check_once(folder, PICTURES, False, DEFAULT)
    assert len(opened) == 6


def test_without_a_store_or_one_that_can_be_written_pictures_are_checked_each_time(
    folder: Path, opened: list[str]
) -> None:
    (folder / "file").write_text("")
    for runtime in (RuntimeSpec(feature_store_mib=0), RuntimeSpec(feature_store=str(folder / "file"))):
        opened.clear()
        for _ in range(2):
            assert check_once(folder, PICTURES, False, runtime).usable == PICTURES
        assert len(opened) == 6
