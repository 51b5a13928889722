"""The command that tells what runs will cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from harness.cli.console import OVERRIDES, RESULTS, console, errors, print_frame
from harness.cli.grid import check_names, read_grid, takes_grid
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.experiment.spec import RunSpec
    from harness.report.estimate_table import Row

    Run = tuple[RunSpec, dict[str, str], int | None]
    """Spec, value of each knob, number of classes if it is not the data set's."""

# Words that stand for settings, and options that take several values by comma.
SETTINGS = {"batch": "train.batch_size", "precision": "train.precision"}
AXES = ("backbone", "shots")
CLASSES = "classes"


@click.command()
@click.argument("methods", required=False)
@OVERRIDES
@takes_grid
@click.option("--classes", help="Train and evaluate on so many classes instead of the data set's; by comma or a..b.")
@click.option("--batch", help="Pictures a training step, instead of the recipe's; by comma or a..b.")
@click.option("--precision", help="fp32, bf16, fp16 or half; by comma.")
@click.option("--device", default="cuda", show_default=True, help="Whose memory: cuda, or cpu as result.json has it.")
@click.option("--fits", metavar="SIZE", help="Say what fits into a memory, such as 24GiB, and the largest batch.")
@click.option("--check", is_flag=True, help="Also measure the same steps for real on the device, with random weights.")
@RESULTS
def estimate(
    methods: str | None,
    overrides: tuple[str, ...],
    results: Path,
    device: str,
    fits: str | None,
    check: bool,
    **grid: Any,
) -> None:
    """Tell the memory, operations and bytes that runs of METHODS will take, without weights, data or a GPU.

    Settings follow as KEY=VALUE; one that stands for several makes a row of the table for each:
    skip.depth=0..12, classes=10,100,1000, batch=4,8, backbone=ViT-B-16,ViT-L-14. Writes table and figure to
    RESULTS/estimates/.

    \b
      skipbench estimate skip --dataset imagenet --backbone ViT-B-16
      skipbench estimate all --backbone ViT-L-14 --dataset imagenet --protocol few_shot --fits 24GiB
      skipbench estimate skip skip.depth=0..12 --backbone ViT-B-16 --dataset dtd
    """
    if methods and "=" in methods:
        overrides, methods = (methods, *overrides), None
    check_names(methods, grid["dataset"])
    runs = choose_runs(methods, overrides, grid)
    from harness.machine.units import parse_size
    from harness.report.estimate_table import check_table, memory_table, note, save, title_of, work_table
    from harness.results.files import check_writable

    limit = parse_size(fits) if fits else None
    check_writable(results)
    rows = estimate_all(runs, device_type(device, check), limit, check)
    print_frame(memory_table(rows, limit), title=f"{title_of(rows)}: memory{f', limit {fits}' if fits else ''}")
    print_frame(work_table(rows), title=f"{title_of(rows)}: work and storage")
    if check:
        print_frame(check_table(rows), title=f"{title_of(rows)}: estimated and measured")
    console.print(note(rows), markup=False, soft_wrap=not console.is_terminal)
    for path in save(results / "estimates", rows):
        console.print(f"Written: {path}", markup=False, soft_wrap=True)


def device_type(device: str, check: bool) -> str:
    """`cpu` or `cuda`; what is measured must be measured where it is estimated for."""
    import torch

    if device not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: use cuda or cpu")
    if check and device == "cuda" and not torch.cuda.is_available():
        errors.print("note: there is no GPU here: measured, and estimated, for the CPU", markup=False)
        return "cpu"
    return device


def choose_runs(methods: str | None, overrides: tuple[str, ...], grid: dict[str, Any]) -> "list[Run]":
    """The runs to estimate, each once."""
    from harness.experiment.axes import combinations, split_knobs

    short = {key: grid.pop(key) for key in (CLASSES, *SETTINGS)} | {key: grid[key] for key in AXES}
    words = [*(f"{key}={value}" for key, value in short.items() if value), *overrides]
    plain, knobs = split_knobs(words)
    runs: dict[tuple[str, int | None], Run] = {}
    for chosen in combinations(knobs):
        settings = dict(word.partition("=")[::2] for word in [*plain, *(f"{key}={chosen[key]}" for key in chosen)])
        axes = {key: settings.pop(key) for key in AXES if key in settings}
        classes = whole_number(settings.pop(CLASSES, None))
        pairs = tuple(f"{SETTINGS.get(key, key)}={value}" for key, value in settings.items())
        _, specs = read_grid(methods, pairs, {**grid, "seeds": grid["seeds"] or "1", **axes})
        for spec in specs:
            runs.setdefault((spec.id, classes), (spec, chosen, classes))
    found = list(runs.values())
    methods_in_order = list(dict.fromkeys(spec.method for spec, _, _ in found))
    return sorted(found, key=lambda run: methods_in_order.index(run[0].method))


def whole_number(text: str | None) -> int | None:
    """A number of classes."""
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"classes={text}: give a whole number, at least 1")
    return int(text)


def estimate_all(runs: "list[Run]", device: str, limit: int | None, check: bool) -> "list[Row]":
    """Rows of all runs that can be estimated; the others are named with their reason."""
    import torch

    from harness.estimate.estimator import measure
    from harness.estimate.fit import Capacity, shared_estimator
    from harness.report.estimate_table import Row

    rows: list[Row] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("estimating", total=len(runs))
        for spec, knobs, classes in runs:
            what = " ".join([spec.method, *(f"{key}={value}" for key, value in knobs.items())])
            progress.update(task, description=f"estimating {what}")
            try:
                found = shared_estimator().estimate(spec, classes, device)
                capacity = Capacity(shared_estimator(), device, classes)
                largest = None if limit is None else capacity.largest_batch(spec, found, limit)
                progress.update(task, description=f"{'measuring' if check else 'estimating'} {what}")
                measured = measure(spec, classes, torch.device(device)) if check else {}
                rows.append(Row(spec, knobs, found, largest, measured))
            except UserError as error:
                if len(runs) == 1:
                    raise
                errors.print(f"note: {what} is left out: {error}", markup=False)
            progress.advance(task)
    if not rows:
        raise UserError("none of these runs could be estimated")
    return rows
