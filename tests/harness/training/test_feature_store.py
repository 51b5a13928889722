"""Features on disk: only what was written is ever believed, and no more is kept than was allowed."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from harness.experiment.place import RuntimeSpec
from harness.machine.units import MIB
from harness.training import feature_store
from harness.training.feature_store import NAME_BYTES, FeatureStore, Rows, open_store, parse, serialise

HALF = NAME_BYTES // 2
Store = Callable[..., FeatureStore]


def name(picture: int, state: int = 0) -> bytes:
    return picture.to_bytes(HALF, "big") + state.to_bytes(HALF, "big")


def rows(pictures: range, state: int = 0, width: int = 4, value: float | None = None) -> Rows:
    """Rows whose features tell their picture and state."""
    names = b"".join(name(picture, state) for picture in pictures)
    features = torch.tensor([[100.0 * state + picture if value is None else value] * width for picture in pictures])
    seconds = torch.tensor([0.5 * picture for picture in pictures])
    return Rows(torch.frombuffer(bytearray(names), dtype=torch.uint8).view(-1, NAME_BYTES), features, seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in a folder that does not exist yet."""

    def make(limit: int = MIB, tell: Callable[[str], None] = lambda line: pytest.fail(line)) -> FeatureStore:
        return FeatureStore(tmp_path / "cache" / "features", limit, tell)

    yield make
    os.chmod(tmp_path, 0o700)


def test_rows_come_back_as_they_were(store: Store) -> None:
    assert store().load("a") is None
    kept = Rows(rows(range(3)).names, torch.randn(3, 5).bfloat16(), torch.rand(3))
    store().add("a", kept)
    found = store().load("a")
    assert found is not None
    for one, other in zip(vars(found).values(), vars(kept).values(), strict=True):
        assert torch.equal(one, other)
    assert found.features.dtype == torch.bfloat16
    assert store().load("b") is None


def test_rows_are_added_to_those_that_are_there(store: Store) -> None:
    store().add("a", rows(range(3)))
    store().add("a", rows(range(2, 6)))
    found = store().load("a")
    assert found is not None
    assert set(found.index()) == {name(picture) for picture in range(6)}
    assert all(found.features[row, 0] == int.from_bytes(key[:HALF], "big") for key, row in found.index().items())


def test_a_picture_that_was_replaced_takes_the_place_of_the_old_one(store: Store) -> None:
    store().add("a", rows(range(3)))
    store().add("a", rows(range(1, 2), state=7))
    found = store().load("a")
    assert found is not None
    assert set(found.index()) == {name(0), name(1, 7), name(2)}
    assert found.features[found.index()[name(1, 7)], 0] == 701


def test_rows_of_another_form_replace_what_is_there(store: Store) -> None:
    store().add("a", rows(range(3)))
    store().add("a", rows(range(5, 6), width=2))
    found = store().load("a")
    assert found is not None
    assert found.features.tolist() == [[5, 5]]


