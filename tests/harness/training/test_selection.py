"""What is chosen on validation images: candidates, epochs, and that test images are out of reach meanwhile."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import harness.data.views
import harness.training.run_data
from harness.data.datasets import read_dataset
from harness.data.fewshot import few_shot_sample
from harness.data.readers import Picture, Splits
from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.results.epochs import read_epochs
from harness.training.events import Event, PhaseStarted, TrainingProgress
from harness.training.run import Run
from harness.training.run_data import RunData
from harness.training.selection import choose, is_better
from methods.base import Candidate, Method, Search, first_best

Make = Callable[..., RunSpec]
AddMethod = Callable[[str, str], None]
LITTLE = "evaluate=[{name: base, dataset: emoji, classes: base, splits: [test]}]"
FEW = "evaluate=[{name: base, dataset: emoji, classes: base.base, splits: [test]}]"
MIXES = '''"""Class means mixed with texts."""

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import Method, Search, Shots, first_best


class Mixes(Method):
    """Class means, as many as validation images say."""

    trains = False

    def build(self) -> None:
        self.register_buffer("weight", torch.tensor(7.0))

    def fit(self, shots: Shots) -> None:
        features = F.normalize(self.image_features(shots.x), dim=-1).mean(0)
        members = F.one_hot(shots.labels, len(self.prompts)).to(features.dtype)
        self.register_buffer("means", F.normalize(members.T @ features, dim=-1))

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        return self.similarity_logits(self.image_features(x), text + self.weight * self.means)

    def search(self) -> Search:
        return (yield from first_best({"weight": weight} for weight in (0.0, 1.0, 100.0)))
'''


def run_to_end(spec: RunSpec, results: Path, report: Callable[[Event], None] = lambda event: None) -> Run:
    run = Run(spec, results, report)
    run.execute()
    return run


class Searches(Method):
    """Yields what it is told to, and notes what it is given."""

    def __init__(self, search: Search) -> None:
        torch.nn.Module.__init__(self)
        self.given = search
        self.used: list[Candidate] = []

    def search(self) -> Search:
        return self.given

    def use(self, candidate: Candidate) -> None:
        self.used.append(candidate)


def test_the_first_of_the_best_candidates_is_chosen_and_used() -> None:
    candidates = [{"alpha": float(value)} for value in range(4)]
    scores = iter([10.0, 30.0, 30.0, 20.0])
    method = Searches(first_best(candidates))
    choice = choose(method, lambda method: next(scores))
    assert choice.chosen == {"alpha": 1.0}
    assert choice.accuracy == 30.0
    assert choice.candidates == candidates
    assert choice.accuracies == [10.0, 30.0, 30.0, 20.0]
    assert method.used == [*candidates, {"alpha": 1.0}]


def test_a_search_may_ask_for_more_because_of_what_it_was_told() -> None:
    def halving() -> Search:
        left, right = 0.0, 8.0
        while right - left > 1:
            middle = (left + right) / 2
            accuracy = yield {"c": middle}
            left, right = (middle, right) if accuracy > 50 else (left, middle)
        return {"c": left}

    method = Searches(halving())
    choice = choose(method, lambda candidate: 100.0 if candidate["c"] < 5 else 0.0)
    assert [candidate["c"] for candidate in choice.candidates] == [4.0, 6.0, 5.0]
    assert choice.chosen == {"c": 4.0}
    assert choice.accuracy == 100.0


def test_a_search_without_candidates_says_so() -> None:
    with pytest.raises(ValueError, match="no candidates"):
        choose(Searches(first_best([])), lambda candidate: 0.0)


@pytest.mark.parametrize(
    ("accuracy", "highest", "rule", "better"),
    [
        (0.0, None, "first_best", True),
        (50.0, 50.0, "first_best", False),
        (50.0, 50.0, "last_best", True),
        (50.1, 50.0, "first_best", True),
        (49.9, 50.0, "last_best", False),
    ],
)
def test_which_epoch_is_kept(accuracy: float, highest: float | None, rule: str, better: bool) -> None:
    assert is_better(accuracy, highest, rule) is better


def test_a_run_records_candidates_scores_choice_and_cost(
    add_method: AddMethod, make_spec: Make, tmp_path: Path
) -> None:
    add_method("mixes", MIXES)
    run = run_to_end(make_spec("mixes", LITTLE, shots=2), tmp_path)
    result = run.folder.read_result()
    tried = json.loads((run.folder.path / "selection.json").read_text())
    assert result.selection is not None
    assert tried["candidates"] == [{"weight": weight} for weight in (0.0, 1.0, 100.0)]
    best = max(tried["accuracies"])
    assert result.selection.accuracy == best
    assert result.selection.chosen == tried["candidates"][tried["accuracies"].index(best)]
    assert result.selection.candidates == 3
    assert result.selection.images == 2 * len(run.data.class_names("emoji", "base"))
    assert result.costs.phases["select"].seconds > 0
    assert result.costs.phases["select"].peak_tensor_bytes
    assert result.costs.phases["fit"].peak_tensor_bytes
    assert result.costs.phases["cache"].peak_tensor_bytes


def test_the_chosen_candidate_is_the_one_that_is_tested(add_method: AddMethod, make_spec: Make, tmp_path: Path) -> None:
    add_method("mixes", MIXES)
    chosen = run_to_end(make_spec("mixes", LITTLE, shots=2), tmp_path).folder.read_result()
    assert chosen.selection is not None
    only = MIXES.replace("(0.0, 1.0, 100.0)", f"({chosen.selection.chosen['weight']},)").replace("Mixes", "Only")
    add_method("only", only)
    assert run_to_end(make_spec("only", LITTLE, shots=2), tmp_path).folder.read_result().accuracies == chosen.accuracies


def test_other_shots_give_other_results_although_nothing_trains(
    add_method: AddMethod, make_spec: Make, tmp_path: Path
) -> None:
    add_method("mixes", MIXES.replace("(0.0, 1.0, 100.0)", "(100.0,)"))
    found = {
        (seed, shots): run_to_end(make_spec("mixes", LITTLE, seed=seed, shots=shots), tmp_path).folder.read_result()
        for seed, shots in ((1, 1), (2, 1), (1, 4))
    }
    assert len({result.id for result in found.values()}) == 3
    assert len({result.evaluations[0].accuracy for result in found.values()}) == 3


def test_unreadable_test_images_and_labels_do_not_matter_while_a_run_chooses(
    add_method: AddMethod, make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both become unreadable when the selection begins, and readable again when the evaluation does."""
    add_method("mixes", MIXES)
    # Without features of other runs, whose pictures need not be read again.
    spec = make_spec("mixes", FEW, "data.classes=base.base", "runtime.feature_store_mib=0", shots=2)
    calm = run_to_end(spec, tmp_path / "calm").folder.read_result()
    tested = {picture.path for picture in read_dataset("emoji").test}
    chosen_on: list[str] = []
    open_picture = harness.data.views.open_picture

    def read_but_test(folder: Path, path: str) -> object:
        if path in tested:
            raise UserError(f"{path} is unreadable")
        chosen_on.append(path)
        return open_picture(folder, path)

    def read_no_labels(name: str, root: str | None = None, splits: tuple[str, ...] = ()) -> Splits:
        if "test" in splits:
            raise UserError("the labels of the test split are unreadable")
        return read_dataset(name, root, splits)

    def plant(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == "select":
            monkeypatch.setattr("harness.data.views.open_picture", read_but_test)
            monkeypatch.setattr("harness.training.run_data.read_dataset", read_no_labels)
        if isinstance(event, PhaseStarted) and event.phase == "evaluate":
            monkeypatch.setattr("harness.data.views.open_picture", open_picture)
            monkeypatch.setattr("harness.training.run_data.read_dataset", read_dataset)

    planted = run_to_end(spec, tmp_path / "planted", plant).folder.read_result()
    assert chosen_on
    assert planted.selection == calm.selection
    assert planted.accuracies == calm.accuracies


def test_choosing_on_test_images_happens_only_where_it_is_asked_for(
    add_method: AddMethod, make_spec: Make, tmp_path: Path
) -> None:
    add_method("mixes", MIXES)
    leaky = run_to_end(make_spec("mixes", LITTLE, "select.pictures=test", shots=2), tmp_path).folder.read_result()
    assert leaky.selection is not None
    assert leaky.selection.pictures == "test"
    assert leaky.selection.images == 664

    assert leaky.id != make_spec("mixes", LITTLE, shots=2).id


@pytest.mark.parametrize("epochs", [3, 4])
def test_the_best_epoch_is_kept_also_when_the_run_is_interrupted(epochs: int, make_spec: Make, tmp_path: Path) -> None:
    words = ("train.epochs=4", "train.batch_size=16", "train.lr=0.3", "train.warmup_epochs=0", "runtime.threads=1")
    spec = make_spec("clip_adapter", LITTLE, "select.epoch=first_best", *words, shots=1)
    calm = run_to_end(spec, tmp_path / "calm")

    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress) and event.epoch == epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(spec, tmp_path / "again", interrupt).execute()
    again = run_to_end(spec, tmp_path / "again")
    assert again.folder.read_result().interruptions == 1
    for run in (calm, again):
        result = run.folder.read_result()
        judged = [record.selection_accuracy for record in read_epochs(run.folder.metrics_file)]
        assert len(judged) == 4
        assert result.selection is not None
        assert result.selection.epoch_accuracy == max(accuracy for accuracy in judged if accuracy is not None)
        assert result.selection.epoch == judged.index(result.selection.epoch_accuracy)
        assert result.selection.epoch_images == len(run.data.class_names("emoji", "base"))
        assert result.selection.epoch < 3, "the last epoch is the best: nothing is seen here"
    assert calm.folder.checkpoint_file.read_bytes() == again.folder.checkpoint_file.read_bytes()
    # Another training that ends with the kept epoch has other learning rates; the accuracy tells that it was kept.
    last = run_to_end(make_spec("clip_adapter", LITTLE, *words, shots=1), tmp_path / "last")
    assert last.folder.read_result().selection is None
    assert last.folder.checkpoint_file.read_bytes() != calm.folder.checkpoint_file.read_bytes()


