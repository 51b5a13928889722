"""The table of data sets: names, folders, templates."""

import json
from pathlib import Path

import pytest

from harness.clip.prompts import fill_template
from harness.data.datasets import DATASETS, find_dataset, find_folder, read_dataset
from harness.data.readers import Picture
from harness.errors import UserError

# key: folder, aliases, images, split file, usual template, template of fine-tuning and Skip Tuning
COOP = {
    "caltech101": (
        "caltech-101",
        ["Caltech101", "caltech101"],
        "101_ObjectCategories",
        "Caltech101",
        "a photo of a {}.",
        "itap of a {}.",
    ),
    "oxford_pets": (
        "oxford_pets",
        ["OxfordPets"],
        "images",
        "OxfordPets",
        "a photo of a {}, a type of pet.",
        "a bad photo of a {}, a type of pet.",
    ),
    "stanford_cars": (
        "stanford_cars",
        ["StanfordCars"],
        "",
        "StanfordCars",
        "a photo of a {}.",
        "a photo of the {}, a type of car.",
    ),
    "oxford_flowers": (
        "oxford_flowers",
        ["Flower102", "OxfordFlowers"],
        "jpg",
        "OxfordFlowers",
        "a photo of a {}, a type of flower.",
        "a close-up photo of a {}.",
    ),
    "food101": (
        "food-101",
        ["Food101", "food101"],
        "images",
        "Food101",
        "a photo of {}, a type of food.",
        "a photo of the nice {}.",
    ),
    "sun397": ("sun397", ["SUN397"], "SUN397", "SUN397", "a photo of a {}.", "a photo of a {}."),
    "dtd": ("dtd", ["DTD"], "images", "DescribableTextures", "{} texture.", "itap of a {}."),
    "eurosat": (
        "eurosat",
        ["EuroSAT"],
        "2750",
        "EuroSAT",
        "a centered satellite photo of {}.",
        "a centered satellite photo of {}.",
    ),
    "ucf101": (
        "ucf101",
        ["UCF101"],
        "UCF-101-midframes",
        "UCF101",
        "a photo of a person doing {}.",
        "a photo of a {}, a type of sport.",
    ),
}


def write_dataset(folder: Path, split: str) -> None:
    folder.mkdir()
    rows = [["a/1.jpg", 0, "one"], ["b/1.jpg", 1, "two"]]
    (folder / f"split_zhou_{split}.json").write_text(json.dumps({"train": rows, "val": rows, "test": rows}))


@pytest.mark.parametrize("name", COOP)
def test_coop_layout(name: str, tmp_path: Path) -> None:
    folder, _, images, split, _, _ = COOP[name]
    write_dataset(tmp_path / folder, split)
    splits = read_dataset(name, str(tmp_path))
    assert splits.folder == tmp_path / folder
    assert splits.class_names == ("one", "two")
    prefix = f"{images}/" if images else ""
    assert splits.train[1] == Picture(f"{prefix}b/1.jpg", 1)


@pytest.mark.parametrize(("name", "alias"), [(name, alias) for name in COOP for alias in COOP[name][1]])
def test_folder_aliases(name: str, alias: str, tmp_path: Path) -> None:
    (tmp_path / alias).mkdir()
    assert find_folder(find_dataset(name), str(tmp_path)) == tmp_path / alias


def test_the_usual_folder_comes_before_its_aliases(tmp_path: Path) -> None:
    for name in ("DTD", "dtd"):
        (tmp_path / name).mkdir(exist_ok=True)
    assert find_folder(find_dataset("dtd"), str(tmp_path)).name == "dtd"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data" / "dtd").mkdir(parents=True)
    assert find_folder(find_dataset("dtd"), "~/data") == tmp_path / "data" / "dtd"


def test_embedded_data_sets_need_no_data_root() -> None:
    embedded = [row for row in DATASETS.values() if row.name.startswith("emoji")]
    assert len(embedded) == 8
    for row in embedded:
        assert (find_folder(row, None) / "categories.txt").is_file()
        assert find_folder(row, "nowhere") == find_folder(row, None)
        assert row.settings == {"data": {"crop_scale": [0.6, 1.0]}}


def test_no_data_root_is_said_with_what_to_do() -> None:
    for root in (None, ""):
        with pytest.raises(UserError, match=r"data set 'food101' needs a data root: set DATA=.*food-101/"):
            find_folder(find_dataset("food101"), root)


def test_a_data_root_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data root '.*nowhere' does not exist"):
        find_folder(find_dataset("dtd"), str(tmp_path / "nowhere"))


def test_a_data_set_that_is_not_in_the_data_root_is_said_with_the_names_looked_for(tmp_path: Path) -> None:
    (tmp_path / "dtd").write_text("a file, no folder")
    with pytest.raises(UserError, match=r"'food101' is not in data root .*: looked for food-101, Food101, food101"):
        find_folder(find_dataset("food101"), str(tmp_path))
    with pytest.raises(UserError, match=r"'dtd' is not in data root .*: looked for dtd, DTD"):
        find_folder(find_dataset("dtd"), str(tmp_path))


@pytest.mark.parametrize(
    ("typo", "name"), [("oxford_pet", "oxford_pets"), ("emojis", "emoji"), ("food-101", "food101")]
)
def test_an_unknown_name_is_answered_with_the_nearest(typo: str, name: str) -> None:
    with pytest.raises(UserError) as caught:
        find_dataset(typo)
    message = str(caught.value)
    assert f"unknown data set '{typo}'. Did you mean '{name}'?" in message
    assert "ucf101" in message


@pytest.mark.parametrize("name", COOP)
def test_templates(name: str) -> None:
    *_, usual, finetune = COOP[name]
    row = find_dataset(name)
    assert row.template_of("zeroshot") == usual
    assert row.template_of("finetune") == finetune
    assert row.template_of("my {} here") == "my {} here"


def test_the_embedded_template_has_an_article() -> None:
    for which in ("zeroshot", "finetune"):
        template = find_dataset("emoji").template_of(which)
        assert fill_template(template, "animal_face") == "a drawing of an animal face."
        assert fill_template(template, "Bird") == "a drawing of a Bird."
