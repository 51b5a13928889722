"""The `skipbench` command. Thin: every command reads its words, calls one module and prints.

Modules that need torch are imported inside the commands, so that help and mistyped names answer at once.
"""

import functools
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import harness
from harness.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from harness.data.status import Status
    from harness.plan import Experiment
    from harness.schedule.local import Failure
    from harness.spec import RunSpec

MISTAKE, INTERRUPTED = 2, 130
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

RESULTS: Callable[..., Any] = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    envvar="RESULTS",
    show_default=True,
    help="Folder for results.",
)
OVERRIDES: Callable[..., Any] = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(harness.__version__, prog_name="skipbench")
@click.option("--debug", is_flag=True, envvar="SKIPBENCH_DEBUG", help="Show tracebacks of errors.")
def cli(debug: bool) -> None:
    """Few-shot adaptation of CLIP, measured: Skip Tuning beside its baselines.

    \b
    First steps (no GPU, account or download needed):
      skipbench list                        methods, data sets, backbones, recipes
      skipbench bench skip                  Skip Tuning on the embedded benchmark, three seeds
      skipbench bench zeroshot,finetune,skip --seeds 1
      skipbench bench skip skip.depth=4 train.epochs=10

    \b
    On real data (CoOp layout under $DATA) and one GPU:
      DATA=/data skipbench bench skip --dataset dtd --backbone ViT-B-16-quickgelu

    Every run lies in results/runs/<id>/: spec.yaml, metrics.jsonl, checkpoint.safetensors, sample.json, log.txt and,
    when it is complete, result.json. A run that is complete is never computed again; an interrupted one goes on from
    its last finished epoch. Settings are KEY=VALUE; `skipbench keys [METHOD]` lists them.
    """
    os.environ["SKIPBENCH_DEBUG"] = "1" if debug else ""


def separated(text: str) -> list[str]:
    """Words of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str) -> list[int]:
    """Whole numbers of a list with commas."""
    try:
        return [int(word) for word in separated(text)]
    except ValueError:
        raise UserError(f"'{text}' is no list of whole numbers, such as 1,2,3") from None


GRID_OPTIONS = (
    click.option(
        "--experiment", type=click.Path(path_type=Path), help="Experiment file; default experiments/bench.yaml."
    ),
    click.option("--dataset", help="Training data sets, by comma."),
    click.option("--backbone", help="clip-emoji, an open_clip name, NAME:TAG, NAME:/path, NAME:random or /path."),
    click.option("--shots", help="Pictures a class, by comma."),
    click.option("--seeds", help="By comma."),
    click.option("--protocol", help="base_to_new, few_shot, cross_dataset, domain_generalization, ...: see `list`."),
    click.option("--recipe", help="Recipe variant of the methods, or a YAML file."),
)


def takes_grid(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that change the grid of an experiment."""
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(GRID_OPTIONS), command)


def read_grid(
    methods: str | None, overrides: tuple[str, ...], grid: dict[str, Any]
) -> "tuple[Experiment, list[RunSpec]]":
    """The experiment that the words of a command line ask for, and its runs."""
    if methods and "=" in methods:
        overrides, methods = (methods, *overrides), None
    check_names(methods, grid["dataset"])
    from harness.plan import EXPERIMENTS, expand, load_experiment
    from harness.spec import parse_overrides

    changes = {
        "methods": separated(methods) if methods else None,
        "datasets": separated(grid["dataset"]) if grid["dataset"] else None,
        "shots": numbers(grid["shots"]) if grid["shots"] else None,
        "seeds": numbers(grid["seeds"]) if grid["seeds"] else None,
        **{key: grid[key] for key in ("backbone", "protocol", "recipe")},
    }
    experiment = load_experiment(
        grid["experiment"] or EXPERIMENTS / "bench.yaml", {key: value for key, value in changes.items() if value}
    )
    return experiment, expand(experiment, parse_overrides(overrides))


def read_file_grid(
    experiment_file: Path | None, overrides: tuple[str, ...], grid: dict[str, Any], methods: str | None = None
) -> "tuple[Experiment, list[RunSpec]]":
    """The same where the file stands first and may be left out."""
    if experiment_file and "=" in str(experiment_file):
        overrides, experiment_file = (str(experiment_file), *overrides), None
    return read_grid(methods, overrides, {**grid, "experiment": experiment_file or grid["experiment"]})