@pytest.mark.parametrize(
    ("asked", "per_class"), [("null", 4), ("2", 2), ("shots", 6), ("all", 6)], ids=["null", "2", "shots", "all"]
)
def test_how_many_validation_images_a_run_chooses_by(asked: str, per_class: int, make_spec: Make) -> None:
    spec = make_spec("zeroshot", f"select.shots={asked}", shots=6)
    data = RunData(spec)
    splits = data.read("emoji")
    of_class = [sum(picture.label == label for picture in splits.val) for label in range(23)]
    chosen = data.validation_pictures(data.few_shot(), "val")
    found = [sum(picture.label == label for picture in chosen) for label in range(23)]
    wanted = 10**6 if asked == "all" else per_class
    assert found == [min(wanted, available) for available in of_class]
    assert data.is_all_validation(data.few_shot()) == (max(of_class) <= wanted)


def test_a_result_says_how_many_validation_images_a_class_there_were(
    add_method: AddMethod, make_spec: Make, tmp_path: Path
) -> None:
    add_method("mixes", MIXES)
    few = run_to_end(make_spec("mixes", LITTLE, shots=2), tmp_path).folder.read_result().selection
    many = run_to_end(make_spec("mixes", LITTLE, "select.shots=1000", shots=2), tmp_path).folder.read_result().selection
    assert few is not None
    assert many is not None
    assert (few.most, few.whole) == (2, False)
    assert many.most is not None
    assert 2 < many.most < 1000
    assert many.whole


