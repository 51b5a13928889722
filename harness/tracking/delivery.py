"""What W&B has of a run: a note in the run's folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from harness.errors import first_line
from harness.results.files import nothing, read_problem, read_regular, to_json, write_atomically
from harness.results.record import DamagedError

DELIVERY_FILE = "wandb.json"


class Delivery(BaseModel):
    """What W&B has of a run: `wandb.json` in the run's folder.

    Attributes:
        mode: how the run was tracked.
        project: W&B project.
        entity: W&B team or user; None offline.
        url: page of the run; None offline.
        epochs: how many W&B has confirmed.
        complete: whether W&B has confirmed all of it; only then the run counts as uploaded.
    """

    model_config = ConfigDict(frozen=True)

    mode: Literal["offline", "online"]
    project: str = "skipbench"
    entity: str | None = None
    url: str | None = None
    epochs: int = 0
    complete: bool = False


def read_delivery(folder: Path) -> Delivery | None:
    """What W&B has of the run in a folder; None without a note.

    Raises:
        DamagedError: the note cannot be read.
    """
    path = folder / DELIVERY_FILE
    try:
        return Delivery.model_validate_json(read_regular(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(read_problem(path, error)) from None
    except ValueError as error:
        raise DamagedError(
            f"'{path}' is damaged ({first_line(error)}): remove it, and `skipbench wandb-sync` uploads the run again"
        ) from None


def write_delivery(folder: Path, delivery: Delivery, check: Callable[[], None] = nothing) -> None:
    """Write down what W&B has of the run in a folder; `check` as in `write_atomically`."""
    write_atomically(folder / DELIVERY_FILE, to_json(delivery.model_dump()), check)