@cli.command()
@click.argument("methods", required=False)
@OVERRIDES
@takes_grid
@RESULTS
def bench(methods: str | None, overrides: tuple[str, ...], results: Path, **grid: Any) -> None:
    """Train and evaluate METHODS (one, several by comma, or `all`) and print their table.

    Settings of all runs follow as KEY=VALUE; those under a method's name, such as skip.depth=4, go to that method.
    """
    _, specs = read_grid(methods, overrides, grid)
    execute(specs, results)


@cli.command()
@click.argument("experiment_file", type=click.Path(path_type=Path), metavar="FILE", required=False)
@OVERRIDES
@takes_grid
@RESULTS
def plan(experiment_file: Path | None, overrides: tuple[str, ...], results: Path, **grid: Any) -> None:
    """List the runs of the experiment in FILE: which are done, which are begun, which are left. Computes nothing."""
    from harness.plan import describe_grid
    from harness.store import run_state

    experiment, specs = read_file_grid(experiment_file, overrides, grid)
    states = [run_state(results, spec.id) for spec in specs]
    for spec, state in zip(specs, states, strict=True):
        click.echo(f"{state:6s} {spec.id} {spec.protocol} {spec.name} {spec.backbone}")
    click.echo(describe_grid(experiment, len(specs)))
    console.print(", ".join(f"{states.count(state)} {state}" for state in ("done", "begun", "left")))


def check_names(methods: str | None, datasets: str | None) -> None:
    """Answer mistyped names before anything slow is imported."""
    from harness.data.datasets import find_dataset
    from harness.plan import EVERY_METHOD
    from harness.registry import check_method

    for name in separated(methods or ""):
        if name != EVERY_METHOD:
            check_method(name)
    for name in separated(datasets or ""):
        find_dataset(name)


@cli.command()
@click.argument("spec_file", type=click.Path(path_type=Path), metavar="SPEC.YAML")
@OVERRIDES
@RESULTS
def run(spec_file: Path, overrides: tuple[str, ...], results: Path) -> None:
    """Execute the one run that SPEC.YAML describes, such as the spec.yaml of an earlier run, with changes."""
    from harness.plan import check_fits
    from harness.spec import merge, parse_overrides, parse_run_spec, read_yaml

    spec = parse_run_spec(merge(read_yaml(spec_file), parse_overrides(overrides)))
    check_fits(spec)
    execute([spec], results)


def execute(specs: "list[RunSpec]", results: Path) -> None:
    """Run what is not complete, then print the table, the failures and where everything lies."""
    from harness.schedule.local import run_all
    from harness.store import RunFolder, check_writable, results_frame

    check_writable(results)
    todo = [spec for spec in specs if not RunFolder(results, spec.id).is_complete]
    check_data(todo)
    fetch_backbones(todo)
    if len(todo) < len(specs):
        console.print(f"{len(specs) - len(todo)} of {len(specs)} runs are complete already.")
    with Watcher(todo) as watcher:
        failures = run_all(todo, results, watcher.on_news)
    runs = results_frame(results, [spec.id for spec in specs])
    if not runs.empty:
        print_table(runs)
    print_places(specs, results)
    print_failures(failures)
    if failures:
        sys.exit(1)


def check_data(specs: "list[RunSpec]") -> None:
    """Find out before the first run whether all data sets are there."""
    from harness.data.datasets import find_dataset, find_folder

    for spec in specs:
        for name in {spec.data.dataset, *(item.dataset for item in spec.evaluate)}:
            find_folder(find_dataset(name), spec.runtime.find_data_root())


def fetch_backbones(specs: "list[RunSpec]") -> None:
    """Have all weights on this machine before the first run, so that a missing network is told once and at once."""
    from harness.clip.load import fetch_weights

    for backbone in {spec.backbone for spec in specs}:
        with console.status(f"looking for the weights of {backbone}") if console.is_terminal else nullcontext():
            fetch_weights(backbone)
    # They are in the cache now: no run needs to ask the hub again.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


