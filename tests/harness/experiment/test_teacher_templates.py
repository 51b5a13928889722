"""What a frozen teacher reads of the classes: its templates, their setting, and the classes that are set."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.clip.load import load_backbone
from harness.clip.texts import Taught, teacher_of
from harness.clip.towers import CLIP
from harness.data.catalog import DATASETS
from harness.data.datasets import read_dataset
from harness.data.templates import DRAWINGS, ensemble_templates
from harness.errors import UserError
from harness.estimate.estimator import Estimator, measure
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.no_effect import without_effect
from harness.experiment.one_run import check_fits
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from harness.results.record import read_result
from harness.training.build import build_method, prompt_texts
from harness.training.run import Run

Make = Callable[..., RunSpec]
NAMES = ["cat", "orange thing"]
TAUGHT = '''"""Only the teacher decides."""

from pydantic import Field
from torch import Tensor

from methods.base import Method


class Only(Method):
    """s cos(f, teacher)."""

    trains = False
    teacher = "zeroshot"

    class Config(Method.Config):
        loud: bool = Field(False, description="whether the teacher is shouted at")

    @classmethod
    def teacher_template(cls, config, template: str) -> str:
        return f"{template}!" if config.loud else template

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        assert self.teacher_text is not None
        return self.similarity_logits(self.image_features(x), self.teacher_text)
'''
SMALL = (
    "data.classes=base.base",
    "evaluate=[{name: seen, dataset: emoji, classes: base.base, splits: [val]}, "
    "{name: new, dataset: emoji, classes: base.new, splits: [val]}]",
    "runtime.device=cpu",
    "wandb.mode=disabled",
)


@pytest.fixture(autouse=True)
def only(add_method: Callable[[str, str], None]) -> None:
    """A method that has nothing but a teacher."""
    add_method("only", TAUGHT)


def filled(template: str, name: str) -> str:
    return template.replace("{article}", "an" if name[0] in "aeiou" else "a").replace("{}", name)


def read_by_teacher(spec: RunSpec) -> list[tuple[str, ...]]:
    return [teacher_of(text) for text in prompt_texts(spec, "emoji", NAMES)]


@pytest.mark.parametrize(
    ("setting", "templates"),
    [
        ([], (DATASETS["emoji"].template,)),
        (["data.teacher_templates='my {}'"], ("my {}",)),
        (["data.teacher_templates=['my {}','your {}']"], ("my {}", "your {}")),
        (["data.teacher_templates=imagenet_7"], ensemble_templates("imagenet_7")),
        (["data.teacher_templates=drawings"], DRAWINGS),
    ],
)
@pytest.mark.parametrize("loud", [False, True])
def test_templates_of_the_teacher_stand_beside_those_of_the_method(
    setting: list[str], templates: tuple[str, ...], loud: bool, make_spec: Make
) -> None:
    spec = make_spec("only", "data.templates='a {}'", f"only.loud={loud}".lower(), *setting)
    end = "!" if loud else ""
    expected = [tuple(filled(one, name) + end for one in templates) for name in NAMES]
    assert read_by_teacher(spec) == expected
    texts = prompt_texts(spec, "emoji", NAMES)
    assert [text.prompts for text in texts if isinstance(text, Taught)] == [("a cat",), ("a orange thing",)]


def test_a_method_without_a_teacher_has_none(make_spec: Make) -> None:
    assert read_by_teacher(make_spec("zeroshot", "data.teacher_templates=imagenet_7")) == [(), ()]


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    """A file of descriptions of two classes."""
    path = tmp_path / "things.json"
    path.write_text(json.dumps({"Cat": ["a cat.", "a tom, or {}."], "orange_thing": ["{article} {}."]}))
    return path


def test_a_file_of_descriptions_has_sentences_of_each_class(make_spec: Make, sentences: Path) -> None:
    spec = make_spec("only", f"data.teacher_templates={sentences}")
    assert read_by_teacher(spec) == [("a cat.", "a tom, or cat."), ("an orange thing.",)]
    with pytest.raises(
        UserError, match=r"things.json' has no descriptions of class 'cap'. Did you mean 'Cat'\?"
    ) as told:
        prompt_texts(spec, "emoji", ["cat", "cap"])
    assert "\n" not in str(told.value)


def test_files_are_read_before_any_run(make_spec: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data.teacher_templates='.*things.json' does not exist: name a file") as told:
        make_spec("only", f"data.teacher_templates={tmp_path / 'things.json'}")
    assert "\n" not in str(told.value)


def test_a_method_that_trains_texts_takes_several_templates_of_its_teacher(make_spec: Make) -> None:
    check_fits(make_spec("kgcoop", "data.teacher_templates=imagenet_80"))


def test_a_sentence_that_is_too_long_names_the_setting_of_the_teacher(clip: CLIP) -> None:
    with pytest.raises(UserError, match=r"use a shorter template .* of the frozen CLIP \(data.teacher_templates\)$"):
        clip.tokenize([Taught(("a cat",), ("a cat", "cat " * 30))])
    with pytest.raises(UserError, match=r"\(data.templates\)$"):
        clip.tokenize([Taught(("cat " * 30,), ("a cat",))])


def test_who_sets_templates_of_no_teacher_is_told() -> None:
    def told(method: str) -> list[str]:
        experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"seeds": [1], "methods": [method]})
        return without_effect(plan_grid(experiment, parse_overrides(["data.teacher_templates=imagenet_7"])))

    assert told("coop") == ["data.teacher_templates has no effect: coop compares with no frozen CLIP"]
    assert told("kgcoop") == told("only") == []


def test_ids_are_those_without_the_setting_until_it_is_set(make_spec: Make, sentences: Path) -> None:
    spec = make_spec("kgcoop")
    assert "teacher_templates" not in spec.identity()["data"]
    assert make_spec("kgcoop", "data.teacher_templates=null").id == spec.id
    words = ("imagenet_7", "zeroshot", "'my {}'", str(sentences))
    ids = {word: make_spec("kgcoop", f"data.teacher_templates={word}").id for word in words}
    assert len({spec.id, *ids.values()}) == 1 + len(words)
    # A file is known by its content.
    moved = sentences.rename(sentences.with_name("moved.json"))
    assert make_spec("kgcoop", f"data.teacher_templates={moved}").id == ids[str(sentences)]
    moved.write_text('{"cat": ["the cat"]}')
    assert make_spec("kgcoop", f"data.teacher_templates={moved}").id != ids[str(sentences)]


@pytest.mark.parametrize("templates", ["zeroshot", "drawings", "['my {}','your {}']"])
def test_every_evaluation_has_the_teacher_of_its_classes(make_spec: Make, tmp_path: Path, templates: str) -> None:
    """What the teacher alone decides is zero-shot CLIP with its templates, on training classes and on new ones."""
    taught = Run(make_spec("only", *SMALL, f"data.teacher_templates={templates}", "data.templates='x {}'"), tmp_path)
    plain = Run(make_spec("zeroshot", *SMALL, f"data.templates={templates}"), tmp_path)
    accuracies = []
    for run in (taught, plain):
        run.execute()
        accuracies.append(read_result(run.folder.result_file).accuracies)
    assert accuracies[0] == accuracies[1]
    assert accuracies[0].keys() == {"seen", "new"}


def test_the_teacher_is_set_with_the_classes_and_set_back(clip: CLIP, make_spec: Make) -> None:
    spec = make_spec("only", "data.teacher_templates=drawings")
    texts, others = (prompt_texts(spec, "emoji", names) for names in (NAMES, ["arrow", "bird", "square"]))
    method = build_method(clip, "only", {}, texts, "fp32", 0)
    untouched = load_backbone("clip-emoji")
    untouched.speedups.switch_off()

    @torch.no_grad()
    def expected(names: list[str]) -> Tensor:
        rows = []
        for name in names:
            found = untouched.text.run(untouched.tokenizer([filled(one, name) for one in DRAWINGS]))
            mean = (found / found.norm(dim=-1, keepdim=True)).mean(dim=0)
            rows.append(mean / mean.norm())
        return torch.stack(rows)

    for prompts, names in ((texts, NAMES), (others, ["arrow", "bird", "square"]), (texts, NAMES)):
        method.set_classes(clip.tokenize(prompts))
        torch.testing.assert_close(method.teacher_text, expected(names), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["only", "kgcoop"])
def test_costs_with_a_teacher_are_estimated_to_the_byte(
    method: str, make_spec: Make, tiny: Path, tmp_path: Path
) -> None:
    trains = ["train.epochs=1", "train.batch_size=2"] if method != "only" else []
    spec = make_spec(method, *SMALL, *trains, "data.teacher_templates=drawings", shots=1)
    spec = spec.model_copy(update={"backbone": str(tiny)})
    estimate = Estimator().estimate(spec, flops=False)
    run = Run(spec, tmp_path)
    run.execute()
    phases = json.loads(run.folder.result_file.read_text())["costs"]["phases"].items()
    measured = {name: phase["peak_tensor_bytes"] for name, phase in phases if phase["peak_tensor_bytes"]}
    assert {name: peak.num_bytes for name, peak in estimate.phases.items()} == measured


def test_a_data_set_that_is_not_here_is_estimated_with_sentences_of_other_classes(
    make_spec: Make, sentences: Path, tiny: Path
) -> None:
    spec = make_spec("kgcoop", f"data.teacher_templates={sentences}", "train.batch_size=2", shots=1)
    spec = spec.model_copy(
        update={
            "backbone": str(tiny),
            "data": spec.data.model_copy(update={"dataset": "oxford_pets"}),
            "evaluate": tuple(item.model_copy(update={"dataset": "oxford_pets"}) for item in spec.evaluate),
        }
    )
    estimate = Estimator().estimate(spec, classes=5, flops=False)
    assert estimate.stand_ins == ("oxford_pets",)
    peaks = {name: peak.num_bytes for name, peak in estimate.phases.items()}
    assert peaks == {name: peak.num_bytes for name, peak in measure(spec, 5, torch.device("cpu")).items()}


def test_the_embedded_descriptions_can_teach(make_spec: Make) -> None:
    path = EXPERIMENTS / "descriptions" / "emoji.json"
    spec = make_spec("only", f"data.teacher_templates={path}")
    names = read_dataset("emoji").class_names
    texts = prompt_texts(spec, "emoji", names)
    assert [teacher_of(text) for text in texts] == [
        tuple(filled(one, name) for one in json.loads(path.read_text())[name]) for name in names
    ]
