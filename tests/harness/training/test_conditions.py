"""Runs under harder conditions than k clean shots of every class: what is trained on, chosen on and recorded."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from harness.report.footnotes import footnotes
from harness.report.paper_tables import paper_tables
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
