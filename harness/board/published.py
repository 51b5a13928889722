"""Published tables through the same tests: one table of one source at a time, for each backbone and number of shots."""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from harness.board.contents import Board, Part, Section, sentence, slug
from harness.board.facts import facts_of
from harness.board.verdict import verdict
from harness.errors import UserError, nearest
from harness.experiment.protocols import PROTOCOLS, Layout, Protocol
from harness.experiment.registry import method_names
from harness.report.cells import ranked
from harness.report.display_names import display_name
from harness.report.figures import UNTRAINED
from harness.report.paper_tables import file_name
from harness.report.published import read_published
from harness.report.published_rows import Kind, kind_text
from harness.report.runs import groups, in_order
from harness.report.table import AVERAGE, Cell, Table
from harness.results.metrics import ACCURACY
from harness.statistics.scores import Scores
from harness.text import counted

TRUSTED = (Kind.PRINTED, Kind.RERUN)
"""Kinds of numbers that are taken where no source is named."""
FEWEST_METHODS, FEWEST_DATASETS = 2, 2


def published_board(source: str | None = None) -> Board:
    """The board of published numbers.

    Of each protocol, backbone and number of shots one table of one source is taken: the one with the most numbers that
    are printed or were run again, or the one that is named. Zero-shot CLIP, which is the same for all, is added to a
    table without it, and the notes tell its source. Tables of a single data set are left out.

    Args:
        source: a part of the name of a source, in any case; None: of each table the source with the most numbers.

    Raises:
        UserError: no source has this name, or none with at least two methods.
    """
    of_protocols = {
        protocol.name: read_published(protocol.name) for protocol in PROTOCOLS.values() if protocol.published
    }
    if source is not None:
        check_source(source, of_protocols.values())
    sections = []
    for name, rows in of_protocols.items():
        protocol = PROTOCOLS[name]
        own = scores_in(protocol, rows)
        trained = own[own["shots"] > 0].sort_values("shots", kind="stable")
        parts = [
            part
            for (backbone, shots), group in groups(trained, "backbone", "shots")
            if (chosen := choose(group, source)) is not None
            for part in [part_of(protocol, chosen, own, str(backbone), int(shots))]
            if part is not None
        ]
        if parts:
            sections.append(Section(slug(name), name, sentence(protocol.about), tuple(parts)))
    if not sections:
        raise UserError(f"source '{source}' has no table with at least two methods on the same data sets")
    names = {column for section in sections for table in section.tables for column in table.columns}
    known = [name for name in method_names() if display_name(name) in names]
    return Board(
        title="Published numbers, tested",
        about="Numbers of papers through the tests of a board: what their tables allow one to say.",
        facts=(
            ("protocols", ", ".join(section.title for section in sections)),
            ("tables", str(sum(len(section.parts) for section in sections))),
            ("source", source or "of each table the one with the most numbers"),
        ),
        notes=(
            "Nobody can say here on which pictures the settings behind published numbers were chosen: what the "
            "official code does stands under Methods, where the project has a card.",
            "Tables of a single data set are left out: nothing can be said over data sets there.",
            "Papers give means over seeds and no values of single seeds: intervals over seeds cannot be given.",
        ),
        sections=tuple(sections),
        methods=tuple(facts_of(known)),
    )


def check_source(source: str, several: Iterable[pd.DataFrame]) -> None:
    """Raise a UserError if no source has such a name; names the nearest."""
    known = sorted({str(name) for rows in several for name in rows["source"]})
    if not any(source.lower() in name.lower() for name in known):
        first = [name.partition(",")[0] for name in known]
        raise UserError(f"no published number is of a source '{source}'.{nearest(source, [*known, *first])}")


def scores_in(protocol: Protocol, rows: pd.DataFrame) -> pd.DataFrame:
    """The numbers that methods are ranked by, without averages: columns of `PublishedAccuracy` and label."""
    metric = protocol.headline if protocol.layout == Layout.PARTS else ACCURACY
    own = rows[(rows["metric"] == metric) & ~rows["dataset"].str.startswith(AVERAGE)]
    labels = [
        f"{display_name(method)} ({variant})" if variant else display_name(method)
        for method, variant in zip(own["method"], own["variant"], strict=True)
    ]
    return own.assign(label=labels)