def damages(data: bytes) -> dict[str, bytes]:
    """Contents that are not what was written."""
    middle = data[: len(data) - 20] + bytes([data[-20] ^ 1]) + data[len(data) - 19 :]
    length = int.from_bytes(data[:8], "little")
    return {
        "empty": b"",
        "a word": b"features",
        "cut": data[:-1],
        "half": data[: len(data) // 2],
        "longer": data + b"\0",
        "one bit": middle,
        "blank": bytes(len(data)),
        "endless header": (2**63).to_bytes(8, "little") + data[8:],
        "no metadata": (2).to_bytes(8, "little") + b"{}" + data[8 + length :],
        "deep": (200_000).to_bytes(8, "little") + b"[" * 200_000,
        "a pickle": b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.",
    }


@pytest.mark.parametrize("damage", damages(serialise("a", rows(range(3)))).items(), ids=lambda item: item[0])
def test_what_is_damaged_is_ignored_and_written_anew(store: Store, damage: tuple[str, bytes]) -> None:
    store().add("a", rows(range(3)))
    (path,) = store().folder.glob("*.safetensors")
    path.write_bytes(damage[1])
    assert store().load("a") is None
    store().add("a", rows(range(1)))
    found = store().load("a")
    assert found is not None
    assert set(found.index()) == {name(0)}


def test_a_file_under_the_name_of_another_entry_is_not_believed(store: Store) -> None:
    store().add("a", rows(range(3)))
    store().add("b", rows(range(4)))
    first, second = store().folder.glob("*.safetensors")
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert store().load("a") is None
    assert store().load("b") is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_impossible_times_are_not_believed(seconds: float) -> None:
    kept = rows(range(2))
    kept.seconds[1] = seconds
    assert parse(serialise("a", kept), "a") is None


def test_a_pipe_or_folder_in_the_place_of_a_file_is_passed_over(store: Store) -> None:
    lines: list[str] = []
    store().add("a", rows(range(3)))
    (path,) = store().folder.glob("*.safetensors")
    path.unlink()
    os.mkfifo(path)
    assert store().load("a") is None
    path.unlink()
    path.mkdir()
    assert store().load("a") is None
    store(tell=lines.append).add("a", rows(range(3)))
    assert len(lines) == 1


def kept_entries(store: FeatureStore, count: int) -> list[int]:
    return [number for number in range(count) if store.load(str(number)) is not None]


def test_what_was_not_used_for_longest_is_removed(store: Store) -> None:
    size = len(serialise("0", rows(range(8))))
    three = store(limit=3 * size)
    for number in range(3):
        three.add(str(number), rows(range(8)))
        time.sleep(0.02)
    assert three.load("0") is not None  # used: 1 is now the oldest
    time.sleep(0.02)
    three.add("3", rows(range(8)))
    assert kept_entries(three, 4) == [0, 2, 3]
    assert sum(path.stat().st_size for path in three.folder.glob("*.safetensors")) <= three.limit


def test_one_entry_beyond_the_limit_is_not_kept_and_removes_nothing(store: Store) -> None:
    small = store(limit=len(serialise("0", rows(range(8)))))
    small.add("0", rows(range(8)))
    small.add("1", rows(range(9)))
    assert kept_entries(small, 2) == [0]
    small.add("0", rows(range(8, 9)))
    found = small.load("0")
    assert found is not None
    assert set(found.index()) == {name(picture) for picture in range(8)}


def test_a_lower_limit_removes_what_is_too_much(store: Store) -> None:
    for number in range(4):
        store().add(str(number), rows(range(8)))
        time.sleep(0.02)
    size = len(serialise("0", rows(range(8))))
    store(limit=2 * size).add("3", rows(range(1)))
    assert kept_entries(store(), 4) == [2, 3]


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    lines: list[str] = []
    broken = FeatureStore(tmp_path / "file" / "features", MIB, lines.append)
    for _ in range(3):
        broken.add("a", rows(range(3)))
        assert broken.load("a") is None
    assert len(lines) == 1
    assert "runtime.feature_store" in lines[0]
    assert str(tmp_path / "file") in lines[0]


def test_a_full_disk_is_told_once_and_leaves_what_was_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    full = store(tell=lines.append)
    full.add("a", rows(range(3)))
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    monkeypatch.setattr(feature_store, "temporary_path", lambda path: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: original(path, "wb", buffering=0))
    full.add("a", rows(range(5)))
    full.add("a", rows(range(5)))
    assert len(lines) == 1
    assert "No space left" in lines[0]
    found = full.load("a")
    assert found is not None
    assert len(found.names) == 3


def test_leftovers_of_dead_writers_are_removed_and_those_of_living_ones_stay(store: Store) -> None:
    store().add("a", rows(range(3)))
    (path,) = store().folder.glob("*.safetensors")
    mine = feature_store.temporary_path(path)
    mine.write_bytes(b"half")
    machine, _, rest = mine.name.removeprefix(f"{path.name}.").split("-", 2)
    dead = path.with_name(f"{path.name}.{machine}-1-{rest}")
    dead.write_bytes(b"half")
    store().add("b", rows(range(3)))
    assert mine.exists()
    assert not dead.exists()
    assert store().load("a") is not None


def write_many(folder: Path, writer: int) -> None:
    """Write entries that other processes write, too; each row's features say whose they are."""
    shared = FeatureStore(folder, 40_000)
    for turn in range(1000):
        shared.add(str(turn % 3), rows(range(10 * writer, 10 * writer + 10), width=16))


def test_many_processes_and_kills_leave_only_whole_rows(tmp_path: Path) -> None:
    """Rows that can be read are right, at any moment, and nobody waits for the dead."""
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    reader = FeatureStore(tmp_path, 40_000)
    end, seen = time.monotonic() + 2.0, 0
    while time.monotonic() < end:
        for entry in "012":
            found = reader.load(entry)
            if found is not None:
                seen += 1
                for key, row in found.index().items():
                    assert found.features[row].tolist() == [float(int.from_bytes(key[:HALF], "big"))] * 16
        if seen > 5 and writers[0].is_alive():
            writers[0].kill()
    for writer in writers:
        writer.kill()
        writer.join()
    assert seen > 5
    start = time.monotonic()
    reader.add("0", rows(range(10), width=16))
    assert time.monotonic() - start < 1
    assert reader.load("0") is not None
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def add_one(folder: Path, number: int) -> None:
    FeatureStore(folder, MIB).add("a", rows(range(number, number + 1)))


def test_no_rows_of_writers_at_the_same_time_are_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add_one, args=(tmp_path, number)) for number in range(12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = FeatureStore(tmp_path, MIB).load("a")
    assert found is not None
    assert set(found.index()) == {name(picture) for picture in range(12)}


def test_a_writer_does_not_wait_for_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(feature_store, "PATIENCE", 0.1)
    store().add("a", rows(range(3)))
    with (store().folder / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        start = time.monotonic()
        store().add("a", rows(range(3, 4)))
        assert time.monotonic() - start < 1
    found = store().load("a")
    assert found is not None
    assert len(found.names) == 4


def test_the_folder_is_in_the_users_cache_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elsewhere = open_store(RuntimeSpec())
    assert elsewhere is not None
    assert str(elsewhere.folder) == os.environ["SKIPBENCH_FEATURES"]
    monkeypatch.delenv("SKIPBENCH_FEATURES")
    found = open_store(RuntimeSpec())
    assert found is not None
    assert (found.folder, found.limit) == (tmp_path / "skipbench" / "features", 4096 * MIB)
    named = open_store(RuntimeSpec(feature_store="~/mine", feature_store_mib=1))
    assert named is not None
    assert (named.folder, named.limit) == (Path.home() / "mine", MIB)
    assert open_store(RuntimeSpec(feature_store_mib=0)) is None


def test_a_file_is_safetensors_that_says_what_it_holds(store: Store) -> None:
    store().add(json.dumps({"stage": "END"}), rows(range(2)))
    from safetensors import safe_open

    (path,) = store().folder.glob("*.safetensors")
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["entry"]) == {"stage": "END"}
        assert sorted(file.keys()) == ["features", "names", "seconds"]
