"""What `data.templates` may be, what becomes of it in a run, and which methods can use it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.experiment.grid import expand, load_experiment
from harness.experiment.no_effect import reason_in
from harness.experiment.one_run import check_fits
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.experiment.templates import templates_of
from harness.training.build import prompt_texts

Make = Callable[..., RunSpec]
LIST = '["a photo of a {}.","a drawing of a {}."]'
UNDERSCORES = '''"""Keeps underscores."""

from methods.base import Method


class Keeping(Method):
    """Zero-shot CLIP with class names as they are."""

    trains = False
    keeps_underscores = True
'''


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    """A file of descriptions of two classes."""
    path = tmp_path / "pets.json"
    path.write_text(json.dumps({"Tom-Cat": ["a cat.", "a tom, or {}."], "dog": ["{article} {}."]}))
    return path


def specs(*words: str, methods: tuple[str, ...] = ("zeroshot",), **changes: Any) -> list[RunSpec]:
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": list(methods), "seeds": [1], **changes})
    return expand(experiment, parse_overrides(words))


def test_a_list_of_templates_is_one_value() -> None:
    (spec,) = specs(f"data.templates={LIST}")
    assert spec.data.templates == ("a photo of a {}.", "a drawing of a {}.")
    again = parse_run_spec(json.loads(json.dumps(spec.settings())))
    assert again == spec
    assert again.id == spec.id
    assert [item.data.templates for item in specs(f"data.templates=[{LIST},[imagenet_7],zeroshot]")] == [
        ("a photo of a {}.", "a drawing of a {}."),
        "imagenet_7",
        "zeroshot",
    ]


def test_a_list_of_one_template_is_that_template(make_spec: Make) -> None:
    one, other = make_spec("zeroshot", 'data.templates=["my {}"]'), make_spec("zeroshot", 'data.templates="my {}"')
    assert one.data.templates == other.data.templates == "my {}"
    assert one.id == other.id


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("imagenet7", "data.templates='imagenet7': use zeroshot, finetune, imagenet_7, imagenet_80, openai, drawings"),
        ("imagenet7", "Did you mean 'imagenet_7'?"),
        ("a photo", "a list of such, or a file of descriptions (.json, .yaml)."),
        ("[a, b]", "'a' is no template with {}, and a list is an ensemble of templates"),
        ("[zeroshot, imagenet_7]", "for several runs write [[zeroshot],[imagenet_7]]"),
        ("[]", "give between 1 and 512 templates"),
        ("3", "a text or a list of texts is needed"),
        ("['a {}', 3]", "a text or a list of texts is needed"),
        ("null", "a text or a list of texts is needed"),
        ("{a: 1}", "a text or a list of texts is needed"),
    ],
)
def test_other_values_are_refused_in_one_line(written: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        specs(f"data.templates={written}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_prompts_of_an_ensemble_are_those_of_each_template(make_spec: Make) -> None:
    spec = make_spec("zeroshot", f"data.templates={LIST}")
    assert prompt_texts(spec, "emoji", ["sea_otter", "cat"]) == [
        ("a photo of a sea otter.", "a drawing of a sea otter."),
        ("a photo of a cat.", "a drawing of a cat."),
    ]
    seven = prompt_texts(make_spec("zeroshot", "data.templates=imagenet_7"), "emoji", ["cat"])
    assert [len(text) for text in seven] == [7]
    assert seven[0][0] == "itap of a cat."


def test_prompts_of_descriptions_are_the_sentences_of_each_class(make_spec: Make, sentences: Path) -> None:
    spec = make_spec("zeroshot", f"data.templates={sentences}")
    assert prompt_texts(spec, "emoji", ["dog", "tom_cat"]) == ["a dog.", ("a cat.", "a tom, or tom cat.")]
    assert templates_of(spec, "emoji") == "descriptions of pets.json"
    with pytest.raises(UserError, match=r"has no descriptions of class 'tomcats'\. Did you mean 'Tom-Cat'\?"):
        prompt_texts(spec, "emoji", ["tomcats"])
    assert len(prompt_texts(spec, "emoji", ["whatever", "else"], stand_ins=True)) == 2


def test_underscores_are_kept_where_the_authors_keep_them(
    make_spec: Make, add_method: Callable[[str, str], None]
) -> None:
    add_method("keeping", UNDERSCORES)
    spec = make_spec("keeping", 'data.templates=["a {}.","the {}."]')
    assert prompt_texts(spec, "emoji", ["sea_otter"]) == [("a sea_otter.", "the sea_otter.")]
    assert prompt_texts(make_spec("keeping"), "emoji", ["sea_otter"]) == ["a drawing of a sea_otter."]
    assert prompt_texts(make_spec("zeroshot"), "emoji", ["sea_otter"]) == ["a drawing of a sea otter."]


@pytest.mark.parametrize("templates", ["imagenet_7", "drawings", LIST, "FILE"])
@pytest.mark.parametrize("method", ["skip", "finetune"])
def test_methods_that_train_texts_refuse_several_prompts_before_any_run(
    method: str, templates: str, sentences: Path
) -> None:
    word = str(sentences) if templates == "FILE" else templates
    with pytest.raises(UserError) as caught:
        specs(f"data.templates={word}", methods=("zeroshot", method), recipe="official")
    line = str(caught.value)
    assert line.startswith(
        f"{method} trains what encodes the texts, so that it takes one prompt a class, and data.temp"
    )
    assert line.endswith("gives several: use one template")
    assert "\n" not in line


def test_methods_that_train_texts_take_one_description_a_class(make_spec: Make, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"cat": ["a cat."]}')
    check_fits(make_spec("skip", f"data.templates={path}"))


@pytest.mark.parametrize("method", ["coop", "cocoop"])
def test_methods_with_prompts_of_their_own_take_none_of_them(method: str, make_spec: Make, sentences: Path) -> None:
    usual = prompt_texts(make_spec(method), "emoji", ["cat"])
    for templates in ("imagenet_80", LIST, str(sentences)):
        spec = make_spec(method, f"data.templates={templates}")
        assert prompt_texts(spec, "emoji", ["cat"]) == usual
        assert isinstance(templates_of(spec, "emoji"), str)
        assert reason_in(spec, "data.templates") == f"{method} has prompts of its own"
    assert reason_in(make_spec("zeroshot", "data.templates=imagenet_80"), "data.templates") is None


def test_a_file_of_descriptions_decides_by_its_content(make_spec: Make, sentences: Path) -> None:
    word = f"data.templates={sentences}"
    first = make_spec("zeroshot", word)
    moved = sentences.with_name("elsewhere.json")
    shutil.copy(sentences, moved)
    assert make_spec("zeroshot", f"data.templates={moved}").id == first.id
    assert first.settings()["data"]["templates"] == str(sentences)
    assert str(sentences) not in json.dumps(first.identity())
    before = first.id
    sentences.write_text(sentences.read_text().replace("a cat.", "a kitten."))
    assert first.id != before
    sentences.unlink()
    with pytest.raises(UserError, match=r"data.templates='.*pets.json' cannot be read: No such file or directory"):
        assert first.id
    with pytest.raises(UserError, match="does not exist"):
        make_spec("zeroshot", word)


def test_ids_differ_between_ensembles_and_are_those_of_committed_results_without(make_spec: Make) -> None:
    words = ["zeroshot", "finetune", "imagenet_7", "imagenet_80", "drawings", LIST, '["a drawing of a {}.","{}"]']
    assert len({make_spec("zeroshot", f"data.templates={word}").id for word in words}) == len(words)
    assert make_spec("zeroshot").id == "bfdc014ab2ec"
    assert make_spec("zeroshot", "data.templates=zeroshot").id == "bfdc014ab2ec"


def test_the_recipe_ensemble_fits_the_data_set() -> None:
    found = specs(recipe="ensemble", datasets=["emoji", "dtd", "imagenet"])
    assert [spec.data.templates for spec in found] == ["drawings", "imagenet_7", "imagenet_7"]
    assert [spec.data.templates for spec in specs(recipe="official", datasets=["emoji", "imagenet"])] == [
        "zeroshot"
    ] * 2


def test_a_recipe_may_ask_for_an_ensemble_on_one_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.experiment import recipes

    (tmp_path / "zeroshot.yaml").write_text("official: {all: {}, imagenet: {data: {templates: imagenet_7}}}\n")
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)
    found = specs(datasets=["imagenet", "dtd"], recipe="official")
    assert [spec.data.templates for spec in found] == ["imagenet_7", "zeroshot"]
