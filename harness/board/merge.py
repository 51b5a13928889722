"""Putting tidy files of several groups together, or saying in one line why they are not comparable."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.board.tidy import REFUSED, TidyRow, in_order, is_same, read_tidy
from harness.errors import UserError
from harness.text import counted

Key = tuple[object, ...]


@dataclass(frozen=True)
class TidyFile:
    """A tidy file that was read.

    Attributes:
        name: what messages call it.
        rows: of it.
    """

    name: str
    rows: tuple[TidyRow, ...]


@dataclass(frozen=True)
class Merged:
    """Several files together.

    Attributes:
        rows: in the order of a file.
        notes: what a reader must know of it, one sentence each.
    """

    rows: tuple[TidyRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Something that must be the same in all files for their numbers to stand in one table.

    Attributes:
        what: that differs, for the message: `the pictures of`, ...
        place: of a row: rows of the same place must agree.
        value: of a row; empty if unknown, which agrees with everything.
        advice: what to do about it.
    """

    what: str
    place: Callable[[TidyRow], str]
    value: Callable[[TidyRow], str]
    advice: str


AGREEMENTS = (
    Agreement("the suite", lambda row: "", lambda row: row.suite, "merge files of one suite"),
    Agreement(
        "the version of SkipBench",
        lambda row: "",
        lambda row: row.minor_version,
        "results of other minor versions may differ (CHANGELOG.md): compute one of them again",
    ),
    Agreement("the backbone", lambda row: "", lambda row: row.backbone, "merge files of one backbone"),
    Agreement(
        "the weights of",
        lambda row: f"backbone {row.backbone}",
        lambda row: row.weights,
        "compute one of them again with the weights of the other",
    ),
    Agreement(
        "the pictures of",
        lambda row: f"{row.evaluated} ({row.protocol}, {row.evaluation})" if row.evaluation else "",
        lambda row: row.pictures,
        "compare the data sets with `skipbench data --verify`",
    ),
    Agreement(
        "the prompt templates of",
        lambda row: (
            f"{row.evaluated} ({row.protocol}, {row.evaluation}; {row.method}, recipe {row.recipe})"
            if row.evaluation
            else ""
        ),
        lambda row: row.template,
        "use the templates of the data sets, or another recipe name",
    ),
)


def merge(files: Sequence[TidyFile]) -> Merged:
    """All rows of some files, each run once.

    Raises:
        UserError: they are not comparable; says in one line why, in which files, and what to do.
    """
    if len(files) < 2:
        raise UserError("merging needs at least two boards: name their folders or their tidy files")
    for file in files:
        if not file.rows:
            raise UserError(f"'{file.name}' holds no number")
    for agreement in AGREEMENTS:
        check_agreement(agreement, files)
    check_samples(files)
    rows, twice = once_each(files)
    check_cells(files)
    return Merged(tuple(in_order(rows)), tuple(notes_of(rows, twice, files)))


def check_agreement(agreement: Agreement, files: Sequence[TidyFile]) -> None:
    """Raise a UserError if two rows of the same place do not agree."""
    first: dict[str, tuple[str, str]] = {}
    for file in files:
        for row in file.rows:
            value = agreement.value(row)
            if not value:
                continue
            place = agreement.place(row)
            known, where = first.setdefault(place, (value, file.name))
            if known != value:
                what = f"{agreement.what} {place}".strip()
                raise UserError(
                    f"not comparable: {what} differs: '{known}' in '{where}', '{value}' in '{file.name}'; "
                    f"{agreement.advice}"
                )


def check_samples(files: Sequence[TidyFile]) -> None:
    """Raise a UserError if two files trained on other pictures under the same data set, shots and seed."""
    first: dict[Key, tuple[set[str], str]] = {}
    for file in files:
        own: dict[Key, set[str]] = defaultdict(set)
        for row in file.rows:
            if row.sample:
                own[row.protocol, row.dataset, row.shots, row.tail, row.seed].add(row.sample)
        for key, samples in own.items():
            known, where = first.setdefault(key, (samples, file.name))
            if not known & samples:
                protocol, dataset, shots, _, seed = key
                raise UserError(
                    f"not comparable: the training pictures of {dataset} ({protocol}, "
                    f"{counted(int(str(shots)), 'shot')}, seed {seed}) differ between '{where}' and '{file.name}': use "
                    "the same data set and index of shots"
                )


