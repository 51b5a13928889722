"""`skipbench predict`: the top classes of one's own pictures, by what a finished run has learned."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.completion import complete_ids
from harness.cli.console import RESULTS, console, errors, separated
from harness.data.text_files import read_lines
from harness.errors import UserError
from harness.text import counted

if TYPE_CHECKING:
    from harness.training.predict import Learned, Predictor

SUBSETS = ("all", "base", "new")


@click.command()
@click.argument("target", metavar="CHECKPOINT_OR_RUN", shell_complete=complete_ids)
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PICTURES...")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many classes to name.")
@click.option(
    "--classes",
    help="To choose among: names separated by commas, a file with one name a line, or all, base or new of the run's "
    "data set; default: the classes that the run trained on.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@RESULTS
def predict(
    target: str, pictures: tuple[Path, ...], top: int, classes: str | None, device: str, as_json: bool, results: Path
) -> None:
    """Name the most probable classes of PICTURES, files or folders of them, by what a finished run has learned.

    CHECKPOINT_OR_RUN is the id of a run in RESULTS (its beginning is enough), its folder, or its
    checkpoint.safetensors. Probabilities are the softmax of the method's logits, as evaluations have them. Methods that
    are fitted to their shots, such as tip_adapter, need the training pictures of the run. Exit code 1 if a picture
    could not be read.

    \b
      skipbench predict 59e1 holiday.jpg
      skipbench predict results/runs/59e1c0ffee12 pictures/ --classes "cat,dog,red fox" --json
    """
    from harness.data.pictures import find_problem
    from harness.training.predict import Predictor

    learned = learned_of(target, results)
    files = files_of(pictures)
    problems = {path: problem for path in files if (problem := find_problem(path.parent, path.name))}
    usable = [path for path in files if path not in problems]
    if usable:
        predictor = Predictor(learned, device, names_of(classes, learned))
        best = top_classes(predictor, usable, top)
        show = show_json if as_json else show_lines
        show(predictor, best)
    for path, problem in problems.items():
        errors.print(f"error: picture '{path}' {problem.reason}")
    if problems:
        sys.exit(1)


def learned_of(target: str, results: Path) -> "Learned":
    """What a run has learned that is named by its id, its folder or its checkpoint."""
    from harness.results.index import find_run
    from harness.training.predict import folder_at, learned_by_run, learned_in_file

    path = Path(target)
    if path.is_file():
        return learned_in_file(path)
    if path.is_dir():
        return learned_by_run(folder_at(path))
    if path.name != target:
        raise UserError(f"there is no checkpoint and no folder of a run '{target}'")
    return learned_by_run(find_run(results, target).folder)


def files_of(paths: tuple[Path, ...]) -> list[Path]:
    """The pictures at some paths; those of a folder are all files below it that are pictures by their names."""
    from PIL import Image

    known = Image.registered_extensions().keys()
    found: list[Path] = []
    for path in paths:
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in known) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"folder '{path}' holds no pictures")
        found += inside
    return list(dict.fromkeys(found))


def names_of(classes: str | None, learned: "Learned") -> list[str] | None:
    """The classes that are asked for; None for those of the training."""
    if classes is None:
        return None
    if classes in SUBSETS:
        from harness.training.run_data import RunData

        return RunData(learned.spec, tests=False).class_names(learned.spec.data.dataset, classes)
    path = Path(classes)
    is_file = "," not in classes and path.is_file()
    names = read_lines(path, "") if is_file else separated(classes)
    if len(names := list(dict.fromkeys(filter(None, names)))) < 2:
        raise UserError(f"--classes {classes}: give at least two names to choose among, or a file with one a line")
    return names


def top_classes(predictor: "Predictor", files: list[Path], top: int) -> dict[Path, list[tuple[str, float]]]:
    """Picture -> its most probable classes and their probabilities, the highest first."""
    values, places = predictor.probabilities(files).topk(min(top, len(predictor.class_names)))
    rows = zip(files, values.tolist(), places.tolist(), strict=True)
    names = predictor.class_names
    return {path: [(names[place], value) for value, place in zip(row, at, strict=True)] for path, row, at in rows}


def show_lines(predictor: "Predictor", found: dict[Path, list[tuple[str, float]]]) -> None:
    """Print one line for each picture."""
    console.print(f"{predictor.spec.name}, {counted(len(predictor.class_names), 'class', 'classes')}")
    for path, pairs in found.items():
        told = ", ".join(f"{name} {100 * value:.1f} %" for name, value in pairs)
        console.print(f"{path}: {told}", soft_wrap=True)


def show_json(predictor: "Predictor", found: dict[Path, list[tuple[str, float]]]) -> None:
    """Print everything as JSON."""
    pictures = [
        {"path": str(path), "predictions": [{"class": name, "probability": value} for name, value in pairs]}
        for path, pairs in found.items()
    ]
    about = {"run": predictor.spec.id, "name": predictor.spec.name, "classes": predictor.class_names}
    click.echo(json.dumps({**about, "pictures": pictures}, ensure_ascii=False, indent=2))
