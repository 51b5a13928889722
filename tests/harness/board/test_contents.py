"""A whole board of made-up numbers: scores, standings, tests, the page, and its files byte for byte."""

import re
from pathlib import Path

import pytest

from harness.board.contents import Board, make_board
from harness.board.frame import runs_frame
from harness.board.scores import score_tables
from harness.board.tables import track_tables
from harness.board.tidy import read_tidy
from harness.board.write import write_board
from harness.experiment.grid import expand, load_experiment
from harness.report.table import Cell, Table
from harness.results.folder import RunFolder
from harness.results.index import StoredRun
from tests.harness.board.rows import BUDGET, DATASETS, base_to_new, row

SKIP, MAPLE, COOP, ZEROSHOT = "Skip Tuning", "MaPLe", "CoOp", "Zero-shot CLIP"
REFERENCE = f"{ZEROSHOT} (for reference: training-free)"


@pytest.fixture(scope="module")
def board() -> Board:
    return make_board("A <board>", "about", base_to_new())


@pytest.fixture(scope="module")
def folder(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    write_board(board, folder, base_to_new())
    return folder


def equal_budget(board: Board) -> Table:
    (section,) = [one for one in board.sections if one.title == BUDGET["heading"]]
    (table,) = section.parts[0].standings
    return table


def cells(table: Table, row_name: str) -> dict[str, Cell]:
    return {cell.column: cell for cell in table.cells if row_name in (cell.block, cell.row)}


def test_a_score_is_h_of_the_mean_accuracies_over_seeds() -> None:
    runs = runs_frame(base_to_new())
    (table,) = [one for one in score_tables(runs, frozenset([BUDGET["track"]])) if one.is_ranked]
    base, new = 50 + 9 + 0.15, 50 + 9 + 4 + 0.15
    assert table.values[SKIP]["set0"] == pytest.approx(2 * base * new / (base + new))
    assert table.units == DATASETS
    assert len(table.seeds_of(SKIP)) == 2
    whole = table.complete()
    assert whole is not None
    assert (whole[0].methods, whole[0].seeds, whole[1]) == ((COOP, MAPLE, SKIP), 2, ())


def test_what_lacks_a_data_set_is_left_out_and_told() -> None:
    # The larger share of what would be lost goes: coop lacks two thirds of its data sets.
    rows = [one for one in base_to_new() if one.method != "coop" or one.dataset in DATASETS[:2]]
    (table,) = [one for one in score_tables(runs_frame(rows), frozenset([BUDGET["track"]])) if one.is_ranked]
    whole = table.complete()
    assert whole is not None
    assert whole[0].methods == (MAPLE, SKIP)
    assert "CoOp lacks 4 of 6" in whole[1][0]


def test_methods_are_ranked_in_their_track_and_those_of_cleaner_tracks_stand_below(board: Board) -> None:
    assert [one.title for one in board.sections] == ["training-free", BUDGET["heading"]]
    table = equal_budget(board)
    assert table.columns == [SKIP, MAPLE, COOP, REFERENCE]
    scores = cells(table, "H, mean of 6 data sets")
    assert {name: cell.rank for name, cell in scores.items()} == {COOP: 0, MAPLE: 2, SKIP: 1, REFERENCE: 0}
    assert scores[REFERENCE].mean is not None
    ranks = cells(table, "mean rank")
    assert {name: cell.mean for name, cell in ranks.items()} == {COOP: 3.0, MAPLE: 2.0, SKIP: 1.0}
    # Of a track that is cleaner than all others, nothing stands below.
    (first,) = board.sections[0].parts[0].standings
    assert first.columns == [ZEROSHOT]


def test_runs_that_are_missing_leave_the_numbers_of_the_others_as_they_are(tmp_path: Path) -> None:
    (spec,) = expand(load_experiment(Path("bench"), {"methods": ["finetune"], "seeds": [3]}))
    missing = StoredRun(RunFolder(tmp_path, spec.id), spec)
    frames = runs_frame(base_to_new()), runs_frame(base_to_new(), [missing])
    whole, partly = (track_tables(frame[frame["track_name"] != ""], []) for frame in frames)
    for one, other in zip(whole, partly, strict=True):
        numbers = [[(cell.mean, cell.std, cell.seeds) for cell in found.papers[0].cells] for found in (one, other)]
        assert numbers[0] == numbers[1]
    assert any(cell.seeds == 2 for cell in whole[1].papers[0].cells)


def test_two_samples_of_one_seed_are_two_draws() -> None:
    rows = [row(value=50.0), row(value=52.0, run="2", sample="b", sample_seed=2)]
    (table,) = score_tables(runs_frame(rows), frozenset(["validation-free"]))
    assert sorted(table.seeds_of(SKIP)) == [50.0, 52.0]


def test_a_method_without_a_score_has_no_row_but_a_sentence() -> None:
    refused = row(run="2", method="coop", metric="refused", value=None, unit="")
    (part,) = make_board("b", "", [row(), refused]).sections[0].parts
    assert part.standings[0].columns == [SKIP]
    assert any("Without a row" in note and COOP in note for note in part.standings[0].notes)
    assert part.verdicts == ()


def test_the_highest_score_of_every_track_is_told_first(board: Board, folder: Path) -> None:
    (sentence,) = board.leaders
    assert sentence.startswith("base_to_new, 16 shots, H: Skip Tuning ")
    assert sentence.index("Skip Tuning") < sentence.index("Zero-shot CLIP")
    assert sentence in (folder / "index.html").read_text()


def test_those_that_are_at_the_front_of_score_against_a_cost_are_marked(board: Board) -> None:
    (name,) = {cell.row for cell in equal_budget(board).cells if cell.row.startswith("adapt s")}
    assert {one: cell.mark for one, cell in cells(equal_budget(board), name).items() if cell.mark} == {
        COOP: "◆", MAPLE: "◆", SKIP: "◆"
    }  # fmt: skip


def test_a_verdict_says_what_may_be_said(board: Board) -> None:
    (found,) = board.sections[1].parts[0].verdicts
    assert list(found.sentences) == [SKIP, MAPLE, COOP]
    assert "3 methods on 6 data sets" in found.summary[0]
    assert any("cannot be said" in sentence and "2 seeds" in sentence for sentence in found.sentences[SKIP])
    assert [figure.name.rpartition("-")[2] for figure in found.figures] == ["ranks", "pairs"]
    best, pairs = found.tables
    assert {cell.row: cell.mean for cell in best.cells if cell.column == "wins"} == {MAPLE: 6, COOP: 6}
    assert {(cell.row, cell.column) for cell in pairs.cells if cell.mean is not None and cell.mean > 0} == {
        (SKIP, MAPLE), (SKIP, COOP), (MAPLE, COOP)
    }  # fmt: skip


def test_one_data_set_or_a_track_that_is_not_ranked_is_not_tested() -> None:
    (one,) = make_board("b", "", [row(), row(run="2", method="coop")]).sections[0].parts[0].verdicts
    assert "no test over data sets" in one.summary[0]
    lax = {"track": "as published", "heading": "as published"}
    (part,) = make_board("b", "", [row(**lax), row(**lax, run="2", method="coop")]).sections[0].parts
    assert "Not tested" in part.verdicts[0].summary[0]
    assert not any(cell.rank for table in (*part.standings, *part.papers) for cell in table.cells)


def test_recipes_and_conditions_of_one_track_are_told_apart() -> None:
    rows = [
        row(),
        row(run="2", recipe="other"),
        row(run="3", label_noise=0.25, method="coop"),
        row(run="4", method="coop"),
    ]
    labels = set(runs_frame(rows)["label"])
    assert labels == {f"{SKIP} (official)", f"{SKIP} (other)", f"{COOP} (0.25)", f"{COOP} (0.0)"}


def test_versions_that_cannot_be_merged_may_stand_in_one_folder_with_a_note() -> None:
    (note,) = make_board("b", "", [row(), row(run="2", method="coop", version="0.1.3")]).notes
    assert "0.1 and 0.2 stand side by side" in note


def test_the_page_stands_alone_and_can_be_reached_by_keyboard(folder: Path) -> None:
    page = (folder / "index.html").read_text()
    assert "<h1>A &lt;board&gt;</h1>" in page
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    links = re.findall(r'<a[^>]*href="#([^"]+)"', page)
    assert links
    assert all(f'id="{anchor}"' in page for anchor in links)
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert page.count('<p class="drawn"><img') == 2
    assert all(len(words) > 40 for words in re.findall(r'<img [^>]*alt="([^"]*)"', page))
    # A summary is reached with Tab as it is; nothing takes its place in the order of the page from it.
    assert page.count("<details") == page.count("<summary>") > 0
    assert not re.search(r'tabindex="(?!0|-1)', page)


def test_files_are_the_same_byte_for_byte_whatever_the_order_of_rows(folder: Path, tmp_path: Path) -> None:
    rows = read_tidy(folder)
    for again in write_board(make_board("A <board>", "about", rows), tmp_path, rows[::-1]):
        assert again.read_bytes() == (folder / again.name).read_bytes(), again.name


def test_words_latex_and_numbers_hold_every_table(board: Board, folder: Path) -> None:
    assert REFERENCE in (folder / "board.md").read_text()
    latex = (folder / "tables.tex").read_text()
    labels = re.findall(r"\\label{([^}]+)}", latex)
    assert len(labels) == len(set(labels)) == len(board.tables)
    assert (folder / "tables.csv").read_text().count("\n") == 1 + sum(len(table.cells) for table in board.tables)
