"""What `skipbench data` says of a data set."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.data.catalog import DATASETS
from harness.data.datasets import find_dataset
from harness.data.description import Counts
from harness.data.status import dataset_status
from harness.errors import UserError

TreeOf = Callable[[str], Any]


def test_a_data_set_that_is_not_there(tmp_path: Path) -> None:
    status = dataset_status("dtd", str(tmp_path))
    assert (status.state, status.folder, status.counts, status.missing) == ("absent", None, None, 0)
    assert status.problem is not None
    assert "'dtd' is not in data root" in status.problem
    assert status.expected == Counts(47, 2820, 1128, 1692)
    assert "split_zhou_DescribableTextures.json" in status.source
    assert "https://www.robots.ox.ac.uk/~vgg/data/dtd/" in status.source


def test_without_a_data_root(tmp_path: Path) -> None:
    for root in (None, str(tmp_path / "nowhere")):
        assert dataset_status("dtd", root).state == "absent"


def test_a_complete_data_set(tree_of: TreeOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tree_of("dtd")
    tree.write(tmp_path, "DTD")
    monkeypatch.setitem(DATASETS, "dtd", replace(DATASETS["dtd"], expected=Counts(*tree.counts)))
    status = dataset_status("dtd", str(tmp_path))
    assert status.state == "ready"
    assert status.folder == str(tmp_path / "DTD")
    assert status.layout == ("folder DTD/ (usually dtd/)",)
    assert (status.problem, status.differing, status.missing, status.first_missing) == (None, (), 0, ())
    assert json.loads(json.dumps(asdict(status)))["counts"] == list(tree.counts)


def test_the_first_few_missing_pictures(tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of("food101")
    place = tree.write(tmp_path)
    for path, _ in tree.train:
        (place / path).unlink()
    status = dataset_status("food101", str(tmp_path))
    assert status.state == "incomplete"
    assert status.missing == len(tree.train)
    assert list(status.first_missing) == [path for path, _ in tree.train[:5]]


def test_no_pictures_at_all(tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of("eurosat")
    tree.write(tmp_path)
    (tmp_path / "eurosat" / "2750").rename(tmp_path / "elsewhere")
    status = dataset_status("eurosat", str(tmp_path))
    assert (status.state, status.missing, status.layout) == ("incomplete", len(tree.rows), ())


@pytest.mark.parametrize("name", [name for name in DATASETS if name.startswith("emoji")])
def test_embedded_data_sets_are_ready(name: str) -> None:
    status = dataset_status(name)
    assert (status.state, status.missing, status.layout) == ("ready", 0, ())
    assert status.folder == find_dataset(name).folder


def test_an_unknown_data_set_is_an_error() -> None:
    with pytest.raises(UserError, match=r"unknown data set 'dtdd'. Did you mean 'dtd'"):
        dataset_status("dtdd")
