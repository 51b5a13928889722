"""What differs between two runs or experiments, by hand and by the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.report.compare import configuration_differences, find_finished_run, number_differences
from harness.report.runs import experiment_runs
from tests.commands import error_line, skipbench

Plan = Callable[..., list[RunSpec]]
Finish = Callable[..., None]


@pytest.fixture
def sides(tmp_path: Path, plan_runs: Plan, finish: Finish) -> tuple[list[RunSpec], list[RunSpec]]:
    """The same method at two depths, two seeds each."""
    shallow = plan_runs("base_to_new", methods=["skip", "coop"], seeds=[1, 2])
    deep = plan_runs("base_to_new", "skip.depth=4", methods=["skip"], seeds=[1, 2])
    for spec in shallow:
        finish(tmp_path, spec, {"base": 60.0 + spec.seed, "new": 30.0}, train_seconds=4.0)
    for spec in deep:
        finish(tmp_path, spec, {"base": 62.0 + spec.seed, "new": 30.0}, train_seconds=1.0)
    return shallow, deep


def test_experiments_are_compared_cell_by_cell(tmp_path: Path, sides: tuple[list[RunSpec], list[RunSpec]]) -> None:
    a, b = (experiment_runs(specs, tmp_path) for specs in sides)
    configuration = configuration_differences(a, b).set_index("setting")
    assert configuration.loc["skip.depth"].tolist() == ["3", "4"]
    assert configuration.loc["method"].tolist() == ["skip; coop", "skip"]
    assert configuration.loc["coop.n_ctx", "B"] == "–"
    assert "seed" not in configuration.index
    numbers = number_differences(a, b).set_index(["method", "metric"])
    assert set(numbers.index.get_level_values("method")) == {"skip"}
    base = numbers.loc[("skip", "base")]
    # Seeds 1, 2: means 61.5 and 63.5, deviation 1/sqrt(2).
    assert (base["A"], base["B"], base["difference"]) == ("61.50 ± 0.71", "63.50 ± 0.71", "+2.00")
    h = numbers.loc[("skip", "H")]
    assert float(h["A"].split()[0]) == pytest.approx(2 * 61.5 * 30 / 91.5, abs=0.005)
    time = numbers.loc[("skip", "train s")]
    assert (time["difference"], time["ratio"]) == ("-3.0", "0.25x")


def test_two_runs_are_compared_whatever_their_methods(
    tmp_path: Path, sides: tuple[list[RunSpec], list[RunSpec]]
) -> None:
    skip, _, coop, _ = sides[0]
    a, b = (find_finished_run(tmp_path, spec.id[:8]) for spec in (skip, coop))
    assert list(number_differences(a, b).columns) == ["metric", "A", "B", "difference", "ratio"]
    assert configuration_differences(a, a).empty


def test_a_difference_that_rounds_to_zero_is_not_negative(tmp_path: Path, plan_runs: Plan, finish: Finish) -> None:
    first, second = plan_runs("base_to_new", methods=["skip"], seeds=[1, 2])
    finish(tmp_path, first, {"base": 60.0, "new": 30.0}, train_seconds=4.001)
    finish(tmp_path, second, {"base": 59.999, "new": 30.0}, train_seconds=4.0)
    numbers = number_differences(*(find_finished_run(tmp_path, spec.id[:8]) for spec in (first, second)))
    differences = numbers.set_index("metric")["difference"]
    assert (differences["base"], differences["train s"]) == ("+0.00", "+0.0")
    assert not [text for text in differences if text in ("-0.0", "-0.00")]


def test_experiments_without_a_common_cell_are_an_error(
    tmp_path: Path, plan_runs: Plan, finish: Finish, sides: tuple[list[RunSpec], list[RunSpec]]
) -> None:
    others = plan_runs("base_to_new", methods=["maple"], seeds=[1, 2])
    for spec in others:
        finish(tmp_path, spec, {"base": 1.0, "new": 1.0})
    with pytest.raises(UserError, match="in common"):
        number_differences(experiment_runs(others, tmp_path), experiment_runs(sides[1], tmp_path))


def test_the_command_takes_ids_and_files(
    tmp_path: Path,
    sides: tuple[list[RunSpec], list[RunSpec]],
) -> None:
    deep = tmp_path / "deep.yaml"
    deep.write_text("methods: [skip]\nseeds: [1, 2]\nsettings: {skip: {depth: 4}}\n")
    shallow = tmp_path / "shallow.yaml"
    shallow.write_text("methods: [skip, coop]\nseeds: [1, 2]\n")
    done = skipbench("compare", str(shallow), str(deep), "--results", str(tmp_path))
    assert done.returncode == 0
    out = done.stdout
    assert "A: " in out
    assert "(4 of 4 runs)" in out
    assert "61.50 ± 0.71" in out
    ids = [side[0].id for side in sides]
    assert "skip.depth" in skipbench("compare", ids[0], ids[1][:9], "--results", str(tmp_path)).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["aaaa", "bbbb"], "no run 'aaaa' in '{results}'. Known: "),
        (["a", "b", "c"], "compare takes two runs or experiments, these are 3: a, b, c"),
        (["{id}", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["{id}", ""], "'' is neither an experiment file"),
        (["{id}", "{id[0]}{id[1]}"], "'{id[0]}{id[1]}' is neither an experiment file nor an id: give at least 3 "),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    sides: tuple[list[RunSpec], list[RunSpec]],
    words: list[str],
    message: str,
) -> None:
    facts = {"id": sides[0][0].id, "results": tmp_path}
    words = [word.format(**facts) for word in words]
    found = error_line("compare", *words, "--results", str(tmp_path))
    assert found.startswith(f"error: {message.format(**facts)}")


def test_a_prefix_of_several_runs_is_an_error(tmp_path: Path) -> None:
    for run_id in ("abc1", "abc2"):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
        (tmp_path / "runs" / run_id / "result.json").write_text("{}")
    with pytest.raises(UserError, match="the beginning of 2 run ids: abc1, abc2"):
        find_finished_run(tmp_path, "abc")


def test_only_finished_runs_are_compared(tmp_path: Path, plan_runs: Plan) -> None:
    (spec,) = plan_runs("base_to_new", methods=["skip"], seeds=[1])
    folder = tmp_path / "runs" / spec.id
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("2026-01-01T00:00:00Z ERROR memory ran out\n")
    with pytest.raises(UserError) as caught:
        find_finished_run(tmp_path, spec.id)
    assert str(caught.value) == f"run {spec.id} cannot be compared (failed: memory ran out): only finished runs can be"
