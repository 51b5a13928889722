"""Whether saved tensors are those of a training that is to be continued."""

from torch import Tensor

from harness.experiment.training_spec import TrainSpec
from harness.training.optimizer import expected_state, is_optimizer_state
from harness.training.state import LOSS_SCALE, trained_state
from methods.base import Method


def misfit(method: Method, state: dict[str, Tensor], recipe: TrainSpec) -> str | None:
    """Why a training of a method cannot go on from some tensors; None if it can.

    Args:
        method: built as for the training.
        state: as `Trainer.state` gives it.
        recipe: of the training.
    """
    own = trained_state(method)
    of_optimizer = {name for name in state if is_optimizer_state(name)}
    if state.keys() - of_optimizer - {LOSS_SCALE} != own.keys():
        return "its tensors are not those of the method"
    expected = expected_state(method, recipe)
    # A parameter that no step has reached has none.
    kept, found = ({name.split(".")[0] for name in names} for names in (expected, of_optimizer))
    if not of_optimizer <= expected.keys() or found != kept:
        return "what its optimizer knew is not that of the recipe"
    for name, value in {**own, **expected}.items():
        if name in state and not name.startswith("step.") and state[name].shape != value.shape:
            return f"its tensor '{name}' has another shape"
    for name, value in own.items():
        if state[name].dtype != value.dtype:
            return f"its tensor '{name}' has another type"
    return None