def choose(rows: pd.DataFrame, source: str | None) -> pd.DataFrame | None:
    """The numbers of one source; None if there is none with two methods on two data sets or more.

    Args:
        rows: of one protocol, backbone and number of shots.
        source: as in `published_board`; of several sources with this name the one with the most numbers.
    """
    if source is None:
        rows = rows[rows["kind"].isin(TRUSTED)]
    else:
        rows = rows[rows["source"].str.lower().str.contains(source.lower(), regex=False)]
    rows = rows[rows["kind"] != Kind.COMPUTED]
    several = [own for _, own in groups(rows, "source") if own["label"].nunique() >= FEWEST_METHODS]

    def size(own: pd.DataFrame) -> tuple[int, str]:
        # One series of each method counts: who ran one method many times does not compare more methods.
        return len(own.drop_duplicates(["method", "dataset"])), str(own["source"].iloc[0])

    return max(several, key=size, default=None)


def part_of(
    protocol: Protocol, chosen: pd.DataFrame, everything: pd.DataFrame, backbone: str, shots: int
) -> Part | None:
    """The table of one source, and what it allows one to say; None if no two methods share two data sets.

    Args:
        protocol: of the numbers.
        chosen: those of the source.
        everything: all numbers of the protocol, for methods that need no training image.
        backbone: of the numbers.
        shots: training images a class.
    """
    source = str(chosen["source"].iloc[0])
    unseen = everything[(everything["shots"] == 0) & (everything["backbone"] == backbone)]
    free = unseen[unseen["source"] == source]
    if UNTRAINED not in {*chosen["method"], *free["method"]}:
        own = unseen[(unseen["method"] == UNTRAINED) & unseen["kind"].isin(TRUSTED)]
        free = pd.concat([longest(own), free])
    rows = pd.concat([free, chosen])
    values = {
        label: {str(row["dataset"]): float(row["value"]) for _, row in rows[rows["label"] == label].iterrows()}
        for label in in_order(rows["label"])
    }
    whole = Scores.complete(values)
    if len(whole.scores.methods) < FEWEST_METHODS or len(whole.scores.units) < FEWEST_DATASETS:
        return None
    metric = protocol.headline if protocol.layout == Layout.PARTS else ACCURACY
    title = f"{metric}, {backbone}, {counted(shots, 'shot')}: {source}"
    name = file_name([protocol.name, backbone, f"{shots}shot"])
    notes = notes_of(chosen, free, metric)
    table = published_table(values, f"published-{name}", f"{protocol.name}, {title}", notes)
    tested = verdict(f"tests-{name}", f"Tests: {protocol.name}, {title}", whole.scores, whole.left_out)
    return Part(title, (), (tested,), (table,))


def longest(rows: pd.DataFrame) -> pd.DataFrame:
    """The numbers of the source with the most of them."""
    several = [own for _, own in groups(rows, "source")]
    return max(several, key=lambda own: (len(own), str(own["source"].iloc[0])), default=rows)


def published_table(values: dict[str, dict[str, float]], name: str, title: str, notes: tuple[str, ...]) -> Table:
    """Data sets x methods, with the mean of those methods that have all data sets."""
    datasets = list(dict.fromkeys(dataset for row in values.values() for dataset in row))
    cells = [Cell(dataset, "", label, row.get(dataset)) for dataset in datasets for label, row in values.items()]
    for label, row in values.items():
        mean = sum(row.values()) / len(datasets) if len(row) == len(datasets) else None
        cells.append(Cell(AVERAGE, "", label, mean))
    found = Table(name, title, ("data set", ""), ranked(cells), pd.DataFrame(), {}, notes=notes)
    return replace(found, notes=("Bold: best of its row, underlined: second.", *notes))


def notes_of(chosen: pd.DataFrame, free: pd.DataFrame, metric: str) -> tuple[str, ...]:
    """Where the numbers come from, and which are doubtful."""
    kinds = ", ".join(kind_text(kind) for kind in in_order(chosen["kind"]))
    notes = [f"{metric} in percent; published, not ours; {kinds}: {chosen['source'].iloc[0]}."]
    for source, own in groups(free, "source"):
        notes.append(f"{', '.join(in_order(own['label']))} need no training image: {source}.")
    doubtful = chosen[chosen["doubt"] != ""]
    for doubt, own in groups(doubtful, "doubt"):
        each = [f"{row['label']} on {row['dataset']}" for _, row in own.iterrows()]
        notes.append(f"Doubtful ({doubt}): {', '.join(each)}.")
    return tuple(notes)