class Watcher:
    """Shows the progress of runs: a bar on a terminal, a line a run elsewhere."""

    def __init__(self, specs: "list[RunSpec]") -> None:
        self.total = len(specs)
        self.finished = 0
        self.notices: set[str] = set()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.runs = self.progress.add_task("runs", total=self.total, news="")
        self.epochs = self.progress.add_task("", total=None, news="", visible=False)

    def __enter__(self) -> "Watcher":
        if self.total:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_news(self, spec: "RunSpec", news: dict[str, Any]) -> None:
        """Take news from a run."""
        if "notice" in news:
            if news["notice"] not in self.notices:
                self.notices.add(news["notice"])
                errors.print(f"note: {news['notice']}", markup=False)
        elif "done" in news or "failed" in news:
            self.finished += 1
            outcome = "failed" if "failed" in news else "done"
            self.progress.update(self.runs, completed=self.finished)
            self.progress.reset(self.epochs, total=None, visible=False)
            console.print(f"[{self.finished}/{self.total}] {spec.name} {outcome} ({spec.id})", markup=False)
        elif "epoch" in news:
            speed = f"{news['images_per_second']:.0f} images/s" if "images_per_second" in news else ""
            self.progress.update(
                self.epochs,
                description=spec.name,
                completed=news["epoch"],
                total=news["epochs"],
                news=speed,
                visible=True,
            )
        else:
            self.progress.update(self.epochs, description=spec.name, news=news["phase"], visible=True)


def print_table(runs: "pd.DataFrame") -> None:
    """The table of some runs, a caption and a footnote."""
    from harness.report.tables import caption, footnote, method_table

    print_frame(method_table(runs), title=caption(runs))
    console.print(footnote(runs), markup=False, soft_wrap=not console.is_terminal)


def print_frame(cells: "pd.DataFrame", title: str, left: int = 0) -> None:
    """A table of text cells; the first `left` columns are words, like those of some names."""
    table = Table(title=title, title_justify="left", box=None)
    words = ("dataset", "method", "precision", "setting", "metric")
    for number, name in enumerate(cells.columns):
        table.add_column(name, justify="left" if number < left or name in words else "right", no_wrap=True)
    for row in cells.itertuples(index=False):
        table.add_row(*row)
    # A pipe has no width of its own: give the table what it needs.
    wide = Console(highlight=False, width=None if console.is_terminal else 240)
    wide.print(table)


def print_places(specs: "list[RunSpec]", results: Path) -> None:
    """Where results and W&B files lie."""
    from harness.store import RunFolder

    folders = [RunFolder(results, spec.id).path for spec in specs]
    offline = sum(1 for folder in folders for _ in folder.glob("wandb/offline-run-*"))
    console.print(f"Results: {results}/runs/<id>/result.json", markup=False)
    if offline:
        where = f"{results}/runs/*/wandb/offline-run-*"
        console.print(f"W&B: {offline} offline runs, upload with `wandb sync {where}`", markup=False, soft_wrap=True)


def print_failures(failures: "list[Failure]") -> None:
    """Why runs failed: a line for every reason, however many runs share it."""
    counts = Counter(failure.reason for failure in failures)
    for reason, count in counts.items():
        first = next(failure for failure in failures if failure.reason == reason)
        others = f" (and {count - 1} more)" if count > 1 else ""
        errors.print(f"error: {first.spec.name}{others}: {reason} [log: {first.log}]", markup=False)


@cli.command()
@click.argument("names", required=False, metavar="[DATASETS]")
@click.option("--data", "data_root", envvar="DATA", help="Folder that holds the data sets; default $DATA.")
@click.option("--verify", is_flag=True, help="Open every picture of the data sets that are there.")
def data(names: str | None, data_root: str | None, verify: bool) -> None:
    """Tell which data sets are there: layout found, counts beside those expected, missing files, where to get them.

    DATASETS, by comma, may be folder:PATH too; without it all are looked at. Exit code 1 if one that was named, or any
    that is there, is not in order.
    """
    from harness.data.datasets import DATASETS, find_dataset
    from harness.data.status import dataset_status

    asked = separated(names) if names else list(DATASETS)
    for name in asked:
        find_dataset(name)
    in_order = True
    for name in asked:
        status = dataset_status(name, data_root)
        print_status(status)
        broken = print_broken(name, data_root) if verify and status.state in ("ready", "incomplete") else 0
        fine = status.state == "ready" or (status.state == "absent" and not names)
        in_order = in_order and fine and not broken
    if not in_order:
        sys.exit(1)