def once_each(files: Sequence[TidyFile]) -> tuple[list[TidyRow], set[str]]:
    """The rows of all files, those of a run that several have from the first, and the ids of such runs.

    Raises:
        UserError: the same run has different scores; costs may differ, as machines do.
    """
    found: dict[str, tuple[dict[Key, TidyRow], str]] = {}
    twice: set[str] = set()
    for file in files:
        for run, rows in by_run(file).items():
            known, where = found.setdefault(run, (rows, file.name))
            if known is rows:
                continue
            twice.add(run)
            for key in dict.fromkeys([*known, *rows]):
                one, other = known.get(key), rows.get(key)
                row = one or other
                assert row is not None
                if row.is_score and (one is None or other is None or not is_same(one.value, other.value)):
                    raise UserError(
                        f"not comparable: run {run} ({row.method}, {row.dataset}, seed {row.seed}) has other numbers "
                        f"in '{where}' and '{file.name}' ({shown(row, one)} and {shown(row, other)}): one of them was "
                        "changed, or rounding differs between the machines: compute it again with `skipbench rerun`"
                    )
    return [row for rows, _ in found.values() for row in rows.values()], twice


def by_run(file: TidyFile) -> dict[str, dict[Key, TidyRow]]:
    """Run id -> (evaluation, metric) -> row.

    Raises:
        UserError: a file holds two different numbers in one place.
    """
    found: dict[str, dict[Key, TidyRow]] = {}
    for row in file.rows:
        key = (row.evaluation, row.metric)
        known = found.setdefault(row.run, {}).setdefault(key, row)
        if known != row:
            raise UserError(f"'{file.name}' has two different rows of run {row.run}, {shown(row, row)}: remove one")
    return found


def shown(row: TidyRow, own: TidyRow | None) -> str:
    """A number with what it is, or that there is none."""
    name = " ".join(part for part in (row.metric, row.evaluation) if part)
    return f"no {name}" if own is None else f"{name} {own.value:.4f}" if own.value is not None else name


def check_cells(files: Sequence[TidyFile]) -> None:
    """Raise a UserError if two runs would be the same place of a table, and so would be averaged."""
    first: dict[Key, tuple[str, str]] = {}
    for file in files:
        for row in file.rows:
            place = (row.protocol, row.dataset, row.shots, row.tail, row.label_noise, row.seed, row.sample)
            cell = (*place, row.method, row.recipe, row.precision)
            known, where = first.setdefault(cell, (row.run, file.name))
            if known != row.run:
                files_named = f"'{where}'" if where == file.name else f"'{where}' and '{file.name}'"
                raise UserError(
                    f"not comparable: {row.method} with recipe '{row.recipe}' stands for two settings in {files_named} "
                    f"(runs {known} and {row.run}): give one of the recipes another name"
                )


def notes_of(rows: Iterable[TidyRow], twice: set[str], files: Sequence[TidyFile]) -> list[str]:
    """What a reader of a merged file must know."""
    names = ", ".join(file.name for file in files)
    notes = [f"Merged from {names}: {counted(len({row.run for row in rows}), 'run')}."]
    if twice:
        notes.append(f"{counted(len(twice), 'run')} in several of them: the costs are those of the first.")
    unknown = {row.method for row in rows if row.evaluation and row.metric != REFUSED and not row.pictures}
    if unknown:
        notes.append(f"The test pictures of {', '.join(sorted(unknown))} are not known to be the same.")
    return notes


def read_files(paths: Sequence[Path]) -> list[TidyFile]:
    """Tidy files, or those in the folders of boards.

    Raises:
        UserError: one cannot be read, or is named twice.
    """
    for number, path in enumerate(paths):
        if path.resolve() in {other.resolve() for other in paths[:number]}:
            raise UserError(f"'{path}' is named twice: a board is merged with another one")
    return [TidyFile(str(path), tuple(read_tidy(path))) for path in paths]