def test_a_data_set_without_validation_images_lends_training_images_that_are_no_shots(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_dataset("emoji")
    without = Splits(**{**vars(whole), "val": []})
    monkeypatch.setattr(harness.training.run_data, "read_dataset", lambda *arguments: without)
    data = RunData(make_spec("zeroshot", shots=3))
    sample = data.few_shot()
    chosen = data.validation_pictures(sample, "val")
    assert len(chosen) == 3 * 23
    assert not {picture.path for picture in chosen} & {picture.path for picture in sample.drawn.train}
    assert {picture.path for picture in chosen} <= {picture.path for picture in whole.train}


def test_where_no_image_is_left_to_choose_by_the_run_says_so(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_dataset("emoji")
    few = few_shot_sample(whole.train, 2, seed=1)
    monkeypatch.setattr(
        harness.training.run_data, "read_dataset", lambda *arguments: Splits(**{**vars(whole), "train": few, "val": []})
    )
    data = RunData(make_spec("zeroshot", shots=2))
    with pytest.raises(UserError, match="chooses on val images, and data set 'emoji' has none that are not trained on"):
        data.validation_pictures(data.few_shot(), "val")


def test_validation_images_have_labels_among_the_training_classes(make_spec: Make) -> None:
    data = RunData(make_spec("zeroshot", "data.classes=base.new", shots=2))
    chosen = data.validation_pictures(data.few_shot(), "val")
    assert {picture.label for picture in chosen} == set(range(len(data.class_names("emoji", "base.new"))))
    assert all(isinstance(picture, Picture) for picture in chosen)


def test_an_index_without_validation_images_leaves_their_choice_to_the_seed(make_spec: Make, tmp_path: Path) -> None:
    drawn = RunData(make_spec("zeroshot", shots=2))
    sample = drawn.few_shot()
    rows = {
        split: [[path, label, sample.splits.class_names[label]] for path, label in getattr(sample.drawn, split)]
        for split in ("train", "val")
    }
    (tmp_path / "both.json").write_text(json.dumps(rows))
    (tmp_path / "train.json").write_text(json.dumps({"train": rows["train"]}))
    for seed, name, same in ((1, "both", True), (1, "train", True), (2, "both", True), (2, "train", False)):
        data = RunData(make_spec("zeroshot", f"data.index={tmp_path / name}.json", seed=seed, shots=2))
        chosen = data.validation_pictures(data.few_shot(), "val")
        assert (chosen == drawn.validation_pictures(sample, "val")) is same
        assert len(chosen) == 2 * 23
