"""Data sets of the hub, from a loopback server: only what is needed, once, pinned and checked, also offline."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.data.datasets import find_dataset, own_content, read_dataset, read_folder
from harness.data.hub_download import fetch
from harness.data.pictures import read_picture
from harness.errors import UserError
from tests.harness.data.hub_trees import image_table, shard_files, write_dataset, write_parquet, write_shard
from tests.hub_stub import COMMIT, OTHER_COMMIT, HubStub

constants = pytest.importorskip("huggingface_hub.constants")
NAME = "someone/pets"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """A hub with one data set, and a machine that has never seen it."""
    write_dataset(tmp_path / "hub")
    (tmp_path / "hub" / "README.md").write_text("# Pets\n")
    (tmp_path / "hub" / "unused.bin").write_bytes(b"large")
    write_parquet(tmp_path / "hub" / "data/contrast-00000-of-00001.parquet", image_table(3))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    with HubStub() as stub:
        stub.add(NAME, tmp_path / "hub")
        monkeypatch.setenv("HF_ENDPOINT", stub.url)
        forget()
        yield stub
    forget()


def forget() -> None:
    """What a new command does not know any more."""
    fetch.cache_clear()
    read_folder.cache_clear()


def error_of(name: str) -> str:
    forget()
    with pytest.raises(UserError) as caught:
        read_dataset(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_from_a_name_to_the_exact_lists(hub: HubStub, tmp_path: Path) -> None:
    splits = read_dataset(f"hf:{NAME}")
    expected = read_dataset(f"hf:{tmp_path}/hub")
    assert (splits.class_names, splits.train, splits.test) == (expected.class_names, expected.train, expected.test)
    assert f"{NAME} of the hub at commit {COMMIT}" in splits.layout
    assert read_picture(splits.folder, splits.test[2].path).getpixel((0, 0)) == (102, 0, 0)
    assert splits.folder.is_relative_to(tmp_path / "hf" / "datasets--someone--pets" / "snapshots" / COMMIT)
    assert own_content(f"hf:{NAME}") == own_content(f"hf:{tmp_path}/hub")  # the same run, wherever the files lie
    got = {
        request.partition("?")[0].rpartition("/")[2] for request in hub.requests if request.startswith("GET /datasets")
    }
    assert got == {"README.md", "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"}
    written = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert b"hf_secret" not in written


def test_the_second_time_the_hub_is_not_asked(hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_dataset(f"hf:{NAME}")
    forget()
    hub.requests.clear()
    write_dataset(tmp_path / "later", train=9)
    hub.add(NAME, tmp_path / "later", commit=OTHER_COMMIT)
    assert read_dataset(f"hf:{NAME}") == first  # the name means on this machine what it meant
    assert hub.requests == []
    later = read_dataset(f"hf:{NAME}:revision={OTHER_COMMIT}")
    assert (len(later.train), len(first.train)) == (9, 12)
    assert any(OTHER_COMMIT in fact for fact in later.layout)


def test_a_file_that_was_removed_is_downloaded_again(hub: HubStub) -> None:
    splits = read_dataset(f"hf:{NAME}")
    path = splits.folder / "data" / "train-00000-of-00001.parquet"
    path.resolve().unlink()
    path.unlink()
    forget()
    assert read_dataset(f"hf:{NAME}") == splits


def test_a_download_goes_on_where_it_stopped(hub: HubStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    hub.breaks.add("train-00000-of-00001.parquet")
    assert len(read_dataset(f"hf:{NAME}").train) == 12
    (request,) = hub.ranges
    file, _, start = request.partition(" ")
    assert (file, int(start) > 0) == ("train-00000-of-00001.parquet", True)


def test_a_file_that_is_not_what_the_hub_says(hub: HubStub) -> None:
    hub.lies.add("test-00000-of-00001.parquet")
    message = error_of(f"hf:{NAME}")
    assert "test-00000-of-00001.parquet' is not the file that the hub has in 'someone/pets' (SHA-256 " in message
    assert "blobs" in message
    assert "remove '" in message


def test_without_network(hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = error_of(f"hf:{NAME}")
    assert f"data set '{NAME}' is not in the cache of the hub on this machine, and the hub cannot be reached" in message
    assert "go online once, or copy its files and name their folder as hf:/path" in message
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir(parents=True)
    assert error_of(f"hf:{NAME}") == f"hf:{NAME} means a data set of the hub: of the folder here write hf:./{NAME}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    first = read_dataset(f"hf:{NAME}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    forget()
    assert read_dataset(f"hf:{NAME}") == first


def test_what_another_program_left_in_the_cache(tmp_path: Path, hub: HubStub, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "hf" / "datasets--someone--pets"
    write_dataset(home / "snapshots" / COMMIT)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(read_dataset(f"hf:{NAME}").train) == 12
    (home / "snapshots" / COMMIT / "data/train-00000-of-00001.parquet").rename(
        home / "snapshots" / COMMIT / "data/train-00000-of-00002.parquet"
    )
    (tmp_path / "cache").rename(tmp_path / "old")
    assert "is not in the cache of the hub on this machine" in error_of(f"hf:{NAME}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:tanganke/dtdd", "the hub has no data set 'tanganke/dtdd', or it is private and you are not logged in."),
        ("hf:tanganke/dtdd", "Did you mean 'tanganke/dtd'?"),
        (f"hf:{NAME}:revision=v9", f"'{NAME}' has no revision 'v9': see http://127.0.0.1:"),
        (f"hf:{NAME}:fine", f"'{NAME}' has no configuration 'fine', it has no configurations"),
        ("hf:shy/pets", "'shy/pets' is given on request only: ask at http://127.0.0.1:"),
    ],
)
def test_what_the_hub_does_not_give(hub: HubStub, name: str, expected: str) -> None:
    hub.gated.add("shy/pets")
    assert expected in error_of(name)


def test_a_folder_of_that_name(hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my" / "pets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "A folder 'my/pets' is here: write hf:./my/pets." in error_of("hf:my/pets")


def test_other_forms_have_parquet_files_on_a_branch_of_the_hub(hub: HubStub, tmp_path: Path) -> None:
    (tmp_path / "zip").mkdir()
    (tmp_path / "zip" / "pictures.zip").write_bytes(b"zip")
    for split in ("train", "test"):
        write_parquet(tmp_path / "converted" / "default" / split / "0000.parquet", image_table(6))
    hub.add("some/zip", tmp_path / "zip")
    assert "'some/zip' has no .parquet, .arrow or .tar files (it has pictures.zip)" in error_of("hf:some/zip")
    hub.add("some/zip", tmp_path / "converted", "refs/convert/parquet", OTHER_COMMIT)
    forget()
    splits = read_dataset("hf:some/zip")
    assert splits.train[0].path == "default/train/0000.parquet/image/0/x_0.png"
    assert "configuration default" in splits.layout


def test_a_data_set_that_is_known(hub: HubStub, tmp_path: Path) -> None:
    write_shard(tmp_path / "wds" / "test" / "0.tar", shard_files(3))
    (tmp_path / "wds" / "classnames.txt").write_text("annual crop land\nForest\nSeaLake\n")
    hub.add("clip-benchmark/wds_vtab-eurosat", tmp_path / "wds")
    name = "hf:clip-benchmark/wds_vtab-eurosat"
    assert read_dataset(name).class_names == ("Annual Crop Land", "Forest", "Sea or Lake")
    assert find_dataset(name).template == "a centered satellite photo of {}."
    assert "templates and class names of eurosat, which nobody compared with the hub" in read_dataset(name).layout
