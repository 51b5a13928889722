"""Runs under harder conditions than k clean shots of every class: what is trained on, chosen on and recorded."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.counts import class_counts
from harness.data.shots import LongTail
from harness.errors import UserError
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.report.footnotes import footnotes
from harness.report.method_table import method_table
from harness.report.paper_tables import paper_tables
from harness.report.published import with_published
from harness.report.runs import experiment_runs
from harness.results.record import read_result
from harness.training.notices import data_notices
from harness.training.run import Run
from harness.training.run_data import RunData

Plan = Callable[..., list[RunSpec]]


@pytest.fixture
def plan() -> Plan:
    """Specs of few-shot runs on the embedded pictures: plan("data.label_noise=0.2", method="prolip")."""

    def make(*words: str, method: str = "gda", seeds: tuple[int, ...] = (1,), shots: object = 4) -> list[RunSpec]:
        grid = {"protocol": "few_shot", "methods": [method], "datasets": ["emoji"], "shots": shots}
        return expand(load_experiment(EXPERIMENTS / "bench.yaml", {**grid, "seeds": seeds}), parse_overrides(words))

    return make


def test_noise_is_on_training_labels_alone(plan: Plan) -> None:
    (clean,), (noisy,) = plan(), plan("data.label_noise=0.25")
    assert clean.id == plan("data.label_noise=0")[0].id != noisy.id
    one, other = RunData(clean), RunData(noisy)
    before, after = one.few_shot(), other.few_shot()
    assert before.sample == after.sample
    assert one.validation_pictures(before, "val") == other.validation_pictures(after, "val")
    pairs = list(zip(one.training_pictures(before), other.training_pictures(after), strict=True))
    changed = [pair for pair in pairs if pair[0].label != pair[1].label]
    assert all(mine.path == its.path for mine, its in pairs)
    assert len(changed) == round(0.25 * len(pairs))
    assert other.noisy_labels(after) == (len(changed), len(pairs))
    for item in noisy.evaluate:
        splits = other.read(item.dataset)
        assert one.evaluated_pictures(item, splits) == other.evaluated_pictures(item, splits)
    (line,) = (line for line in data_notices(noisy, other, after) if "labels" in line)
    assert line == f"emoji: {len(changed)} of {len(pairs)} training labels are replaced by another class"


def test_noise_is_recorded_and_told_and_changes_what_is_learned(tmp_path: Path, plan: Plan) -> None:
    short = ("train.epochs=2", "train.views=1")
    specs = [*plan(*short, method="prolip"), *plan("data.label_noise=0.5", *short, method="prolip")]
    for spec in specs:
        Run(spec, tmp_path).execute()
    clean, noisy = (read_result(tmp_path / "runs" / spec.id / "result.json") for spec in specs)
    assert clean.sample
    assert noisy.sample
    assert clean.sample.noisy_labels is None
    assert noisy.sample.noisy_labels == (clean.sample.train_images // 2, clean.sample.train_images)
    assert clean.sample.hash == noisy.sample.hash
    assert noisy.accuracies != clean.accuracies
    (table,) = paper_tables(experiment_runs(specs, tmp_path))
    assert len(set(table.columns)) == 2
    assert any("label_noise=0.5" in text for text in (*table.columns, *footnotes(table)))
    half, whole = noisy.sample.noisy_labels
    assert f"Training labels replaced by another class, in runs with label noise: {half} of {whole} of emoji." in (
        footnotes(table)
    )


def test_a_class_without_any_label_left_is_no_obstacle(tmp_path: Path, plan: Plan) -> None:
    (spec,) = plan("data.label_noise=0.9", "train.fit_views=2", method="gda", shots=1)
    data = RunData(spec)
    labels = Counter(picture.label for picture in data.training_pictures(data.few_shot()))
    assert len(labels) < 45, "noise leaves some class without an image"
    Run(spec, tmp_path).execute()
    accuracies = read_result(tmp_path / "runs" / spec.id / "result.json").accuracies
    assert accuracies["all"] > 100 / 45, "better than chance"


def test_a_long_tail_is_a_setting_of_its_own(plan: Plan) -> None:
    (plain,), (tail,) = plan(shots=16), plan(shots="longtail:16..1")
    assert plain.settings()["data"]["shots"] == 16
    assert tail.settings()["data"]["shots"] == "longtail:16..1"
    assert tail.id != plain.id
    again = parse_run_spec(tail.settings())
    assert again == tail
    assert again != plain
    assert (again.id, again.data.shots, again.data.fewest_shots, again.data.shots_text) == (
        tail.id, 16, 1, "longtail:16..1"
    )  # fmt: skip
    assert tail.model_copy(update={"seed": 7}).data.long_tail == tail.data.long_tail
    with pytest.raises(UserError, match=r"data\.index gives the sample"):
        plan("data.index=sample.json", shots="longtail:16..1")
    for wrong in ("sixteen", "16..x", True, 2.5):
        with pytest.raises(UserError):
            plan(shots=wrong)


def test_a_long_tail_falls_over_the_training_classes_and_leaves_other_splits(plan: Plan) -> None:
    (plain,), (tail,) = plan("data.classes=base", shots=16), plan("data.classes=base", shots="longtail:16..1")
    one, other = RunData(plain), RunData(tail)
    before, after = one.few_shot(), other.few_shot()
    counts = Counter(picture.label for picture in other.training_pictures(after))
    assert sorted(counts.values(), reverse=True) == list(LongTail(16, 1).counts(23))
    assert set(other.training_pictures(after)) < set(one.training_pictures(before))
    assert before.sample.val == after.sample.val
    for item in tail.evaluate:
        splits = other.read(item.dataset)
        assert one.evaluated_pictures(item, splits) == other.evaluated_pictures(item, splits)
    (line,) = (line for line in data_notices(tail, other, after) if "longtail" in line)
    assert line == f"emoji: longtail:16..1, 1 to 16 training images a class, {sum(counts.values())} in all"


def test_an_estimate_knows_the_images_of_a_long_tail() -> None:
    counts = class_counts("emoji", "base", LongTail(16, 1), None)
    assert counts.num_images(["train"]) == sum(LongTail(16, 1).counts(23))


def test_long_tailed_runs_have_a_table_of_their_own(tmp_path: Path, plan: Plan, finish: Callable[..., None]) -> None:
    for protocol in ("few_shot", "base_to_new"):
        grid = {"protocol": protocol, "methods": ["prolip"], "shots": "longtail:16..1,16", "seeds": [1, 2]}
        specs = expand(load_experiment(EXPERIMENTS / "bench.yaml", grid))
        results = tmp_path / protocol
        for spec in specs:
            finish(results, spec, {item.name: 40.0 if spec.data.long_tail else 60.0 for item in spec.evaluate})
        runs = experiment_runs(specs, results)
        tables = {table.title: table for table in paper_tables(runs)}
        assert len(tables) == 2
        assert {table.cells[0].mean for table in tables.values()} == {40.0, 60.0}
        (tail,) = (table for title, table in tables.items() if "longtail:16..1 shots" in title)
        assert tail.cells[0].mean == 40.0
        assert len({table.name for table in tables.values()}) == 2
        rows = method_table(runs)
        assert sorted(rows["shots"]) == ["16", "longtail:16..1"]
        assert with_published(tail, "all") is tail


@pytest.mark.parametrize("method", ["prolip", "lp_plus_plus", "gda"])
def test_what_asks_for_the_number_of_shots_copes(method: str, tmp_path: Path, plan: Plan) -> None:
    words = ("train.epochs=1", "train.views=1") if method != "gda" else ()
    (spec,) = plan(*words, method=method, shots="longtail:4..1")
    Run(spec, tmp_path).execute()
    result = read_result(tmp_path / "runs" / spec.id / "result.json")
    assert result.spec == spec
    assert result.sample
    assert result.sample.shots == (1, 4)
    assert result.sample.train_images == sum(LongTail(4, 1).counts(45))
    assert result.accuracies["all"] > 100 / 45, "better than chance"


def test_samples_and_training_seeds_vary_apart(plan: Plan) -> None:
    one, two = plan(seeds=(1, 2))
    (same,) = plan("data.sample_seed=1", seeds=(2,))
    assert plan("data.sample_seed=null")[0].id == one.id
    assert len({one.id, two.id, same.id}) == 3
    samples = [RunData(spec).few_shot().sample for spec in (one, two, same)]
    assert samples[0] == samples[2]
    assert samples[0] != samples[1]
    assert len(plan("data.sample_seed=1,2,3", seeds=(1, 2))) == 6
    assert len(plan("data.sample_seed=1,2,3", seeds=(1, 2), method="zeroshot")) == 1


def test_seeds_on_one_sample_are_not_several_samples(tmp_path: Path, plan: Plan, finish: Callable[..., None]) -> None:
    specs = plan(seeds=(1, 2, 3))
    for spec in specs:
        finish(tmp_path, spec, {"all": 50.0})
    (table,) = paper_tables(experiment_runs(specs, tmp_path))
    assert not any("sample:" in note for note in footnotes(table))
    fixed = plan("data.sample_seed=1", seeds=(1, 2, 3))
    for spec in fixed:
        finish(tmp_path / "fixed", spec, {"all": 50.0})
    (table,) = paper_tables(experiment_runs(fixed, tmp_path / "fixed"))
    assert "emoji, 4 shots: 3 seeds, one sample: all seeds share their shots." in footnotes(table)
