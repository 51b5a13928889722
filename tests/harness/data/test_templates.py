"""Ensembles of templates."""

import pytest

from harness.clip.prompts import fill_template
from harness.data.catalog import DATASETS
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
