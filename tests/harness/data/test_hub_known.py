"""Data sets of the hub that are known: what they hold, and how their classes are called here."""

import pytest

from harness.data.catalog import DATASETS
from harness.data.hub_known import KnownSet, imagenet_names, known_set, known_sets, with_known
from harness.data.own_names import OPTIONS, parse_hub_name


def test_every_entry_is_of_a_data_set_of_the_catalog() -> None:
    for name, known in known_sets().items():
        assert known.dataset in DATASETS, name
        assert parse_hub_name(f"hf:{name}").place == name
        assert set(known.options) <= {*OPTIONS, "config"}, name
    assert known_set("nobody/nothing") is None


@pytest.mark.parametrize(
    ("entry", "there", "here"),
    [
        ("tanganke/stanford_cars", "Acura RL Sedan 2012", "2012 Acura RL Sedan"),
        ("tanganke/stanford_cars", "2012", "2012"),
        ("timm/oxford-iiit-pet", "Abyssinian", "abyssinian"),
        ("tanganke/eurosat", "annual crop land", "Annual Crop Land"),
        ("tanganke/eurosat", "SeaLake", "Sea or Lake"),
        ("tanganke/dtd", "banded", "banded"),
    ],
)
def test_names_of_classes(entry: str, there: str, here: str) -> None:
    known = known_set(entry)
    assert known is not None
    assert known.rename({0: there}) == {0: here}


def test_imagenet_has_the_names_of_clip() -> None:
    known = KnownSet(dataset="imagenet", checked=False, classes="imagenet")
    renamed = known.rename({label: f"synonyms of {label}" for label in range(1000)})
    assert (renamed[0], renamed[999]) == (imagenet_names()[0], imagenet_names()[999])
    assert imagenet_names()[0] == "tench"
    assert known.rename({0: "tench, Tinca tinca"}) == {0: "tench, Tinca tinca"}


def test_options_of_the_user_come_first() -> None:
    known = KnownSet(dataset="dtd", checked=True, options={"test": "validation", "label": "a", "config": "c"})
    name = with_known(parse_hub_name("hf:some/set:label=b"), known)
    assert (name.options, name.config) == ((("label", "b"), ("test", "validation")), "c")
    assert known.fact == "templates and class names of dtd"
