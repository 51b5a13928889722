"""Units of measurement."""

from typing import Any

from pydantic import ByteSize, TypeAdapter, ValidationError

from harness.errors import UserError

MIB = 2**20
"""Bytes in a MiB."""
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES = TypeAdapter(ByteSize)


def parse_seconds(value: Any) -> Any:
    """Seconds of a time such as 90s, 30m, 2h or 1d; any other value is returned unchanged.

    Raises:
        ValueError: a text that ends in a unit but does not begin with a number.
    """
    if isinstance(value, bool):
        raise ValueError("use seconds, or a number with s, m, h or d, such as 30m")
    if isinstance(value, str) and value[-1:] in SECONDS:
        try:
            return float(value[:-1]) * SECONDS[value[-1]]
        except ValueError:
            raise ValueError("use seconds, or a number with s, m, h or d, such as 30m") from None
    return value


def parse_size(text: str) -> int:
    """Bytes of a size such as 24GiB, 512MiB, 40GB or 1000000.

    Raises:
        UserError: it is no size.
    """
    try:
        return int(SIZES.validate_python(text.strip()))
    except ValidationError:
        raise UserError(f"'{text}' is no amount of memory: write it as 24GiB, 512MiB or 40GB") from None
