"""Estimates as tables, figures and files."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from harness.estimate.estimator import Estimate, MeasuredPeak
from harness.estimate.memory_breakdown import KINDS
from harness.experiment.axes import NO_VALUE
from harness.experiment.spec import RunSpec
from harness.machine.costs import PHASES, TRAIN
from harness.machine.units import MIB
from harness.results.files import to_json, write_atomically

NOTE = (
    "Estimated from shapes; nothing was computed. MiB: peak of live tensor bytes on the {device}, exact with a CPU's "
    "kernels. Not in it: rounding and reserve of a GPU's allocator, workspaces of its libraries, other kernels that it "
    "may choose, its context; the Python process. The columns behind `peak` say what it is made of."
)
BOUND_NOTE = (
    "≤: which classes a batch trains on is up to the pictures; the longest prompts are assumed, also in what the peak "
    "is made of. So a larger batch may fit (≥), and so may a run whose bound is above the limit (not surely)."
)
BOUND = "(≤)"
FITS = {True: "yes", False: "no", None: "not surely"}
MADE_UP_NOTE = "≈: what is computed depends on numbers that only pictures determine; the usual case is assumed."
STAND_IN_NOTE = "Not on this machine, so with stand-in class names (ImageNet's as open_clip lists them): {names}."
NONE = "-"
CACHED_VIEWS = "cached views"


@dataclass(frozen=True)
class Row:
    """One estimated run.

    Attributes:
        spec: the run.
        axes: setting -> value of what was varied, a dash where the method has no such setting.
        estimate: of the run.
        largest_batch: most pictures a step with which it fits, if that was asked for and something trains.
        measured: phase -> what was measured, if that was asked for.
    """

    spec: RunSpec
    axes: dict[str, str]
    estimate: Estimate
    largest_batch: int | None = None
    measured: dict[str, MeasuredPeak] = field(default_factory=dict)

    @property
    def title(self) -> dict[str, str]:
        """Columns that tell rows apart."""
        spec = self.spec
        shown_anyway = ("classes", "train.batch_size", "train.precision")
        varied = {key: value for key, value in self.axes.items() if key not in shown_anyway}
        about = {"method": spec.method, "dataset": spec.data.dataset, **varied}
        sizes = {"classes": str(self.estimate.classes), "batch": str(self.estimate.batch_size)}
        return {**about, "precision": spec.train.precision, **sizes}


def mib(num_bytes: int) -> str:
    """Bytes as MiB; below 1000 with one digit after the decimal point."""
    value = num_bytes / MIB
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def memory_table(rows: Sequence[Row], limit: int | None = None) -> pd.DataFrame:
    """Text cells: peak of every phase, the highest of them and its categories; with a limit, whether the run fits."""
    return pd.DataFrame([memory_cells(row, limit) for row in rows])


def memory_cells(row: Row, limit: int | None) -> dict[str, str]:
    """One row of `memory_table`."""
    estimate = row.estimate
    highest = estimate.phases[estimate.highest_phase]
    phases = {f"{phase} MiB": peak_cell(estimate, phase) for phase in PHASES}
    kinds = {kind: mib(highest.by_kind[kind]) if highest.by_kind[kind] else NONE for kind in KINDS}
    cells = {**row.title, **phases, "peak MiB": peak_cell(estimate, estimate.highest_phase), **kinds}
    if limit is not None:
        cells["fits"] = FITS[estimate.fits(limit)]
        # A step that needs less than the bound leaves room for more pictures.
        at_least = "≥ " if estimate.is_bound else ""
        cells["largest batch"] = NONE if row.largest_batch is None else f"{at_least}{row.largest_batch}"
    return cells


def peak_cell(estimate: Estimate, phase: str) -> str:
    """Peak of a phase."""
    if phase not in estimate.phases:
        return NONE
    return mark(estimate, phase) + mib(estimate.phases[phase].num_bytes)


def mark(estimate: Estimate, phase: str) -> str:
    """What stands before numbers of a phase that are not exact."""
    if estimate.is_guess(phase):
        return "≈ "
    return "≤ " if estimate.is_upper_bound(phase) else ""


def work_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Text cells: operations, cached bytes, parameters, checkpoint; where views are kept, how many are cached."""
    found = pd.DataFrame([work_cells(row) for row in rows])
    keeps_views = any(row.spec.train.views or row.spec.train.fit_views for row in rows)
    return found if keeps_views else found.drop(columns=CACHED_VIEWS)