def print_status(status: "Status") -> None:
    """A data set in a line, and what is not as it should be in lines below."""
    counts = status.counts
    holds = f"{counts.classes} classes, {counts.train}/{counts.val}/{counts.test} train/val/test" if counts else ""
    lines = [f"{status.state:11s}{status.name:17s} {holds or status.problem or 'not found'}"]
    if status.folder:
        lines += [f"found: {line}" for line in (status.folder, *status.layout)]
    if status.differing and status.expected:
        expected = ", ".join(f"{getattr(status.expected, part)} {part}" for part in status.differing)
        lines.append(f"differs: {expected} expected")
    if status.missing:
        lines.append(f"missing: {status.missing} pictures, the first: {', '.join(status.first_missing)}")
    if status.state != "ready":
        lines.append(f"get it: {status.source}")
    for number, line in enumerate(lines):
        console.print(("" if number == 0 else " " * 29) + line, markup=False, soft_wrap=True)


def print_broken(name: str, data_root: str | None) -> int:
    """Open all pictures of a data set, with a progress bar; name the first broken ones and give their number."""
    from harness.data.datasets import read_dataset
    from harness.data.pictures import broken_pictures

    splits = read_dataset(name, data_root)
    pictures = [*splits.train, *splits.val, *splits.test]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"opening {name}", total=len(pictures))
        broken = broken_pictures(
            splits.folder, pictures, lambda done, total: progress.update(task, completed=done, total=total)
        )
    first = "; ".join(f"{item.path} {item.reason}" for item in broken[:5])
    verdict = f"{len(broken)} broken pictures of {len(pictures)}, the first: {first}" if broken else "all pictures open"
    console.print(" " * 29 + verdict, markup=False, soft_wrap=True)
    return len(broken)


@cli.command(name="list")
def list_names() -> None:
    """Name methods, data sets, backbones, protocols and recipes, a line each."""
    from harness.data.datasets import DATASETS
    from harness.plan import PROTOCOLS, recipe_variants
    from harness.registry import method_class, method_names

    for name in method_names():
        about = (sys.modules[method_class(name).__module__].__doc__ or "").strip().splitlines()[0]
        console.print(f"method    {name:22s} {about}", markup=False, soft_wrap=True)
    for dataset in DATASETS.values():
        console.print(f"data set  {dataset.name:22s} {dataset.about}", markup=False, soft_wrap=True)
    own = "your own: a folder of class folders, or of train/ and test/ with class folders in each"
    console.print(f"data set  {'folder:PATH':22s} {own}", markup=False, soft_wrap=True)
    for name, about in backbone_names().items():
        console.print(f"backbone  {name:22s} {about}", markup=False, soft_wrap=True)
    for protocol in PROTOCOLS:
        console.print(f"protocol  {protocol}", markup=False, soft_wrap=True)
    for name in filter(recipe_variants, method_names()):
        console.print(f"recipe    {name:22s} {', '.join(recipe_variants(name))}", markup=False, soft_wrap=True)


def backbone_names() -> dict[str, str]:
    """Backbones worth naming, each with a few words."""
    from harness.clip.backbones import bundled

    return {
        **dict.fromkeys(bundled(), "embedded"),
        "ViT-B-16-quickgelu": "open_clip, OpenAI weights",
        "ViT-B-32-quickgelu": "open_clip, OpenAI weights",
        "ViT-L-14-quickgelu": "open_clip, OpenAI weights",
        "NAME:TAG": "any ViT CLIP of open_clip with a pretrained tag",
        "NAME:/path/to/file": "any ViT CLIP of open_clip with a local checkpoint",
        "NAME:random": "random weights, for measuring costs",
    }


@cli.command()
@click.argument("method", required=False)
def keys(method: str | None) -> None:
    """List the settings that KEY=VALUE can change, with their defaults; with METHOD its options too."""
    from harness.registry import check_method
    from harness.spec import DataSpec, RuntimeSpec, TrainSpec, WandbSpec

    sections: dict[str, Any] = {"data": DataSpec, "train": TrainSpec, "wandb": WandbSpec, "runtime": RuntimeSpec}
    if method:
        check_method(method)
        from harness.registry import method_class

        sections = {method: method_class(method).Config, **sections}
    for section, model in sections.items():
        for name, info in model.model_fields.items():
            key = f"{section}.{info.alias or name}"
            console.print(f"{key}={info.default}".ljust(36), info.description or "", markup=False, soft_wrap=True)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def parity(folder: Path) -> None:
    """Check our methods against reference vectors of the official implementations in DIR.

    Prints the largest error of every method and quantity against its tolerance; exit code 1 if any is over.
    """
    from harness.parity import check_folder

    with console.status("replaying reference vectors") if console.is_terminal else nullcontext():
        comparisons, unknown = check_folder(folder)
    table = Table(box=None)
    for name in ("method", "quantity", "largest error", "tolerance", ""):
        table.add_column(name, justify="right" if name in ("largest error", "tolerance") else "left")
    for item in comparisons:
        table.add_row(
            item.method, item.quantity, f"{item.error:.2e}", f"{item.tolerance:.2e}", "ok" if item.passed else "OVER"
        )
    console.print(table)
    if unknown:
        console.print(f"No such method here: {', '.join(unknown)}", markup=False)
    failed = sum(not item.passed for item in comparisons)
    console.print(f"{len(comparisons) - failed} of {len(comparisons)} quantities within tolerance")
    if failed:
        sys.exit(1)


