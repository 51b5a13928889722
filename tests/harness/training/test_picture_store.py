"""Pixels on disk: only what was written is ever believed, and no more is kept than was allowed."""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data.transforms import TestTransform
from harness.data.views import Pixels
from harness.experiment.place import RuntimeSpec
from harness.machine.processes import start_method
from harness.training import picture_store
from harness.training.picture_store import OFFSET, PicturesOnDisk, header, open_picture_store, parse

MANY = 10**9
SIZE = OFFSET + 3 * 6 * 4
Store = Callable[..., PicturesOnDisk]


def name(number: int) -> str:
    return f"{number:032x}"


def pixels(seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (6, 4, 3), dtype=np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in a folder that does not exist yet, as another process would open it."""

    def make(limit: int = MANY) -> PicturesOnDisk:
        return PicturesOnDisk(tmp_path / "cache" / "pictures", limit, "code")

    return make


def files(store: PicturesOnDisk) -> list[Path]:
    return sorted(store.folder.glob("*/*.pixels"))


def kept(store: PicturesOnDisk, count: int) -> list[int]:
    return [number for number in range(count) if store.load(name(number))]


def test_pixels_come_back_as_they_were(store: Store) -> None:
    assert store().load(name(1)) is None
    assert not store().has(name(1))
    store().keep(name(1), pixels().transpose(1, 0, 2), 0.25)
    found = store().load(name(1))
    assert found is not None
    assert np.array_equal(found.pixels, pixels().transpose(1, 0, 2))
    assert found.seconds == 0.25
    assert store().has(name(1))
    assert store().load(name(2)) is None
    found.pixels[:] = 0  # what is read belongs to its reader
    again = store().load(name(1))
    assert again is not None
    assert again.pixels.any()


DATA = header(name(1), pixels(), 0.5) + pixels().tobytes()
DAMAGES = {
    "empty": b"",
    "a word": b"pixels",
    "cut": DATA[:-1],
    "half": DATA[: len(DATA) // 2],
    "longer": DATA + b"\0",
    "one bit": DATA[:-20] + bytes([DATA[-20] ^ 1]) + DATA[-19:],
    "one bit of the time": DATA[:26] + bytes([DATA[26] ^ 1]) + DATA[27:],
    "blank": bytes(len(DATA)),
    "blank pixels": DATA[:OFFSET] + bytes(len(DATA) - OFFSET),
    "of another picture": header(name(2), pixels(), 0.5) + pixels().tobytes(),
    "endless": header(name(1), pixels(), float("inf")) + pixels().tobytes(),
    "a pickle": b"\x80\x04cos\nsystem\n(S'exit 1'\ntR." + bytes(100),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_ignored_and_written_anew(store: Store, damage: str) -> None:
    store().keep(name(1), pixels(), 0.5)
    (path,) = files(store())
    assert path.read_bytes() == DATA
    path.write_bytes(DAMAGES[damage])
    assert store().load(name(1)) is None
    store().keep(name(1), pixels(3), 0.5)
    found = store().load(name(1))
    assert found is not None
    assert np.array_equal(found.pixels, pixels(3))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_folder_in_the_place_of_a_file_is_passed_over(store: Store, make: Callable[[Path], None]) -> None:
    store().keep(name(1), pixels(), 0.5)
    (path,) = files(store())
    path.unlink()
    make(path)
    assert store().load(name(1)) is None
    store().keep(name(2), pixels(), 0.5)
    assert kept(store(), 3) == [2]


def make_old(store: PicturesOnDisk, *numbers: int) -> None:
    for place, number in enumerate(numbers):
        os.utime(store._path(name(number)), (place, place))


def test_what_was_not_used_for_longest_makes_room(store: Store) -> None:
    full = store(4 * SIZE)
    for number in range(4):
        full.keep(name(number), pixels(), 0.5)
    make_old(full, 2, 0, 1, 3)
    assert store(4 * SIZE).load(name(2)) is not None  # used: 0 is now the oldest
    full.keep(name(4), pixels(), 0.5)
    assert {2, 3, 4} <= set(kept(full, 5))
    assert 0 not in kept(full, 5)
    assert sum(path.stat().st_size for path in files(full)) <= full.limit


def test_what_is_in_use_stays_and_what_is_new_is_left_out(store: Store) -> None:
    full = store(3 * SIZE)
    for number in range(6):
        full.keep(name(number), pixels(), 0.5)
    assert kept(full, 6) == [0, 1, 2]
    assert full.problem() == ""
    make_old(full, 0)
    full.keep(name(5), pixels(), 0.5)
    assert kept(full, 6) == [0, 1, 2], "a full store is not looked through for every picture"
    make_old(full, 0)
    full.try_again()
    full.keep(name(5), pixels(), 0.5)
    assert kept(full, 6) == [1, 2, 5]


def test_what_others_removed_makes_room_and_a_damaged_count_is_counted_anew(store: Store) -> None:
    full = store(2 * SIZE)
    for number in range(2):
        full.keep(name(number), pixels(), 0.5)
    files(full)[0].unlink()
    full.keep(name(2), pixels(), 0.5)
    assert kept(full, 3) == [1, 2]
    (full.folder / "bytes").write_text("many")
    full.keep(name(3), pixels(), 0.5)
    assert kept(full, 4) == [1, 2]


def test_a_picture_beyond_the_limit_removes_nothing(store: Store) -> None:
    small = store(SIZE)
    small.keep(name(1), pixels(), 0.5)
    make_old(small, 1)
    small.keep(name(2), np.zeros((60, 40, 3), np.uint8), 0.5)
    assert kept(small, 3) == [1]


def test_leftovers_of_dead_writers_are_removed_and_those_of_living_ones_stay(store: Store) -> None:
    store().keep(name(1), pixels(), 0.5)
    (path,) = files(store())
    mine = picture_store.temporary_path(path)
    mine.write_bytes(b"half")
    machine, _, rest = mine.name.removeprefix(f"{path.name}.").split("-", 2)
    dead = path.with_name(f"{path.name}.{machine}-1-{rest}")
    dead.write_bytes(b"half")
    (store().folder / "bytes").unlink()
    store().keep(name(2), pixels(), 0.5)
    assert mine.exists()
    assert not dead.exists()


def test_a_folder_that_cannot_be_written_is_a_problem_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    broken = PicturesOnDisk(tmp_path / "file" / "pictures", MANY, "code")
    broken.keep(name(1), pixels(), 0.5)
    assert broken.load(name(1)) is None
    assert "runtime.picture_store" in broken.problem()
    assert str(tmp_path / "file") in broken.problem()


def test_a_full_disk_is_a_problem_and_leaves_what_was_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    full = store()
    full.keep(name(1), pixels(), 0.5)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_store, "_write", no_space)
    full.keep(name(2), pixels(), 0.5)
    assert "No space left on device" in full.problem()
    assert kept(full, 3) == [1]
    monkeypatch.undo()
    full.keep(name(2), pixels(), 0.5)
    assert kept(full, 3) == [1], "it is tried again by the next run"
    full.try_again()
    full.keep(name(2), pixels(), 0.5)
    assert kept(full, 3) == [1, 2]


def test_nothing_half_written_has_a_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store().keep(name(1), pixels(), 0.5)
    assert [path for path in store().folder.rglob("*") if path.is_file() and path.suffix not in ("", ".tmp")] == []
    assert not store().has(name(1))


def write_many(folder: Path, writer: int) -> None:
    """Write pictures that other processes write, too."""
    shared = PicturesOnDisk(folder, 20 * SIZE, "code")
    for number in range(40):
        shared.keep(name(number), pixels(number), float(writer))


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context(start_method())
    writers = [context.Process(target=write_many, args=(tmp_path / "store", writer)) for writer in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = PicturesOnDisk(tmp_path / "store", 20 * SIZE, "code")
    known = [(number, found.load(name(number))) for number in range(40)]
    whole = [(number, item) for number, item in known if item]
    assert 10 <= len(whole) <= 20
    assert all(np.array_equal(item.pixels, pixels(number)) for number, item in whole)
    assert not list((tmp_path / "store").rglob("*.tmp"))


def test_a_name_tells_picture_state_and_what_was_made(store: Store, tmp_path: Path) -> None:
    for path in ("a.jpg", "b.jpg"):
        (tmp_path / path).write_bytes(b"picture")
    other = PicturesOnDisk(tmp_path, MANY, "other code")
    assert store().name(tmp_path, "a.jpg", "decoded", 1) == "", "it was changed just now"
    assert store().name(tmp_path, "missing.jpg", "decoded", 1) == ""
    original = picture_store.file_state
    states = {"a.jpg": (1, 2), "b.jpg": (1, 2)}
    picture_store.file_state = lambda _, path: states[path]
    try:
        names = [
            store().name(tmp_path, "a.jpg", "decoded", 1),
            store().name(tmp_path, "a.jpg", "decoded", 2),
            store().name(tmp_path, "b.jpg", "decoded", 1),
            store().name(tmp_path / "cache", "a.jpg", "decoded", 1),
            other.name(tmp_path, "a.jpg", "decoded", 1),
            store().name(tmp_path, "a.jpg", TestTransform(224)),
            store().name(tmp_path, "a.jpg", TestTransform(224, decode="fast")),
            store().name(tmp_path, "a.jpg", TestTransform(256)),
        ]
        states["a.jpg"] = (1, 3)
        names.append(store().name(tmp_path, "a.jpg", "decoded", 1))
    finally:
        picture_store.file_state = original
    assert len(set(names)) == len(names) == 9
    assert all(len(found) == 32 for found in names)


def test_a_process_has_one_store_of_a_kind_however_often_it_is_sent(tmp_path: Path) -> None:
    first = open_picture_store(RuntimeSpec(picture_store=str(tmp_path)))
    assert first is not None
    assert pickle.loads(pickle.dumps(first)) is first
    assert open_picture_store(RuntimeSpec(picture_store=str(tmp_path))) is first
    assert open_picture_store(RuntimeSpec(picture_store=str(tmp_path), picture_store_mib=1)) is not first
    assert open_picture_store(RuntimeSpec(picture_store_mib=0)) is None


def test_the_code_that_makes_pixels_is_named() -> None:
    root = Path(picture_store.__file__).parents[1]
    assert all((root / place).is_file() for place in picture_store.DECIDING)
    assert parse(np.frombuffer(DATA, np.uint8), name(1)) is not None
