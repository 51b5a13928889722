"""Vectors of other sizes, shots, classes, views, grids and settings than those in the project are replayed too."""

from pathlib import Path

import pytest

from harness.reference.parity.replay import check_folder
from tests.harness.reference.second_implementation import MAKERS, World


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("name", MAKERS)
def test_a_second_implementation_of_other_sizes_agrees(name: str, world: World, tmp_path: Path) -> None:
    world.write(tmp_path, name, MAKERS[name](world))
    comparisons, unknown = check_folder(tmp_path)
    assert not unknown
    assert len(comparisons) >= 7
    assert [item for item in comparisons if not item.passed] == []
