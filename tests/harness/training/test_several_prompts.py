"""Runs whose classes have several prompts: results, costs, what tells classes apart, what a finished run is held to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.clip import ensembles
from harness.clip.towers import CLIP, RAW
from harness.data import templates as of_data
from harness.data.datasets import read_dataset
from harness.data.loader import load_pixels
from harness.data.templates import DRAWINGS
from harness.estimate.estimator import Estimator, measure
from harness.experiment.spec import RunSpec
from harness.results.record import Result, read_result
from harness.training.build import build_method
from harness.training.inputs import changes_since
from harness.training.run import Run
from harness.training.same_prompts import same_prompts

Make = Callable[..., RunSpec]
SMALL = (
    "data.classes=base.base.base",
    "evaluate=[{name: val, dataset: emoji, classes: base.base.new, splits: [val]}]",
    "runtime.device=cpu",
)


def result_of(spec: RunSpec, results: Path) -> Result:
    run = Run(spec, results)
    run.execute()
    return read_result(run.folder.result_file)


def test_a_run_is_evaluated_with_the_mean_of_its_prompts(make_spec: Make, tmp_path: Path, clip: CLIP) -> None:
    result = result_of(make_spec("zeroshot", *SMALL, "data.templates=drawings"), tmp_path)
    (evaluation,) = result.evaluations
    assert evaluation.template == DRAWINGS
    assert result.template == "drawings"
    splits = read_dataset("emoji")
    names = splits.class_names[6:12]  # the new half of 23 base classes' base half
    shown = list(evaluation.per_class)
    assert set(shown) <= set(names)
    pictures = [picture for picture in splits.val if splits.class_names[picture.label] in shown]
    with torch.no_grad():
        rows = []
        for name in shown:
            article = "an" if name[0] in "aeiou" else "a"
            texts = [item.replace("{article}", article).replace("{}", name) for item in DRAWINGS]
            prompts = clip.tokenize(texts)
            found = clip.text.run(prompts.ids, RAW, eot=prompts.eot)
            rows.append((found / found.norm(dim=-1, keepdim=True)).sum(dim=0))
        weights = torch.stack([row / row.norm() for row in rows])
        pixels, _ = load_pixels(clip, splits.folder, pictures)
        predicted = (clip.image.run(pixels) @ weights.T).argmax(dim=-1).tolist()
    right = sum(
        shown[best] == splits.class_names[picture.label] for best, picture in zip(predicted, pictures, strict=True)
    )
    assert evaluation.images == len(pictures)
    assert evaluation.accuracy == pytest.approx(100 * right / len(pictures))


@pytest.mark.parametrize(("method", "at_once"), [("zeroshot", 8), ("clip_adapter", 512)])
def test_costs_are_estimated_to_the_byte(
    method: str, at_once: int, make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensembles, "AT_ONCE", at_once)
    trains = ["train.epochs=1", "train.batch_size=2"] if method != "zeroshot" else []
    spec = make_spec(method, *SMALL, *trains, "data.templates=drawings", shots=1)
    estimate = Estimator().estimate(spec, flops=False)
    assert not estimate.is_bound
    run = Run(spec, tmp_path)
    run.execute()
    phases = json.loads(run.folder.result_file.read_text())["costs"]["phases"].items()
    measured = {name: phase["peak_tensor_bytes"] for name, phase in phases if phase["peak_tensor_bytes"]}
    assert {name: peak.num_bytes for name, peak in estimate.phases.items()} == measured
    assert estimate.text_cache_bytes == 4 * 128 * estimate.classes


def test_descriptions_can_be_estimated_for_a_data_set_that_is_not_here(make_spec: Make, tmp_path: Path) -> None:
    path = tmp_path / "pets.json"
    path.write_text('{"Abyssinian": ["a cat with large ears.", "a cat."], "beagle": ["a dog."]}')
    spec = make_spec("zeroshot", f"data.templates={path}")
    spec = spec.model_copy(
        update={
            "data": spec.data.model_copy(update={"dataset": "oxford_pets"}),
            "evaluate": tuple(item.model_copy(update={"dataset": "oxford_pets"}) for item in spec.evaluate),
        }
    )
    estimate = Estimator().estimate(spec, classes=4, flops=False)
    assert estimate.stand_ins == ("oxford_pets",)
    peaks = {name: peak.num_bytes for name, peak in estimate.phases.items()}
    assert peaks == {name: peak.num_bytes for name, peak in measure(spec, 4, torch.device("cpu")).items()}


def test_training_on_ensembles_is_the_same_with_and_without_cache_and_speedups(clip: CLIP) -> None:
    texts = [tuple(item.replace("{}", name) for item in DRAWINGS) for name in ("cat", "dog", "bird")]
    found = []
    for cached, speedups in ((True, True), (False, True), (True, False), (False, False)):
        if not speedups:
            clip.speedups.switch_off()
        method = build_method(clip, "clip_adapter", {}, texts, "fp32", 0, cache_text=cached)
        x = torch.randn(4, clip.embed_dim, generator=torch.Generator().manual_seed(1))
        loss = method.loss(x, torch.tensor([0, 1, 2, 0]))
        loss.backward()
        gradients = [value.grad.norm() for value in method.parameters() if value.grad is not None]
        assert gradients
        found.append(torch.stack([loss.detach(), *gradients]))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


def test_half_precision_is_near(make_spec: Make, tmp_path: Path) -> None:
    words = (*SMALL, "data.templates=drawings")
    low = result_of(make_spec("zeroshot", *words, "train.precision=half"), tmp_path)
    full = result_of(make_spec("zeroshot", *words), tmp_path)
    assert abs(low.evaluations[0].accuracy - full.evaluations[0].accuracy) < 10


def test_classes_are_the_same_if_all_their_prompts_are(clip: CLIP) -> None:
    names = ["a", "b", "c", "d"]
    texts = [("a cat", "the cat"), ("THE  CAT", "A cat"), "a cat", ("a cat", "a dog")]
    assert same_prompts(clip.tokenize(texts), names) == (("a", "b"),)
    assert same_prompts(clip.tokenize(["a cat", "A CAT", "dog", "bird"]), names) == (("a", "b"),)


def test_another_ensemble_under_the_same_name_is_noticed(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = result_of(make_spec("zeroshot", *SMALL, "data.templates=drawings"), tmp_path)
    assert changes_since(result) == []
    monkeypatch.setattr(of_data, "DRAWINGS", ("{}", "a {}"))
    assert changes_since(result) == ["the prompt template of data set 'emoji', now '{} | a {}'"]


def test_results_name_a_list_and_a_file(make_spec: Make, tmp_path: Path) -> None:
    listed = result_of(make_spec("zeroshot", *SMALL, 'data.templates=["a {}","the {}"]'), tmp_path)
    assert listed.template == "a {} | the {}"
    names = read_dataset("emoji").class_names
    path = tmp_path / "own.json"
    path.write_text(json.dumps({name: [f"a {name}", f"the {name}"] for name in names}))
    described = result_of(make_spec("zeroshot", *SMALL, f"data.templates={path}"), tmp_path)
    assert described.template == "descriptions of own.json"
    assert described.evaluations[0].accuracy == listed.evaluations[0].accuracy
    path.unlink()
    assert changes_since(described) == []


def test_a_changed_file_makes_another_run(make_spec: Make, tmp_path: Path) -> None:
    content: dict[str, Any] = {name: [f"a {name}"] for name in read_dataset("emoji").class_names}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(content))
    spec = make_spec("zeroshot", *SMALL, f"data.templates={path}")
    run = Run(spec, tmp_path)
    path.write_text(json.dumps({name: [f"the {name}"] for name in content}))
    with pytest.raises(Exception, match="were changed meanwhile"):
        run.check_unchanged()
