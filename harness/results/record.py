"""What `result.json` holds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.results.files import Json

if TYPE_CHECKING:  # torch and pandas take a second each, and listing runs needs neither
    pass


def read_result(path: Path) -> Json:
    """One result.

    Raises:
        UserError: the file is damaged.
    """
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' is damaged ({error}): remove its folder to compute the run again") from error
    assert isinstance(result, dict)
    return result


def result_files(root: Path) -> list[Path]:
    """The results of all complete runs, by id."""
    return sorted(root.glob("runs/*/result.json"))
