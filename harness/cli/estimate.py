"""`skipbench estimate`: what runs will cost."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from harness.cli.console import RESULTS, console, counting_bars, errors, print_frame
from harness.cli.grid import METHODS_AND_SETTINGS, GridOptions, Words, read_experiment, takes_grid
from harness.errors import UserError
from harness.experiment.axes import NO_VALUE, Kind, values_of
from harness.experiment.grid import all_runs, axes_of, values_at
from harness.experiment.spec import RunSpec
from harness.machine.units import parse_size
from harness.results.files import check_writable

if TYPE_CHECKING:
    from harness.report.estimate_table import Row

# Short words for settings.
SETTINGS = {"batch": "train.batch_size", "precision": "train.precision"}
CLASSES = "classes"
# Axes that need no column of their own: every row shows them.
SHOWN_ANYWAY = ("method", "data.dataset")


@dataclass(frozen=True)
class Case:
    """One run to estimate.

    Attributes:
        spec: the run.
        axes: setting -> value of what is varied, a dash where the method has no such setting.
        classes: number of classes to train and evaluate on; None for the data set's.
    """

    spec: RunSpec
    axes: dict[str, str]
    classes: int | None

    @property
    def title(self) -> str:
        """The method and the values of its axes."""
        values = (f"{key}={value}" for key, value in self.axes.items() if value != NO_VALUE)
        return " ".join([self.spec.method, *values])


@click.command()
@METHODS_AND_SETTINGS
@takes_grid
@click.option("--classes", help="Numbers of classes to train and evaluate on, instead of the data set's own.")
@click.option("--batch", help="Images per training step, instead of the recipe's.")
@click.option("--precision", help="fp32, tf32, bf16, fp16 or half.")
@click.option("--device", default="cuda", show_default=True, help="Whose memory: cuda, or cpu as result.json has it.")
@click.option("--fits", metavar="SIZE", help="Say what fits into a memory, such as 24GiB, and the largest batch.")
@click.option("--check", is_flag=True, help="Also measure the same steps for real on the device, with random weights.")
@RESULTS
def estimate(
    words: Words,
    grid: GridOptions,
    classes: str | None,
    batch: str | None,
    precision: str | None,
    device: str,
    fits: str | None,
    check: bool,
    results: Path,
) -> None:
    """Estimate the memory, operations and bytes of runs of METHODS, without weights, data or a GPU.

    Settings follow as KEY=VALUE. A setting with several values is an axis, and so are options with several values:
    every combination has a row. classes, batch and precision may be given as KEY=VALUE too. Writes table and figure
    to RESULTS/estimates/.

    \b
      skipbench estimate skip --dataset imagenet --backbone ViT-B-16
      skipbench estimate all --backbone ViT-B-16,ViT-L-14 --dataset imagenet --protocol few_shot --fits 24GiB
      skipbench estimate skip skip.depth=0..12 classes=10,100,1000 --backbone ViT-B-16 --dataset dtd
    """
    short = {"classes": classes, "batch": batch, "precision": precision}
    given = tuple(f"{key}={value}" for key, value in short.items() if value)
    cases = choose_cases(replace(words, settings=(*words.settings, *given)), grid)
    from harness.report.estimate_table import check_table, memory_table, note, save, title_of, work_table

    limit = parse_size(fits) if fits else None
    check_writable(results)
    rows = estimate_all(cases, device_type(device, check), limit, check)
    labels = len(rows[0].title)
    within = f", limit {fits}" if fits else ""
    print_frame(memory_table(rows, limit), labels=labels, title=f"{title_of(rows)}: memory{within}")
    print_frame(work_table(rows), labels=labels, title=f"{title_of(rows)}: work and storage")
    if check:
        print_frame(check_table(rows), labels=labels + 1, title=f"{title_of(rows)}: estimated and measured")
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


def choose_cases(words: Words, grid: GridOptions) -> list[Case]:
    """The runs to estimate, each once, method by method."""
    pairs = [(SETTINGS.get(key, key), value) for key, _, value in (word.partition("=") for word in words.settings)]
    settings = tuple(f"{key}={value}" if value else key for key, value in pairs if key != CLASSES)
    class_counts = read_class_counts([value for key, value in pairs if key == CLASSES])
    if not any(key == "seeds" for key, _ in pairs):
        grid = replace(grid, seeds=grid.seeds or "1")
    experiment = read_experiment(words.first, settings, grid)
    axes = [key for key in axes_of(experiment) if key not in SHOWN_ANYWAY]
    cases: dict[tuple[str, int | None], Case] = {}
    for spec in all_runs(experiment):
        for classes in class_counts:
            varied = {CLASSES: str(classes)} if len(class_counts) > 1 else {}
            # Not the id: settings of `runtime` change no result, but costs.
            key = json.dumps(spec.settings() | {"wandb": None, "tracking": None}), classes
            cases.setdefault(key, Case(spec, {**values_at(spec, axes), **varied}, classes))
    methods = list(dict.fromkeys(case.spec.method for case in cases.values()))
    return sorted(cases.values(), key=lambda case: methods.index(case.spec.method))


def read_class_counts(texts: list[str]) -> tuple[int | None, ...]:
    """Numbers of classes; None for that of the data set, if none is given."""
    if not texts:
        return (None,)
    found = values_of(CLASSES, yaml.safe_load(texts[-1]), Kind.NUMBER)
    for value in found:
        if not isinstance(value, int) or value < 1:
            raise UserError(f"classes={texts[-1]}: give whole numbers from 1 on, such as 10,100,1000")
    return found


def estimate_all(cases: list[Case], device: str, limit: int | None, check: bool) -> "list[Row]":
    """Rows of all runs that can be estimated; of the others the reason is printed."""
    import torch

    from harness.estimate.estimator import measure
    from harness.estimate.side_by_side import Question, answers
    from harness.report.estimate_table import Row
    from harness.schedule.slots import number_of_cores

    rows: list[Row] = []
    questions = [Question(case.spec, case.classes, device, limit) for case in cases]
    # What is measured is measured alone.
    found = answers(questions, processes=1 if check else number_of_cores())
    with counting_bars() as progress:
        task = progress.add_task("estimating", total=len(cases), news="")
        for case in cases:
            progress.update(task, description=f"estimating {case.title}")
            try:
                answer = next(found)
                if answer.estimate is None:
                    raise UserError(answer.refusal)
                progress.update(task, description=f"{'measuring' if check else 'estimating'} {case.title}")
                measured = (
                    measure(case.spec, case.classes, torch.device(device), answer.estimate.batches) if check else {}
                )
                rows.append(Row(case.spec, case.axes, answer.estimate, answer.largest_batch, measured))
            except UserError as error:
                if len(cases) == 1:
                    raise
                errors.print(f"note: {case.title} is left out: {error}", markup=False)
            progress.advance(task)
    if not rows:
        raise UserError("none of these runs could be estimated")
    return rows
