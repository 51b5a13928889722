"""The command that measures the speed-ups."""

from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from harness.cli.console import OVERRIDES, RESULTS, console, errors, print_frame, separated
from harness.cli.grid import check_names
from harness.errors import UserError


@click.command()
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
    from harness.experiment.recipes import EXPERIMENTS
    from harness.experiment.settings import parse_overrides, read_yaml, validate
    from harness.machine.device import choose_device
    from harness.reference.speed.benchmark import Benchmark
    from harness.reference.speed.measurement import save
    from harness.reference.speed.spec import SpeedSpec, choose_rows
    from harness.report.speed_table import NOTE, speed_table
    from harness.results.files import check_writable

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
