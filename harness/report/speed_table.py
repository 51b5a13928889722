"""The table of `make speed`: costs with and without the speed-ups."""

import pandas as pd

from harness.reference.speed.measurement import Measurement

# Title, cost, factor to the unit of the title, digits.
COLUMNS = (
    ("step ms", "step_seconds", 1e3, 1),
    ("step MiB", "step_mib", 1, 1),
    ("step GFLOP", "step_gflop", 1, 1),
    ("cache ms/img", "cache_seconds", 1e3, 1),
    ("infer ms/img", "inference_seconds", 1e3, 1),
    ("texts ms", "texts_seconds", 1e3, 1),
)
NOTE = (
    "(x): how many times less than `off`, which computes as the reference code does: full context length, whole towers "
    "at every step, one image at a time, prompts encoded again for every batch. "
    "step MiB: peak above the resting model. cache: frozen blocks of one training picture (off: the whole tower). "
    "infer: one picture, in off with its share of encoding the prompts; on encodes them once a class list (texts). "
    "difference: largest relative distance of losses, gradient and logits from those of off."
)


def cell(measured: Measurement, name: str, factor: float, digits: int) -> str:
    """A cost and its ratio to the cost without speed-ups, such as `12.5 (7.1x)`."""
    value, ratio = getattr(measured.costs, name), measured.ratios.get(name)
    if value is None:
        return "-"
    return f"{factor * value:.{digits}f}" + (f" ({shown(ratio)}x)" if ratio and measured.setting != "off" else "")


def shown(ratio: float) -> str:
    """A ratio with the digits that are meaningful."""
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}" if ratio < 1000 else ">1000"


def speed_table(measurements: list[Measurement]) -> pd.DataFrame:
    """Text cells, one row per measurement."""
    rows = []
    for measured in measurements:
        cells = {title: cell(measured, name, factor, digits) for title, name, factor, digits in COLUMNS}
        difference = "" if measured.setting == "off" else f"{measured.difference:.0e}"
        rows.append({"method": measured.title, "setting": measured.setting, **cells, "difference": difference})
    return pd.DataFrame(rows)