def work_cells(row: Row) -> dict[str, str]:
    """One row of `work_table`."""
    estimate = row.estimate

    def gflop(value: float | None, before: str = "") -> str:
        return f"{before}{value / 1e9:,.2f}" if value else NONE

    bound = mark(estimate, TRAIN)

    return {
        **row.title,
        "step GFLOP": gflop(estimate.step_flops, bound),
        "train GFLOP/img": gflop(estimate.train_flops_per_image, bound),
        "cache GFLOP/img": gflop(estimate.cache_flops_per_image),
        CACHED_VIEWS: f"{estimate.cache_images:,}" if estimate.cache_images else NONE,
        "host cache MiB": mib(estimate.host_cache_bytes) if estimate.host_cache_bytes else NONE,
        "device cache MiB": mib(estimate.device_cache_bytes) if estimate.device_cache_bytes else NONE,
        "file cache MiB": mib(estimate.cache_bytes) if estimate.cache_location == "file" else NONE,
        "parameters": f"{estimate.total_parameters:,}",
        "trained": f"{estimate.trainable_parameters:,}" if estimate.trainable_parameters else NONE,
        "checkpoint MiB": f"{estimate.checkpoint_bytes / MIB:,.2f}" if estimate.checkpoint_bytes else NONE,
    }


