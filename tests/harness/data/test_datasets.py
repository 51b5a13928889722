"""The table of data sets: names, folders, templates."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.clip.prompts import fill_template
from harness.data.catalog import DATASETS
from harness.data.datasets import find_dataset, find_folder, own_content
from harness.data.own_names import split_names
from harness.errors import UserError
from harness.experiment.grid import Experiment


def test_the_usual_folder_comes_before_its_aliases(tmp_path: Path) -> None:
    for name in ("DTD", "dtd"):
        (tmp_path / name).mkdir(exist_ok=True)
    assert find_folder(find_dataset("dtd"), str(tmp_path)).name == "dtd"


def test_the_exact_name_comes_before_another_spelling(tmp_path: Path) -> None:
    for name in ("FOOD_101", "Food101", "food-101"):
        (tmp_path / name).mkdir()
    assert find_folder(find_dataset("food101"), str(tmp_path)).name == "food-101"
    (tmp_path / "food-101").rmdir()
    assert find_folder(find_dataset("food101"), str(tmp_path)).name == "FOOD_101"  # by name, whatever the disk's order


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
    with pytest.raises(UserError, match=r"'food101' is not in data root .*: looked for food-101, in any case"):
        find_folder(find_dataset("food101"), str(tmp_path))
    with pytest.raises(UserError, match=r"'oxford_pets' is not in .*: looked for oxford_pets, oxford-iiit-pet, in any"):
        find_folder(find_dataset("oxford_pets"), str(tmp_path))


@pytest.mark.parametrize(
    ("typo", "name"), [("oxford_pet", "oxford_pets"), ("emojis", "emoji"), ("food-101", "food101")]
)
def test_an_unknown_name_is_answered_with_the_nearest(typo: str, name: str) -> None:
    with pytest.raises(UserError) as caught:
        find_dataset(typo)
    message = str(caught.value)
    assert f"unknown data set '{typo}'. Did you mean '{name}'? `skipbench list` names all" in message
    assert "folder:PATH" in message


def test_the_embedded_template_has_an_article() -> None:
    for which in ("zeroshot", "finetune"):
        template = find_dataset("emoji").template_of(which)
        assert fill_template(template, "animal_face") == "a drawing of an animal face."
        assert fill_template(template, "Bird") == "a drawing of a Bird."


def test_naming_data_sets_needs_no_torch() -> None:
    code = "import sys, harness.data.status, harness.data.datasets; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_path_of_a_folder_may_contain_commas(tmp_path: Path) -> None:
    folder = f"folder:{tmp_path}/a,b"
    assert split_names(f"dtd, {folder},eurosat") == ["dtd", f"folder:{tmp_path}/a", "b", "eurosat"]
    (tmp_path / "a,b").mkdir()
    assert split_names(f"dtd, {folder},eurosat,") == ["dtd", folder, "eurosat"]
    assert split_names(f"{folder},{folder}") == [folder, folder]
    (tmp_path / "a").mkdir()
    assert split_names(f"folder:{tmp_path}/a,{folder}") == [f"folder:{tmp_path}/a", folder]
    experiment = Experiment(datasets=f"emoji,{folder}", targets=folder)
    assert (experiment.datasets, experiment.targets) == (("emoji", folder), (folder,))


def test_a_pipe_in_a_folder_of_ones_own_is_named(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "cat" / f"{number}.jpg").touch()
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    with pytest.raises(UserError, match=r"cat/pipe\.jpg' cannot be read: it is no regular file"):
        own_content(f"folder:{tmp_path}")
