"""What a board holds: its sections, one for each track, with tables, verdicts and figures. Files are made from it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.board.facts import MethodFacts, facts_of, reasons
from harness.board.frame import runs_frame
from harness.board.scores import ScoreTable, score_tables
from harness.board.tables import all_tables, cost_metrics, track_tables
from harness.board.tidy import TidyRow
from harness.board.verdict import Verdict, verdict_of
from harness.report.display_names import display_name
from harness.report.figures import Figure, accuracy_against
from harness.report.runs import in_order
from harness.report.table import DIGITS, Table
from harness.report.tracks import Track
from harness.results.folder import DONE
from harness.results.index import StoredRun
from harness.text import counted

RANKED = frozenset(track.value for track in Track if track.is_ranked)


@dataclass(frozen=True)
class Part:
    """One protocol in one track.

    Attributes:
        title: for readers.
        standings: how the methods stand.
        verdicts: what may be said of them.
        papers: the tables of a paper.
    """

    title: str
    standings: tuple[Table, ...]
    verdicts: tuple[Verdict, ...]
    papers: tuple[Table, ...]


@dataclass(frozen=True)
class Section:
    """One track.

    Attributes:
        anchor: for links.
        title: heading of the track.
        about: what belongs to it.
        parts: one for each protocol.
    """

    anchor: str
    title: str
    about: str
    parts: tuple[Part, ...]

    @property
    def tables(self) -> list[Table]:
        """All tables, those of verdicts among them."""
        found: list[Table] = []
        for part in self.parts:
            found += [*part.standings, *part.papers, *(table for one in part.verdicts for table in one.tables)]
        return found


@dataclass(frozen=True)
class Board:
    """A whole board.

    Attributes:
        title, about: for readers.
        facts: name and value of what is told first.
        notes: what a reader must know first, one sentence each.
        sections: one for each track, the cleanest first.
        figures: accuracy against costs.
        names: of all methods, for their colours.
        methods: what is known of them.
        reasons: why runs are not in a cleaner track.
        leaders: the highest score of every track, one sentence for each experiment.
    """

    title: str
    about: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    figures: tuple[Figure, ...] = ()
    names: tuple[str, ...] = ()
    methods: tuple[MethodFacts, ...] = ()
    reasons: tuple[tuple[str, str, str], ...] = ()
    leaders: tuple[str, ...] = ()

    @property
    def tables(self) -> list[Table]:
        """All tables."""
        return [table for section in self.sections for table in section.tables]


def make_board(
    title: str, about: str, rows: Sequence[TidyRow], incomplete: Sequence[StoredRun] = (), notes: Iterable[str] = ()
) -> Board:
    """The board of some tidy rows.

    Args:
        title, about: for readers.
        rows: at least one.
        incomplete: runs of the suite without a result.
        notes: to be told first.
    """
    runs = runs_frame(rows, incomplete)
    scores = score_tables(runs, RANKED)
    tracks = track_tables(runs, scores)
    sections = []
    order = {track.value: place for place, track in enumerate(Track)}
    headings = {(order.get(one.track, len(order)), one.heading): one.track for one in tracks if one.track}
    for (_, heading), track in sorted(headings.items()):
        parts = []
        for one in tracks:
            if one.heading == heading:
                own = [table for table in scores if (table.protocol.name, table.heading) == (one.protocol, heading)]
                verdicts = tuple(verdict_of(table) for table in own if len(table.values) > 1)
                parts.append(Part(one.protocol, one.standings, verdicts, one.papers))
        sections.append(Section(f"track-{slug(heading)}", heading, sentence(Track(track).about), tuple(parts)))
    done = runs[runs["state"] == DONE]
    names = in_order(sorted(done["label"]))
    return Board(
        title=title,
        about=about,
        facts=tuple(facts(runs)),
        notes=(*notes, *missing_notes(runs), *version_notes(done)),
        sections=tuple(sections),
        figures=tuple(cost_figures(all_tables(tracks))),
        names=tuple(names),
        methods=tuple(facts_of(sorted(set(map(str, done["method"]))))),
        reasons=tuple(reasons(runs)),
        leaders=tuple(leaders(scores)),
    )


def slug(text: str) -> str:
    """A text as an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def sentence(text: str) -> str:
    """A text as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def facts(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """What is told first."""
    done = runs[runs["state"] == DONE]

    def short(column: str, most: int = 6) -> str:
        known = in_order(sorted(done[column].dropna(), key=lambda value: (str(type(value)), value)))
        return ", ".join(known) if len(known) <= most else str(len(known))

    # One run that is in several tracks for want of a result is one run.
    total = runs["id"].nunique()
    return [
        ("runs", f"{done['id'].nunique()} of {total}"),
        ("methods", str(done["method"].nunique())),
        ("data sets", short("dataset", 3)),
        ("protocols", str(done["protocol"].nunique())),
        ("seeds", short("seed")),
        ("backbone", short("backbone")),
        ("device", short("device")),
    ]


def missing_notes(runs: pd.DataFrame) -> list[str]:
    """Which methods lack runs, and in which protocols nothing is there at all."""
    left = runs[runs["state"] != DONE].drop_duplicates("id")
    if left.empty:
        return []
    states = left["state"].value_counts(sort=False).sort_index()
    each = [f"{counted(int(count), 'run')} {state}" for state, count in states.items()]
    notes = [f"Not complete: {', '.join(each)}."]
    done = runs[runs["state"] == DONE]
    for protocol in in_order(left["protocol"]):
        own = left[left["protocol"] == protocol]
        there = set(done.loc[done["protocol"] == protocol, "method"])
        absent = [method for method in in_order(own["method"]) if method not in there]
        if not there:
            notes.append(f"Of {protocol} nothing is there yet.")
        elif absent:
            notes.append(f"Without any result under {protocol}: {', '.join(map(display_name, absent))}.")
    return notes


def leaders(scores: Sequence[ScoreTable]) -> list[str]:
    """The method with the highest score of every track, for every experiment; only tracks that are ranked.

    Whether others are separable from it stands in the tests of the track.
    """
    found: dict[str, list[tuple[float, str]]] = {}
    for table in scores:
        for label, mean in list(table.means().items())[:1] if table.is_ranked else ():
            one = (-mean, f"{label} {mean:.{DIGITS}f} ({table.heading})")
            found.setdefault(f"{table.protocol.name}, {table.where}, {table.score}", []).append(one)
    return [f"{where}: {'; '.join(words for _, words in sorted(several))}." for where, several in found.items()]


def version_notes(done: pd.DataFrame) -> list[str]:
    """That results of several minor versions stand side by side, which the CHANGELOG allows for equal ids only."""
    versions = sorted(set(done["minor"].dropna()))
    if len(versions) < 2:
        return []
    return [
        f"Results of SkipBench {' and '.join(versions)} stand side by side: their ids say that the later version would "
        "compute the same; boards of different minor versions cannot be merged (CHANGELOG.md)."
    ]


def cost_figures(tables: Sequence[Table]) -> list[Figure]:
    """Accuracy against memory and against time, for every table of a paper with at least two methods."""
    found = []
    for table in tables:
        if not table.name.startswith("standing") and len(table.columns) > 1:
            found += [accuracy_against(table, metric) for metric in cost_metrics()]
    return [figure for figure in found if any(len(panel.series) > 1 for panel in figure.panels)]
