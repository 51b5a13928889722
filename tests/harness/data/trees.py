"""What tests of data sets in folders share: what is read from a made-up tree, and the line that says what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data.datasets import read_dataset
from harness.data.readers import Picture, Splits
from harness.errors import UserError

TreeOf = Callable[[str], Any]


def pairs(pictures: tuple[Picture, ...]) -> list[tuple[str, int]]:
    return [(path, label) for path, label in pictures]


def check(splits: Splits, tree: Any) -> None:
    assert splits.class_names == tree.class_names
    for part in ("train", "val", "test"):
        assert pairs(getattr(splits, part)) == getattr(tree, part), part


def one_line_error(name: str, root: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_dataset(name, str(root))
    assert "\n" not in str(caught.value)
    return str(caught.value)
