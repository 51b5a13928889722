"""Ensembles of templates."""

import pytest

from harness.clip.prompts import fill_template
from harness.data.catalog import DATASETS
from harness.data.clip_datasets import CLIP_ROWS
from harness.data.openai_templates import OPENAI_TEMPLATES
from harness.data.templates import ENSEMBLES, ensemble_templates

SELECTED = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def test_the_seven_templates_of_the_field() -> None:
    assert ensemble_templates("imagenet_7") == SELECTED


def test_the_eighty_templates_hold_the_seven() -> None:
    found = ensemble_templates("imagenet_80")
    assert len(found) == len(set(found)) == 80
    assert set(SELECTED) <= set(found)
    assert {"a photo of a {}.", "a tattoo of the {}."} <= set(found)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_every_template_holds_the_class_name_once(name: str) -> None:
    for template in ensemble_templates(name):
        assert fill_template(template, "sea_otter").count("sea otter") == 1


def test_a_data_set_gives_one_template_or_those_that_are_asked_for() -> None:
    pets = DATASETS["oxford_pets"]
    assert pets.templates_of("zeroshot") == (pets.template,)
    assert pets.templates_of("finetune") == (pets.finetune_template,)
    assert pets.templates_of("my {}") == ("my {}",)
    assert pets.templates_of(("a {}", "b {}")) == ("a {}", "b {}")
    assert pets.templates_of("imagenet_7") == SELECTED


def test_the_templates_of_the_authors_of_clip_are_those_of_the_data_set() -> None:
    numbers = {name: len(DATASETS[name].templates_of("openai")) for name in OPENAI_TEMPLATES}
    assert numbers == {
        "birdsnap": 1,
        "caltech101": 34,
        "cifar10": 18,
        "cifar100": 18,
        "country211": 5,
        "dtd": 8,
        "eurosat": 3,
        "fgvc_aircraft": 2,
        "food101": 1,
        "gtsrb": 3,
        "mnist": 1,
        "oxford_flowers": 1,
        "oxford_pets": 1,
        "pcam": 1,
        "resisc45": 18,
        "stanford_cars": 8,
        "stl10": 2,
        "sun397": 2,
        "ucf101": 48,
    }
    for name, templates in OPENAI_TEMPLATES.items():
        assert len(set(templates)) == len(templates), name
        assert all(template.count("{}") == 1 for template in templates), name
    caltech, cifar, aerial = (OPENAI_TEMPLATES[name] for name in ("caltech101", "cifar10", "resisc45"))
    assert (caltech[2], caltech[10], caltech[13], caltech[-1]) == (
        "a plastic {}.",
        "a {} in a video game.",
        "art of a {}.",
        "a doodle of the {}.",
    )
    assert caltech[19:21] == ("the plastic {}.", "a sculpture of the {}.")
    assert (cifar[1], cifar[8], cifar[9], cifar[-2]) == (
        "a blurry photo of a {}.",
        "a photo of a big {}.",
        "a photo of the {}.",
        "a photo of the small {}.",
    )
    assert aerial[:3] == ("satellite imagery of {}.", "aerial imagery of {}.", "satellite photo of {}.")
    assert aerial[-1] == "aerial view of the {}."
    assert OPENAI_TEMPLATES["ucf101"][8] == "a photo of a person using {}."
    assert OPENAI_TEMPLATES["dtd"][1] == "a photo of a {} pattern."


def test_new_data_sets_have_the_first_of_these_templates() -> None:
    assert {row.name: row.template for row in CLIP_ROWS} == {
        row.name: OPENAI_TEMPLATES[row.name][0] for row in CLIP_ROWS
    }


def test_imagenet_and_what_the_authors_of_clip_did_not_know_have_those_of_imagenet() -> None:
    for name in ("imagenet", "imagenet_r", "emoji"):
        assert DATASETS[name].templates_of("openai") == ensemble_templates("imagenet_80")