@cli.command()
@click.argument("methods", required=False)
@OVERRIDES
@click.option("--backbone", help="open_clip name (with random weights), clip-emoji, or NAME:TAG; default ViT-B-16.")
@click.option("--classes", type=int, help="Default 50.")
@click.option("--batch", "batch_size", type=int, help="Pictures a training step; default 4. CoCoOp keeps its 1.")
@click.option("--precision", help="fp32, bf16, fp16 or half; default fp32.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--each/--brief", default=None, help="Also without each speed-up alone, or only all on against all off.")
@RESULTS
def speed(methods: str | None, overrides: tuple[str, ...], device: str, results: Path, **changes: Any) -> None:
    """Measure METHODS with our speed-ups and without: training step, caching pass, inference, exact peak memory.

    Sizes come from experiments/speed.yaml, weights are random, nothing is downloaded. Options of the methods follow as
    KEY=VALUE, such as coop.n_ctx=8. Prints a table with ratios and writes RESULTS/speed/<backbone>-<...>.json.
    """
    if methods and "=" in methods:
        overrides, methods = (methods, *overrides), None
    check_names(methods, None)
    from harness.plan import EXPERIMENTS
    from harness.report.speed_table import NOTE, speed_table
    from harness.run import choose_device
    from harness.spec import parse_overrides, read_yaml, validate
    from harness.speed import Benchmark, SpeedSpec, choose_rows, save
    from harness.store import check_writable

    given = {key: value for key, value in changes.items() if value is not None}
    spec: SpeedSpec = validate(SpeedSpec, {**read_yaml(EXPERIMENTS / "speed.yaml"), **given}, "")
    named = [] if methods in (None, "all") else separated(methods or "")
    spec = choose_rows(spec, named, parse_overrides(overrides))
    check_writable(results)
    measured = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"loading {spec.backbone}", total=None)
        benchmark = Benchmark(spec, choose_device(device))
        progress.update(task, total=benchmark.num_settings)
        for item in benchmark.measure(lambda title: progress.update(task, description=title, advance=1)):
            measured.append(item)
            path = save(results, spec, measured, benchmark.machine)
            if not console.is_terminal:
                console.print(f"measured {item.title}, {item.setting}", markup=False)
    for line in benchmark.left_out:
        errors.print(f"note: {line}", markup=False)
    if not measured:
        raise UserError("nothing could be measured")
    print_frame(speed_table(measured), title=f"{spec.backbone}, {spec.classes} classes, {spec.precision}")
    console.print(NOTE, markup=False, soft_wrap=not console.is_terminal)
    console.print(f"JSON: {path}", markup=False, soft_wrap=True)


from harness.cli_compare import compare  # noqa: E402
from harness.cli_figures import figures  # noqa: E402
from harness.cli_report import report  # noqa: E402
from harness.cli_table import table  # noqa: E402

cli.add_command(compare)
cli.add_command(table)
cli.add_command(figures)
cli.add_command(report)


def main() -> None:
    """Entry point: run the command line, and turn errors into one line and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(MISTAKE)
    except UserError as error:
        fail(str(error), error, MISTAKE)
    except (KeyboardInterrupt, click.Abort) as error:
        fail("stopped; the same command goes on from the last finished epoch", error, INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or ''}", error, 1)


def fail(message: str, error: BaseException, code: int) -> None:
    """Print one line, the traceback only if it was asked for, and leave."""
    if os.environ.get("SKIPBENCH_DEBUG"):
        traceback.print_exception(error)
    errors.print(f"error: {message}", markup=False)
    sys.exit(code)
