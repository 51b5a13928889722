"""How the methods of some results stand, for pages beside that of a board: the same tables, without tests."""

from collections.abc import Iterable

from harness.board.contents import RANKED, sentence
from harness.board.frame import runs_frame
from harness.board.scores import score_tables
from harness.board.tables import cleaner_than, standing
from harness.board.tidy import TidyRow, in_order, rows_of
from harness.report.page import Standings
from harness.report.table import Table
from harness.report.tracks import Track
from harness.results.record import Result

# Further runs make a page slow to write, and are what a board is for.
MOST_RUNS = 2_000
ABOUT = "Methods are ranked within a track only: with those for which as much was chosen on as many pictures."


def standings_of(results: Iterable[Result]) -> Standings:
    """The standings of finished runs, track by track; empty where no track has two methods.

    Args:
        results: of runs of one suite or of any others; those of several backbones stand apart.
    """
    rows: dict[str, list[TidyRow]] = {}
    for result in results:
        rows.setdefault(result.spec.backbone, []).extend(rows_of("", result))
    tracks = []
    for backbone, own in rows.items():
        for heading, about, tables in tracks_of(in_order(own)):
            title = f"{heading}, {backbone}" if len(rows) > 1 else heading
            tracks.append((title, about, tables))
    return Standings(tuple(tracks), (ABOUT,) if tracks else ())


def tracks_of(rows: Iterable[TidyRow]) -> list[tuple[str, str, tuple[Table, ...]]]:
    """Heading, what belongs to it, and standings of the tracks with at least two methods, the cleanest first."""
    order = list(Track)
    scores = score_tables(runs_frame(rows), RANKED)
    found: dict[tuple[int, str], list[Table]] = {}
    for one in scores:
        if len(one.values) > 1:
            place = (order.index(Track(one.track)), one.heading)
            found.setdefault(place, []).append(standing(one, cleaner_than(one, scores)))
    return [(heading, sentence(order[place].about), tuple(own)) for (place, heading), own in sorted(found.items())]
