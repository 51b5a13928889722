"""The list of planted mistakes fits the code as it is; `make test-mutants` plants them."""

import pytest

from tests.planted_mistakes import ROOT, Mistake, read_mistakes


@pytest.mark.parametrize("mistake", read_mistakes(), ids=str)
def test_a_mistake_can_be_planted(mistake: Mistake) -> None:
    assert (ROOT / mistake.file).read_text().count(mistake.right) == 1
    assert mistake.right != mistake.wrong
    for test in mistake.tests.split():
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text()
