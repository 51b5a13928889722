import pytest
import torch

from harness.machine.threads import one_thread, step_threads, threads


def test_inside_torch_has_so_many_threads() -> None:
    before = torch.get_num_threads()
    with threads(3):
        assert torch.get_num_threads() == 3
        with one_thread():
            assert torch.get_num_threads() == 1
        with threads(None):
            assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("available", "is_narrow", "given", "expected"),
    [(8, True, None, 2), (1, True, None, 1), (8, False, None, 8), (8, True, 5, 5), (2, False, 1, 1)],
)
def test_steps_of_narrow_towers_take_few_threads(
    available: int, is_narrow: bool, given: int | None, expected: int
) -> None:
    with threads(available):
        assert step_threads(is_narrow, given) == expected
