"""What an interrupted run goes on from, and whether saved tensors are those of its training."""

from collections.abc import Callable

from torch import Tensor

from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import TrainSpec
from harness.results.folder import RunFolder
from harness.results.progress import Progress
from harness.results.record import DamagedError
from harness.training.inputs import changed_files
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


def load_progress(
    folder: RunFolder, spec: RunSpec, say_anew: Callable[[str], None], tell: Callable[[str], None]
) -> tuple[dict[str, Tensor], Progress]:
    """Tensors and facts of an interrupted run, or those of a new one.

    Args:
        folder: of the run.
        spec: the run.
        say_anew: takes the reason if what is there cannot be read.
        tell: takes a line if what the run depends on has changed since.
    """
    try:
        tensors, progress = folder.load_progress(spec.most_epochs) or ({}, Progress())
    except DamagedError as error:
        say_anew(str(error))
        tensors, progress = {}, Progress()
    if changes := list(changed_files(spec, progress.inputs)):
        tell(f"{'; '.join(changes)} has changed since the run was interrupted: it starts anew")
        tensors, progress = {}, Progress(starts=progress.starts)
    # This start sets up anew; what the earlier one spent on it belongs to no result.
    phases = {name: costs for name, costs in progress.phases.items() if name not in ("setup", "fit")}
    return tensors, progress.model_copy(update={"phases": phases, "starts": progress.starts + 1})
