"""Experiment files: those of the user, and those that come with SkipBench, wherever it is installed."""

from pathlib import Path

from harness.errors import UserError, nearest
from harness.experiment.recipes import EXPERIMENTS

SUFFIX = ".yaml"
FOLDER = "experiments"


def shipped_experiments() -> list[str]:
    """Names of the experiments that come with SkipBench, such as bench and paper/base_to_new."""
    paths = [EXPERIMENTS / f"bench{SUFFIX}", *sorted((EXPERIMENTS / "paper").glob(f"*{SUFFIX}"))]
    return [path.relative_to(EXPERIMENTS).with_suffix("").as_posix() for path in paths]


def is_experiment_name(word: str) -> bool:
    """Whether a word names an experiment: a YAML file, or one that comes with SkipBench."""
    return word.endswith((SUFFIX, ".yml")) or word in shipped_experiments()


def find_experiment_file(path: Path) -> Path:
    """The experiment file that a path or a short name means.

    An existing file comes first. `paper/base_to_new` and `experiments/paper/base_to_new.yaml` name a file that comes
    with SkipBench in any folder.

    Raises:
        UserError: there is none; names the nearest of those that come with SkipBench.
    """
    if path.exists():
        return path
    name = path.as_posix().removeprefix(f"{FOLDER}/").removesuffix(SUFFIX)
    if name in shipped_experiments():
        return EXPERIMENTS / f"{name}{SUFFIX}"
    raise UserError(f"'{path}' does not exist.{nearest(name, shipped_experiments())}")


def short_name(path: Path) -> str:
    """An experiment file for messages: the short name of one that comes with SkipBench, or the path."""
    return path.relative_to(EXPERIMENTS).with_suffix("").as_posix() if path.is_relative_to(EXPERIMENTS) else str(path)