def check_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Text cells: estimate against measurement, phase by phase, in bytes."""
    cells = []
    for row in rows:
        for phase, measured in row.measured.items():
            estimated = row.estimate.phases[phase].num_bytes
            reserved = {} if measured.reserved_bytes is None else {"reserved": f"{measured.reserved_bytes:,}"}
            cells.append(
                {
                    **row.title,
                    "phase": phase,
                    "estimated bytes": f"{mark(row.estimate, phase)}{estimated:,}",
                    "measured bytes": f"{measured.num_bytes:,}",
                    "difference": f"{100 * (estimated / measured.num_bytes - 1):+.2f} %",
                    **reserved,
                }
            )
    return pd.DataFrame(cells)


def note(rows: Sequence[Row]) -> str:
    """The footnote of the tables."""
    lines = [NOTE.format(device="GPU" if rows[0].estimate.device == "cuda" else "CPU")]
    if any(row.estimate.is_bound for row in rows):
        lines.append(BOUND_NOTE)
    if any(row.estimate.made_up for row in rows):
        lines.append(MADE_UP_NOTE)
    if names := sorted({name for row in rows for name in row.estimate.stand_ins}):
        lines.append(STAND_IN_NOTE.format(names=", ".join(names)))
    return " ".join(lines)


def plain(row: Row) -> dict[str, Any]:
    """A row as plain data, for JSON."""
    estimate = {key: value for key, value in asdict(row.estimate).items() if key not in ("phases", "batches")}
    estimate["batches"] = row.estimate.batches.model_dump() if row.estimate.batches else None
    phases = {
        phase: asdict(peak) | {"is_bound": row.estimate.is_upper_bound(phase)}
        for phase, peak in row.estimate.phases.items()
    }
    measured = {phase: asdict(value) for phase, value in row.measured.items()}
    about = {"spec": row.spec.settings(), "axes": row.axes, **estimate, "peak_bytes": row.estimate.peak_bytes}
    about["peak_is_bound"] = row.estimate.peak_is_bound
    return {**about, "phases": phases, "largest_batch": row.largest_batch, "measured": measured}


def flat(row: Row) -> dict[str, Any]:
    """A row as columns, for CSV: bytes and operations, not rounded."""
    estimate = row.estimate
    peaks = {f"{phase}_bytes": peak.num_bytes for phase, peak in estimate.phases.items()}
    kinds = estimate.phases[estimate.highest_phase].by_kind
    columns = asdict(estimate)
    for key in ("phases", "stand_ins", "batches"):
        del columns[key]
    at_once = estimate.batches.model_dump() if estimate.batches else {}
    columns |= {f"{phase}_batch_size": number for phase, number in at_once.items()}
    made_of = {f"peak_{kind.replace(' ', '_')}_bytes": size for kind, size in kinds.items()}
    about = {"backbone": row.spec.backbone, "precision": row.spec.train.precision}
    found: dict[str, Any] = {"peak_bytes": estimate.peak_bytes, "peak_is_bound": estimate.peak_is_bound}
    found |= {"peak_phase": estimate.highest_phase, "step_flops": estimate.step_flops}
    return {**row.title, **about, **columns, **peaks, **found, **made_of, "largest_batch": row.largest_batch}


def save(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Write JSON, CSV and figure; returns their paths.

    Args:
        folder: `RESULTS/estimates`.
        rows: at least one.

    Raises:
        UserError: no space, no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / name_of(rows)
    paths = [stem.with_name(stem.name + ending) for ending in (".json", ".csv", ".png")]
    write_atomically(paths[0], to_json({"estimates": [plain(row) for row in rows]}))
    write_atomically(paths[1], pd.DataFrame([flat(row) for row in rows]).to_csv(index=False).encode())
    draw(rows, paths[2])
    return paths


def title_of(rows: Sequence[Row]) -> str:
    """The backbones of some rows."""
    return ", ".join(dict.fromkeys(row.spec.backbone for row in rows))


def name_of(rows: Sequence[Row]) -> str:
    """A file name that tells methods, backbone, data set and what was varied."""
    parts = [
        "_".join(dict.fromkeys(row.spec.method for row in rows)),
        "_".join(dict.fromkeys(row.spec.backbone for row in rows)),
        "_".join(dict.fromkeys(row.spec.data.dataset for row in rows)),
        *dict.fromkeys(key for row in rows for key in row.axes),
    ]
    return re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(parts))[:120]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Plot peak memory: with one numeric axis one line per method, otherwise one bar per row, stacked by kind.

    A method that the axis does not vary is a horizontal line.
    """
    # Not at the top: matplotlib takes a second.
    from matplotlib.figure import Figure

    from harness.report.plots import literal

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    varied = list(dict.fromkeys(key for row in rows for key in row.axes))
    values = {row.axes[varied[0]] for row in rows} if len(varied) == 1 else set()
    if values - {NO_VALUE} and all(map(is_number, values - {NO_VALUE})):
        for method in dict.fromkeys(row.spec.method for row in rows):
            own = [(row.axes[varied[0]], row.estimate.peak_bytes / MIB) for row in rows if row.spec.method == method]
            points = sorted((float(value), peak) for value, peak in own if value != NO_VALUE)
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=legend(method, rows))
            else:
                axes.axhline(own[0][1], linestyle="--", color="gray", label=legend(method, rows))
        axes.set_xlabel(varied[0])
        axes.set_ylim(bottom=0)
    else:
        names = [[legend(row.spec.method, [row]), *row.axes.values()] for row in rows]
        labels = [literal(" ".join(dict.fromkeys(words))) for words in names]
        base = [0.0] * len(rows)
        for kind in KINDS:
            sizes = [row.estimate.phases[row.estimate.highest_phase].by_kind[kind] / MIB for row in rows]
            axes.bar(range(len(rows)), sizes, bottom=base, label=kind)
            base = [below + size for below, size in zip(base, sizes, strict=True)]
        axes.set_xticks(range(len(rows)), labels, rotation=30, ha="right")
    axes.set_ylabel("estimated peak, MiB")
    first = rows[0]
    axes.set_title(literal(f"{first.spec.backbone}, {first.spec.data.dataset}, {first.spec.train.precision}"))
    axes.legend()
    figure.savefig(path, dpi=150)


def legend(method: str, rows: Sequence[Row]) -> str:
    """A method's name, marked if a peak of it is a bound."""
    is_bound = any(row.estimate.peak_is_bound for row in rows if row.spec.method == method)
    return f"{method} {BOUND}" if is_bound else method


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
