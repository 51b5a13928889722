"""Standings beside a report: those of the board, apart for each track and backbone."""

from collections.abc import Callable
from pathlib import Path

from harness.board.standings import standings_of
from harness.experiment.spec import RunSpec
from harness.results.folder import RunFolder
from harness.results.record import Result

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


def results_of(folder: Path, specs: list[RunSpec]) -> list[Result]:
    return [RunFolder(folder, spec.id).read_result() for spec in specs]


def test_methods_of_one_track_stand_together(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["zeroshot", "coop", "kgcoop"], datasets=["emoji", "emoji-food"])
    values = fill(tmp_path, specs)
    found = standings_of(results_of(tmp_path, specs))
    # Zero-shot CLIP is alone in its track, and stands below the others for reference.
    ((heading, about, (table,)),) = found.tracks
    assert about.endswith(".")
    assert heading in table.title
    assert table.columns[-1].startswith("Zero-shot CLIP (for reference")
    assert {"mean rank", "95 % over seeds", "95 % over data sets"} <= {block for block, _ in table.rows}
    scores = {cell.column: cell.mean for cell in table.cells if cell.block.startswith("H")}
    own = [spec.id for spec in specs if spec.method == "coop" and spec.data.dataset == "emoji"]
    assert all(set(values[run]) == {"base", "new"} for run in own)
    assert 30 < (scores["CoOp"] or 0) < 90
    assert found.notes


def test_backbones_stand_apart(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["coop", "kgcoop"], seeds=[1])
    fill(tmp_path, specs)
    results = results_of(tmp_path, specs)
    others = [one.model_copy(update={"spec": one.spec.model_copy(update={"backbone": "other"})}) for one in results]
    titles = [title for title, _, _ in standings_of([*results, *others]).tracks]
    assert [title.rpartition(", ")[2] for title in titles] == ["clip-emoji", "other"]


def test_one_method_has_no_standing(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["coop"])
    fill(tmp_path, specs)
    found = standings_of(results_of(tmp_path, specs))
    assert (found.tracks, found.notes) == ((), ())
    assert standings_of([]).tracks == ()
