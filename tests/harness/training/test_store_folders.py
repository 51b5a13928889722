"""What is kept outside of results is found where runs keep it, and only its own files are ever removed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import UserError
from harness.experiment.place import RuntimeSpec
from harness.training.feature_store import NAME_BYTES, Rows, open_store
from harness.training.picture_store import PicturesOnDisk, open_picture_store
from harness.training.store_folders import BATCHES, FEATURES, INTACT, PICTURES, batches_folder, clear, contents_of

ROWS = Rows(torch.zeros(2, NAME_BYTES, dtype=torch.uint8), torch.ones(2, 3), torch.ones(2))
NAME = "0123456789abcdef" * 2
SQUARE = np.full((4, 5, 3), 7, np.uint8)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("SKIPBENCH_FEATURES", raising=False)
    monkeypatch.delenv("SKIPBENCH_PICTURES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "skipbench"


def pictures() -> PicturesOnDisk:
    store = open_picture_store(RuntimeSpec())
    assert store
    return store


def test_what_runs_keep_is_found_and_removed(cache: Path) -> None:
    features = open_store(RuntimeSpec())
    assert features
    features.add("an entry", ROWS)
    pictures().keep(NAME, SQUARE, 0.5)
    found = {name: contents_of(name) for name in (FEATURES, PICTURES, BATCHES, INTACT)}
    assert {name: (item.folder, len(item.files)) for name, item in found.items()} == {
        FEATURES: (cache / "features", 1),
        PICTURES: (cache / "pictures", 1),
        BATCHES: (cache / "features" / "batches", 0),
        INTACT: (cache / "features" / "intact", 0),
    }
    assert found[PICTURES].size == 64 + SQUARE.nbytes
    assert clear(found[FEATURES]) == clear(found[PICTURES]) == []
    assert features.load("an entry") is None
    assert pictures().load(NAME) is None
    assert not contents_of(FEATURES).files
    assert contents_of(PICTURES).used is None


def test_a_store_that_is_in_use_goes_on_after_it_was_cleared() -> None:
    features, kept = open_store(RuntimeSpec()), pictures()
    assert features
    for _ in range(2):
        features.add("an entry", ROWS)
        kept.keep(NAME, SQUARE, 0.5)
        rows, picture = features.load("an entry"), kept.load(NAME)
        assert rows
        assert picture
        for name in (FEATURES, PICTURES):
            assert clear(contents_of(name)) == []
        # What was read stays what it was.
        assert torch.equal(rows.features, ROWS.features)
        assert (picture.pixels == SQUARE).all()
    assert not kept.problem()


def test_files_of_others_are_neither_counted_nor_removed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{NAME[2:]}.pixels").write_text("of others")
    (elsewhere / f"{NAME}.safetensors").write_text("of others")
    folder = tmp_path / "mine"
    for path in ("model.safetensors", f"{NAME}.json", f"batches/{NAME}.txt", f"xy/{NAME[2:]}.pixels", "01/notes.txt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("mine")
    (folder / "02").symlink_to(elsewhere)
    (folder / f"{NAME}.safetensors").symlink_to(elsewhere / f"{NAME}.safetensors")
    monkeypatch.setenv("SKIPBENCH_FEATURES", str(folder))
    monkeypatch.setenv("SKIPBENCH_PICTURES", str(folder))
    before = sorted(folder.rglob("*")), sorted(elsewhere.rglob("*"))
    for name in (FEATURES, PICTURES, BATCHES, INTACT):
        found = contents_of(name)
        assert not found.files
        clear(found)
    assert (sorted(folder.rglob("*")), sorted(elsewhere.rglob("*"))) == before


def test_batches_are_beside_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPBENCH_FEATURES", str(tmp_path / "f"))
    file = batches_folder(tmp_path / "f") / f"{NAME}.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    assert [kept.path for kept in contents_of(BATCHES).files] == [file]
    assert contents_of(FEATURES).files == ()
    clear(contents_of(BATCHES))
    assert not file.exists()


def test_what_cannot_be_removed_or_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    pictures().keep(NAME, SQUARE, 0.5)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    (problem,) = clear(contents_of(PICTURES))
    assert problem == f"'{cache / 'pictures' / NAME[:2] / NAME[2:]}.pixels' cannot be removed: Permission denied"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SKIPBENCH_FEATURES", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be read: Not a directory"):
        contents_of(FEATURES)
