"""Annotations in MATLAB's format (level 5), which holds plain data only."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.picture_files import open_regular
from harness.errors import UserError, first_line

MOST_BYTES = 64 << 20
"""Size of the largest file that is read: annotations have a few MB."""


def read_matlab(path: Path, variable: str, fields: Sequence[str] = ()) -> list[Any]:
    """The elements of one variable of a MATLAB file, in order.

    Args:
        path: of the file.
        variable: a row or column of numbers, texts or structures.
        fields: of the structures, each a number or a text; empty for numbers and texts.

    Returns:
        Numbers and texts as they are; of structures, field -> value.

    Raises:
        UserError: the file is none of MATLAB's, is too large, or lacks the variable or a field.
    """
    # Not at the top: importing scipy.io takes a while.
    from scipy.io import loadmat

    try:
        with open_regular(path) as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES >> 20} MiB")
        found = loadmat(io.BytesIO(data), squeeze_me=True, variable_names=[variable])[variable]
        elements = found.reshape(-1)
        if not fields:
            return [element if isinstance(element, str) else element.item() for element in elements]
        return [{field: plain_value(element[field]) for field in fields} for element in elements]
    except KeyError:
        raise UserError(f"'{path}' has no variable '{variable}': restore it from the data set's archive") from None
    except Exception as error:  # what damaged files raise is of any kind
        raise UserError(f"'{path}' cannot be read as a MATLAB file ({first_line(error)}): restore it") from None


def plain_value(value: Any) -> int | float | str:
    """A number or text that MATLAB holds as an array of one element."""
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, int | float | str):
        raise ValueError(f"{type(plain).__name__} where a number or a text is expected")
    return plain
