"""`skipbench speed`: what the speed-ups bring."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.console import RESULTS, console, counting_bars, errors, print_frame, separated
from harness.cli.grid import METHODS_AND_SETTINGS, Words
from harness.errors import UserError
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import check_method
from harness.experiment.settings import parse_overrides, read_yaml
from harness.results.files import check_writable
from harness.text import counted

if TYPE_CHECKING:
    from harness.reference.speed.spec import SpeedSpec

EVERY_METHOD = "all"
# Settings of runs, and short words, that are keys of what is measured.
KEYS = {"batch": "batch_size", "train.batch_size": "batch_size", "train.precision": "precision"}


@click.command()
@METHODS_AND_SETTINGS
@click.option("--backbone", help="open_clip name (with random weights), clip-emoji, or NAME:TAG; default ViT-B-16.")
@click.option("--classes", help="Default 50.")
@click.option(
    "--batch",
    "batch_size",
    help="Images per training step; default: that of the backbone's own recipe, else 4 (CoCoOp always 1).",
)
@click.option("--precision", help="fp32, tf32, bf16, fp16 or half; default fp32.")
@click.option("--pairs", help="Fewest pairs of timings, off beside on; default 5.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--each/--brief", default=None, help="Also without each speed-up alone, or only all on against all off.")
@RESULTS
def speed(words: Words, device: str, results: Path, **options: Any) -> None:
    """Measure METHODS with our speed-ups and without: training step, epoch, caching pass, inference, exact peak memory.

    Off and on are timed in turn, in CPU seconds beside wall seconds; where the pairs of timings disagree, their range
    is printed and no ratio. Sizes come from experiments/speed.yaml, options from the recipes that `bench` would use;
    weights are random (but those of clip-emoji), nothing is downloaded. Options of the methods follow as KEY=VALUE,
    such as coop.n_ctx=8, and with several values each has its rows: skip.depth=0..12..4. Options of this command with
    several values, such as --precision fp32,bf16, make tables for each. Writes RESULTS/speed/<backbone>-<...>.json.
    """
    methods = [] if words.first in (None, EVERY_METHOD) else separated(words.first or "")
    for name in methods:
        check_method(name)
    from harness.reference.speed.spec import SpeedSpec, choose_rows, vary

    pairs = [(KEYS.get(key, key), value) for key, _, value in (word.partition("=") for word in words.settings)]
    settings = parse_overrides([f"{key}={value}" if value else key for key, value in pairs])
    changes = {key: settings.pop(key) for key in SpeedSpec.model_fields.keys() & settings.keys()}
    changes |= {key: value for key, value in options.items() if value is not None}
    content = read_yaml(EXPERIMENTS / "speed.yaml")
    own_batch = "batch_size" in changes
    specs = [choose_rows(spec, methods, settings, not own_batch) for spec in vary(content, changes)]
    check_writable(results)
    several_batches = len({spec.batch_size for spec in specs}) > 1
    for spec in specs:
        batch = f"batch size {spec.batch_size}, " if several_batches else ""
        measure(
            spec,
            f"{spec.backbone}, {counted(spec.classes, 'class', 'classes')}, {batch}{spec.precision}",
            device,
            results,
        )


def measure(spec: "SpeedSpec", title: str, device: str, results: Path) -> None:
    """Measure what a spec says, write it and print its table.

    Raises:
        UserError: nothing could be measured.
    """
    from harness.machine.device import choose_device
    from harness.reference.speed.benchmark import Benchmark
    from harness.reference.speed.measurement import save
    from harness.report.speed_table import NOTE, load_line, refusals, settings_lines, speed_tables

    measured = []
    with counting_bars() as progress:
        task = progress.add_task(f"loading {spec.backbone}", total=None, news="")
        benchmark = Benchmark(spec, choose_device(device))
        progress.update(task, total=benchmark.num_settings)
        for item in benchmark.measure(lambda title: progress.update(task, description=title, advance=1)):
            measured.append(item)
            path = save(results, spec, measured, benchmark.machine, benchmark.load)
            if not console.is_terminal:
                console.print(f"measured {item.title}, {item.setting}", markup=False)
    for line in benchmark.left_out:
        errors.print(f"note: {line}", markup=False)
    if not measured:
        raise UserError("nothing could be measured")
    for name, table in speed_tables(measured).items():
        print_frame(table, title=f"{title}: {name}")
    for line in (NOTE, *settings_lines(spec), load_line(benchmark.load, benchmark.machine), *refusals(measured)):
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    console.print(f"JSON: {path}", markup=False, soft_wrap=True)
