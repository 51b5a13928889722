"""Which steps of an epoch are recorded, and with what."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.experiment.training_spec import TrainSpec
from harness.training.step_watch import StepWatch, spaced


@given(st.integers(0, 50), st.integers(1, 300))
def test_steps_are_spaced_evenly_and_the_last_one_is_among_them(count: int, steps: int) -> None:
    found = sorted(spaced(count, steps))
    assert len(found) == min(count, steps)
    if count:
        assert found[-1] == steps - 1
        assert found[0] >= 0
        gaps = [two - one for one, two in zip([-1, *found], found, strict=False)]
        assert max(gaps) - min(gaps) <= 1


def test_loss_and_rates_of_the_steps_that_are_kept() -> None:
    recipe = TrainSpec(epochs=2, lr=0.1, lr_image=0.01, schedule="step")
    watch = StepWatch(recipe, count=2, epoch=1, steps=4, whole=4)
    for step in range(4):
        watch.take(step, torch.tensor(float(step), dtype=torch.float64))
    one, two = watch.records()
    assert (one.step, one.loss, two.step, two.loss) == (5, 1.0, 7, 3.0)
    assert one.lr == pytest.approx(recipe.lr_at(1, 0.1, 1, 4))
    assert two.lr_image == pytest.approx(recipe.lr_at(1, 0.01, 3, 4))
    assert two.lr < one.lr
    assert StepWatch(recipe, 0, 0, 4, 4).records() == ()
