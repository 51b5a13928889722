"""Pictures in tables: read by row group with a bound, by threads and processes, and anew when a file changes."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from harness.data import table_files
from harness.data.loader import PictureSet
from harness.data.picture_files import file_state, in_archive, read_bytes
from harness.data.pictures import find_problem, missing_pictures
from harness.data.readers import Picture
from harness.data.table_files import RowGroups, Table, cell_path, open_table
from harness.data.transforms import TestTransform
from tests.harness.data.hub_trees import cells, image_table, picture, write_parquet

FILE = "train.parquet"


def paths(count: int) -> list[Picture]:
    return [Picture(f"{FILE}/image/{row}/x_{row}.png", row % 3) for row in range(count)]


def test_a_path_names_file_column_row_and_picture() -> None:
    assert cell_path("data/a.parquet", "image", 3, "/where/it/was/cat 1.jpg") == "data/a.parquet/image/3/cat 1.jpg"
    assert cell_path("a.parquet", "my/im:age", 0, None) == "a.parquet/my%2Fim%3Aage/0"
    for name in ("", "..", "a/..", "x\n.jpg"):
        assert cell_path("a.parquet", "image", 0, name) == "a.parquet/image/0"
    assert cell_path("a.parquet", "image", 0, "C:\\pictures\\cat.jpg").endswith("/0/cat.jpg")


def test_a_column_of_any_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / FILE, pa.table({"my/im:age ü": [picture(7)]}))
    assert read_bytes(tmp_path, cell_path(FILE, "my/im:age ü", 0, None)) == picture(7)


def test_reading_in_order_reads_each_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / FILE, image_table(23), group=5)
    read: list[int] = []
    group = Table._group
    monkeypatch.setattr(Table, "_group", lambda self, number, name: (read.append(number), group(self, number, name))[1])
    assert [read_bytes(tmp_path, path) for path, _ in paths(23)] == [picture(row) for row in range(23)]
    assert read == [0, 1, 2, 3, 4]


def test_groups_are_kept_up_to_a_number_of_bytes(tmp_path: Path) -> None:
    write_parquet(tmp_path / FILE, image_table(20), group=5)
    table = open_table(tmp_path / FILE)
    size = table._group(0, "image").nbytes
    kept = RowGroups(limit=int(2.5 * size))
    for row in (0, 5, 0, 10):
        assert table.cell("image", row, kept) == picture(row)
    assert [number for _, _, number in kept.groups] == [0, 2]  # the one that was not asked for the longest is gone
    tiny = RowGroups(limit=1)
    assert table.cell("image", 19, tiny) == picture(19)
    assert len(tiny.groups) == 1


def test_a_group_that_is_too_large_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / FILE, image_table(20), group=20)
    monkeypatch.setattr(table_files, "MOST_GROUP", 100)
    problem = find_problem(tmp_path, paths(1)[0].path)
    assert problem is not None
    assert "write the table with row groups of 100 rows" in problem.reason


def test_threads_and_processes_read_the_same(tmp_path: Path) -> None:
    write_parquet(tmp_path / FILE, image_table(30), group=4)
    assert read_bytes(tmp_path, paths(1)[0].path) == picture(0)  # open before the workers are forked
    with ThreadPoolExecutor(4) as pool:
        assert (
            list(pool.map(lambda item: read_bytes(tmp_path, item.path), paths(30) * 3))
            == [picture(row) for row in range(30)] * 3
        )
    found = PictureSet(tmp_path, paths(30))
    pickle.dumps(found)
    transform = TestTransform(8)
    ones, twos = (list(found.batches(transform, found.in_order(7), workers=workers)) for workers in (0, 2))
    assert all(one.equal(two) for one, two in zip(ones, twos, strict=True))


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    write_parquet(tmp_path / FILE, image_table(5))
    assert read_bytes(tmp_path, f"{FILE}/image/0") == picture(0)
    write_parquet(tmp_path / FILE, image_table(6, 40))
    assert read_bytes(tmp_path, f"{FILE}/image/5") == picture(45)


def test_missing_and_broken_cells(tmp_path: Path) -> None:
    some = [*cells(3), {"bytes": b"no picture", "path": "x"}, {"bytes": b"", "path": "y"}, {"bytes": None, "path": "z"}]
    write_parquet(tmp_path / FILE, image_table(6, image=some))
    gone = [f"{FILE}/image/6", f"{FILE}/img/0", f"{FILE}/image", "none.parquet/image/0", f"{FILE}/image/-1"]
    assert missing_pictures(tmp_path, [*paths(6), *(Picture(path, 0) for path in gone)]) == gone
    reasons = {row: find_problem(tmp_path, f"{FILE}/image/{row}") for row in range(7)}
    assert [row for row, problem in reasons.items() if problem is None] == [0, 1, 2]
    assert "it is in no image format" in str(reasons[3])
    assert "it is empty" in str(reasons[4])
    assert "its cell is empty" in str(reasons[5])
    assert "is missing" in str(reasons[6])


def test_a_folder_may_be_called_like_a_table(tmp_path: Path) -> None:
    (tmp_path / "cat.parquet").mkdir()
    (tmp_path / "cat.parquet" / "1.png").write_bytes(picture(1))
    assert in_archive(tmp_path, "cat.parquet/1.png") == ("", "cat.parquet/1.png")
    assert read_bytes(tmp_path, "cat.parquet/1.png") == picture(1)


def test_the_state_of_a_picture_is_that_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / FILE, image_table(5))
    monkeypatch.setattr("harness.data.picture_files.SETTLED", -1000)
    assert file_state(tmp_path, f"{FILE}/image/0")[0] == (tmp_path / FILE).stat().st_size
    with pytest.raises(FileNotFoundError):
        file_state(tmp_path, "none.parquet/image/0")
