"""The tables of `make speed`: costs with and without the speed-ups."""

from collections.abc import Sequence

import pandas as pd

from harness.machine.environment import Environment
from harness.reference.speed.measurement import Load, Measurement
from harness.reference.speed.spec import SpeedSpec

# Title, cost, factor to the unit of the title, digits. CPU seconds are None on a GPU, and their columns left out.
TRAINING = (
    ("step CPU ms", "step_cpu_seconds", 1e3, 1),
    ("step ms", "step_seconds", 1e3, 1),
    ("epoch CPU s", "epoch_cpu_seconds", 1, 1),
    ("epoch s", "epoch_seconds", 1, 1),
    ("step MiB", "step_mib", 1, 1),
    ("step GFLOP", "step_gflop", 1, 1),
    ("step launches", "step_launches", 1, 0),
)
OTHER = (
    ("cache CPU ms/img", "cache_cpu_seconds", 1e3, 1),
    ("cache ms/img", "cache_seconds", 1e3, 1),
    ("cache MiB", "cache_mib", 1, 1),
    ("infer CPU ms/img", "inference_cpu_seconds", 1e3, 1),
    ("infer ms/img", "inference_seconds", 1e3, 1),
    ("texts CPU ms", "texts_cpu_seconds", 1e3, 1),
    ("texts ms", "texts_seconds", 1e3, 1),
)
WORKS = {"step": "step", "cache": "caching pass", "texts": "encoding texts", "inference": "inference"}
NOTE = (
    "(x): how many times less than `off`, which computes as the reference code does: full context length, whole towers "
    "at every step, one image at a time, prompts encoded again at every step and test batch (zero-shot CLIP and "
    "CLIP-Adapter: once); of `on without ...`: how many times less than `on`. CPU: seconds that all threads computed; "
    "off and on are timed in turn, and the ratio of CPU seconds is the median over these pairs, +-: half the range of "
    "the middle half of them. epoch: the caching pass, if there is one, and all steps, without reading and augmenting "
    "images. step MiB: peak above the resting model. step launches: operators of torch that compute something, about "
    "one kernel each on a GPU. cache: frozen blocks of one training image (off: the whole tower), MiB of a batch. "
    "infer: one image, with its share of the prompts where they are encoded again. "
    "difference: largest relative distance of losses, gradient and logits from those of off."
)


def disagreements(measured: Measurement) -> list[str]:
    """The operations whose pairs of timings disagree, so that their ratio is not measured."""
    return [work for work, spread in measured.spreads.items() if not spread.agree]


def cell(measured: Measurement, name: str, factor: float, digits: int) -> str:
    """A cost and its ratio, such as `12.5 (7.10x +-2%)`; where pairs disagree their range: `12.5 (5.1-9.8x?)`."""
    value, ratio = getattr(measured.costs, name), measured.ratios.get(name)
    if value is None:
        return "-"
    text = f"{factor * value:.{digits}f}"
    if not ratio or measured.setting == measured.against:
        return text
    if not name.endswith("seconds"):
        return f"{text} ({shown(ratio)}x)"
    if name.partition("_")[2] != measured.clock:
        # Wall seconds beside CPU seconds: another process on the machine may have changed them.
        return text
    work = name.partition("_")[0]
    if work == "epoch":
        return text if {"step", "cache"} & set(disagreements(measured)) else f"{text} ({shown(ratio)}x)"
    spread = measured.spreads.get(work)
    if spread is None:
        return text
    if not spread.agree:
        return f"{text} ({shown(spread.least)}-{shown(spread.most)}x?)"
    half = 50 * (spread.high - spread.low) / spread.median
    return f"{text} ({shown(ratio)}x +-{half:.0f}%)"


def shown(ratio: float) -> str:
    """A ratio with the digits that are meaningful."""
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}" if ratio < 1000 else ">1000"


def speed_tables(measurements: list[Measurement]) -> dict[str, pd.DataFrame]:
    """Title -> text cells, one row per measurement: what training costs, and everything else."""
    training = table_of(measurements, TRAINING)
    other = table_of(measurements, OTHER)
    other["difference"] = ["" if item.setting == "off" else f"{item.difference:.0e}" for item in measurements]
    return {"training": training, "caching, inference, equality": other}


def table_of(measurements: list[Measurement], columns: Sequence[tuple[str, str, float, int]]) -> pd.DataFrame:
    """Text cells of some columns, without those in which nothing was measured."""
    rows = []
    for measured in measurements:
        cells = {title: cell(measured, name, factor, digits) for title, name, factor, digits in columns}
        rows.append({"method": measured.title, "setting": measured.setting, **cells})
    frame = pd.DataFrame(rows)
    return frame.drop(columns=[name for name in frame.columns if (frame[name] == "-").all()])


def settings_lines(spec: SpeedSpec) -> list[str]:
    """What was measured of each row: its recipe, all options, batch size, images of an epoch."""
    images = spec.classes * spec.shots
    lines = []
    for row in spec.rows:
        options = " ".join(f"{key}={value}" for key, value in row.all_options().items())
        batch = row.batch_size or spec.batch_size
        caching = row.cache_batch_size or spec.cache_batch_size
        batches = f"batch size {batch}, caching batch {caching}"
        words = [row.title, f"recipe {row.recipe}" if row.recipe else "", options, batches]
        lines.append(", ".join(word for word in words if word) + f", epoch of {images} images")
    return lines


def load_line(load: Load, machine: Environment) -> str:
    """How busy the machine was, and how many threads computed."""
    told = [f"{value:g}" if value is not None else "unknown" for value in (load.before, load.after)]
    threads = f"{machine.threads} thread{'' if machine.threads == 1 else 's'}"
    return (
        f"Load of the machine {told[0]} before, {told[1]} after (this process included), {machine.cores} cores; "
        f"computed with {threads}, torch {machine.torch}"
    )


def refusals(measurements: list[Measurement]) -> list[str]:
    """One line for each ratio that is not measured, because the pairs of timings disagree."""
    lines = []
    for item in measurements:
        for work in disagreements(item):
            spread = item.spreads[work]
            lines.append(
                f"not measured: {item.title}, {item.setting}, {WORKS[work]}: {spread.pairs} pairs give ratios from "
                f"{shown(spread.least)} to {shown(spread.most)}: repeat while the machine is idle, or with more pairs "
                f"(pairs={2 * spread.pairs})"
            )
    return lines
