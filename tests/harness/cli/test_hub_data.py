"""Data in the hub's forms, as a new user takes them: from parquet files, shards and a name on the hub to a table."""

from pathlib import Path

import pytest

from harness.data.datasets import read_dataset
from harness.data.picture_files import read_bytes
from harness.data.readers import Picture
from harness.results.record import Result, read_result
from tests.commands import skipbench
from tests.harness.data.hub_trees import class_label, image_table, write_parquet, write_shard
from tests.hub_stub import COMMIT, HubStub

SHORT = ("train.epochs=1", "train.warmup_epochs=0", "train.batch_size=4")
BENCH = ("--seeds", "1", "--shots", "4", *SHORT)


def chosen(split: str, count: int) -> list[tuple[bytes, int]]:
    """Pictures of six classes of the embedded data set, and their labels."""
    emoji = read_dataset("emoji")
    some: list[Picture] = [picture for picture in getattr(emoji, split) if picture.label < 6]
    by_label = {label: [picture for picture in some if picture.label == label][:count] for label in range(6)}
    return [(read_bytes(emoji.folder, path), label) for part in by_label.values() for path, label in part]


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes as a data set of the hub."""
    folder, names = tmp_path_factory.mktemp("hub") / "my set", read_dataset("emoji").class_names[:6]
    features = {"image": {"_type": "Image"}, "label": class_label(names)}
    for split in ("train", "test"):
        pictures = chosen(split, 6)
        cells = [{"bytes": data, "path": f"{number}.webp"} for number, (data, _) in enumerate(pictures)]
        labels = [label for _, label in pictures]
        table = image_table(len(labels), features=features, image=cells, label=labels)
        write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", table)
    return folder


def results_in(folder: Path) -> list[Result]:
    return [read_result(path) for path in sorted(folder.glob("runs/*/result.json"))]


def test_from_parquet_files_to_a_table_in_one_command(parquet: Path, tmp_path: Path) -> None:
    done = skipbench("bench", "zeroshot,skip", "--dataset", f"hf:{parquet}", *BENCH, "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"base_to_new, hf:{parquet}, 4 shots" in done.stdout
    results = results_in(tmp_path)
    assert {result.spec.method for result in results} == {"zeroshot", "skip"}
    assert results[0].layout == ("splits as the data set has them", "columns image and label")
    again = skipbench("bench", "zeroshot,skip", "--dataset", f"hf:{parquet}", *BENCH, "--results", str(tmp_path))
    assert "2 of 2 runs are complete already" in again.stdout


def test_shards_to_a_table(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pairs = enumerate(chosen(split, 4))
        files = [file for row, (data, label) in pairs for file in ((f"{row}.webp", data), (f"{row}.cls", str(label)))]
        write_shard(tmp_path / "set" / f"{split}-000000.tar", files)
    names = read_dataset("emoji").class_names[:6]
    (tmp_path / "set" / "classnames.txt").write_text("\n".join(names))
    done = skipbench("bench", "zeroshot", "--dataset", f"wds:{tmp_path}/set", *BENCH, "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"base_to_new, wds:{tmp_path}/set, 4 shots" in done.stdout


def test_a_name_on_the_hub_to_a_table(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    words = ("bench", "zeroshot", "--dataset", "hf:someone/set", *BENCH, "--results", str(tmp_path))
    with HubStub() as hub:
        hub.add("someone/set", parquet)
        environment = {"HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = skipbench(*words, **environment, HF_HUB_CACHE=str(tmp_path / "hf"))
    assert done.returncode == 0, done.stderr
    (result,) = results_in(tmp_path)
    assert f"someone/set of the hub at commit {COMMIT}" in result.layout
    status = skipbench("data", "hf:someone/set", **environment)  # from the cache: the hub is gone
    assert "ready" in status.stdout
    assert "6 classes, 36/0/" in status.stdout


def test_a_typing_error_is_one_line(parquet: Path, tmp_path: Path) -> None:
    done = skipbench("bench", "zeroshot", "--dataset", f"hf:{parquet}:label=lable", "--results", str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "has no column 'lable' for label=. Did you mean 'label'?" in line
