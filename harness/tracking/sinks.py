"""Where a run is tracked besides W&B: each takes the same rows and ending, and is imported when asked for."""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import UserError
from harness.experiment.place import SinkName

if TYPE_CHECKING:  # settings are checked before anything is computed, which needs none of it
    from harness.tracking.contents import Ending, Opening, Row

SINKS: dict[SinkName, tuple[str, str]] = {
    "tensorboard": ("harness.tracking.tensorboard_sink:TensorBoardSink", "tensorboard"),
    "mlflow": ("harness.tracking.mlflow_sink:MLflowSink", "mlflow"),
    "trackio": ("harness.tracking.trackio_sink:TrackioSink", "trackio"),
}
"""Name -> class, and the package that it needs; the extra of the same name installs it."""


class Sink(Protocol):
    """One run as a tracker has it. Its methods may raise anything: whoever calls them guards the run."""

    def log(self, rows: "Sequence[Row]") -> None:
        """Take the rows that it does not have yet.

        Args:
            rows: all rows so far, in order.
        """

    def finish(self, ending: "Ending") -> None:
        """Take what is known at the end, and close."""


def check_sinks(names: Sequence[SinkName]) -> None:
    """Raise a UserError if the package of a sink is not installed."""
    for name in names:
        package = SINKS[name][1]
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"tracking.sinks={name} needs the package '{package}', which is not installed: "
                f"pip install 'skipbench[{name}]'"
            )


def open_sink(name: SinkName, opening: "Opening") -> Sink:
    """Open a run at a sink; what an interrupted start left there of the same run is replaced.

    Raises:
        UserError: its package is not installed.
    """
    check_sinks([name])
    module, _, attribute = SINKS[name][0].partition(":")
    cls: Any = getattr(importlib.import_module(module), attribute)
    sink: Sink = cls(opening)
    return sink
