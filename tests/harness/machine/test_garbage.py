"""Leaving out the search for garbage."""

import gc

import pytest

from harness.machine.garbage import no_garbage_search


def test_the_search_is_left_out_inside_and_goes_on_behind_also_after_an_error() -> None:
    with no_garbage_search():
        assert not gc.isenabled()
        with no_garbage_search():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), no_garbage_search():
        raise KeyError
    assert gc.isenabled()
