"""A suite: a YAML file that lists the experiments of which one board is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.errors import UserError, nearest
from harness.experiment.axes import Kind, values_of
from harness.experiment.grid import EVERY_METHOD, Experiment, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import check_method, method_names
from harness.experiment.settings import Section, Settings, merge, read_yaml, validate

SUITES = EXPERIMENTS / "suites"
SUFFIX = ".yaml"


class SuiteEntry(Section):
    """One experiment of a suite."""

    file: str = Field("bench", description="experiment file, or the short name of one that comes with SkipBench")
    changes: Settings = Field({}, description="keys of the experiment that differ from its file")
    quick: Settings | Literal[False] = Field({}, description="its changes under --quick; false leaves it out")


class SuiteFile(Section):
    """The content of a suite file."""

    title: str = Field(min_length=1)
    about: str = ""
    changes: Settings = Field({}, description="changes of every experiment")
    quick: Settings = Field({}, description="changes of every experiment under --quick")
    experiments: tuple[SuiteEntry, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Suite:
    """A suite as it is to be run.

    Attributes:
        name: of its file.
        title, about: for readers.
        experiments: in the order of the file, each with the methods that were asked for.
        is_quick: whether it is the quick form.
    """

    name: str
    title: str
    about: str
    experiments: tuple[Experiment, ...]
    is_quick: bool = False


def suite_names() -> list[str]:
    """Names of the suites that come with SkipBench."""
    return sorted(path.stem for path in SUITES.glob(f"*{SUFFIX}"))


def find_suite_file(name: str) -> Path:
    """The file of a suite: a path, or the name of one that comes with SkipBench.

    Raises:
        UserError: there is none; names the nearest.
    """
    path = Path(name)
    if path.is_file():
        return path
    if name.removesuffix(SUFFIX) in suite_names():
        return SUITES / f"{name.removesuffix(SUFFIX)}{SUFFIX}"
    known = suite_names()
    raise UserError(f"there is no suite '{name}': use {', '.join(known)}, or a file.{nearest(name, known)}")


def read_suite(
    name: str,
    quick: bool = False,
    methods: str | None = None,
    changes: Settings | None = None,
    overrides: Settings | None = None,
) -> Suite:
    """A suite with what the command line changes.

    Args:
        name: of a suite that comes with SkipBench, or a path.
        quick: whether its quick form is meant.
        methods: separated by commas; None: those of the suite. Each takes part in the experiments that name it, and in
            all of them if none does, as a method of one's own.
        changes: keys of all experiments, such as seeds.
        overrides: settings of runs.

    Raises:
        UserError: no such suite, an unknown key, method, data set or protocol, or no experiment is left.
    """
    path = find_suite_file(name)
    content: SuiteFile = validate(SuiteFile, read_yaml(path), f"'{path}': ")
    asked = asked_methods(methods)
    experiments: list[Experiment] = []
    for entry in content.experiments:
        if quick and entry.quick is False:
            continue
        layers: list[Settings] = [content.changes, entry.changes]
        layers += [content.quick, entry.quick or {}] if quick else []
        found = load_experiment(Path(entry.file), merge(*layers, changes or {}), f"suite {path.stem}")
        experiments.append(found.with_settings(overrides or {}))
    experiments = with_methods(experiments, asked)
    if not experiments:
        raise UserError(f"suite '{path.stem}' has no experiment {'in its quick form' if quick else ''}".rstrip())
    return Suite(path.stem, content.title, " ".join(content.about.split()), tuple(experiments), quick)


def asked_methods(methods: str | None) -> tuple[str, ...] | None:
    """The methods of a list separated by commas; None for those of the suite.

    Raises:
        UserError: one that does not exist; names the nearest.
    """
    if methods is None:
        return None
    names: tuple[Any, ...] = values_of("methods", methods, Kind.WORD)
    if names == (EVERY_METHOD,):
        return tuple(method_names())
    return tuple(dict.fromkeys(check_method(str(one)) for one in names))


def with_methods(experiments: Sequence[Experiment], asked: tuple[str, ...] | None) -> list[Experiment]:
    """Experiments with the methods that were asked for; those without any are left out."""
    if asked is None:
        return list(experiments)
    named = {method for one in experiments for method in one.methods}
    found = []
    for experiment in experiments:
        own = tuple(name for name in asked if name in experiment.methods or name not in named)
        if own:
            found.append(experiment.model_copy(update={"methods": own}))
    return found
