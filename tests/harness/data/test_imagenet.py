"""ImageNet and its variants: class names, labels, folders."""

import shutil
from pathlib import Path

import pytest

from harness.data.datasets import read_dataset
from tests.harness.data.trees import TreeOf, check, one_line_error, pairs


@pytest.mark.parametrize("name", ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"])
@pytest.mark.parametrize("imagenet", ["imagenet", "ImageNet"])
def test_variants_take_class_names_from_imagenets_folder(
    name: str, imagenet: str, tree_of: TreeOf, tmp_path: Path
) -> None:
    tree = tree_of(name)
    tree.write(tmp_path)
    (tmp_path / imagenet).mkdir()
    (tmp_path / tree.folder / "classnames.txt").rename(tmp_path / imagenet / "classnames.txt")
    splits = read_dataset(name, str(tmp_path))
    check(splits, tree)
    assert splits.layout == (f"classnames.txt of {imagenet}/",)


def test_class_names_that_are_nowhere_are_missed_in_both_places(tree_of: TreeOf, tmp_path: Path) -> None:
    tree_of("imagenet_a").write(tmp_path)
    (tmp_path / "imagenet-adversarial" / "classnames.txt").unlink()
    message = one_line_error("imagenet_a", tmp_path)
    assert message.startswith(
        f"classnames.txt is neither in '{tmp_path}/imagenet-adversarial' nor in '{tmp_path}/imagenet': get it"
    )


def test_labels_of_the_variants_are_those_of_imagenet_or_their_own(tree_of: TreeOf, tmp_path: Path) -> None:
    for name in ("imagenet", "imagenet_sketch", "imagenet_a"):
        tree_of(name).write(tmp_path)
    imagenet, sketch, adversarial = (
        read_dataset(name, str(tmp_path)) for name in ("imagenet", "imagenet_sketch", "imagenet_a")
    )
    assert sketch.class_names == imagenet.class_names
    assert adversarial.class_names == ("goldfish", "tiger")
    assert {label for _, label in adversarial.test} == {0, 1}


def test_imagenet_without_training_pictures_is_for_testing(tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of("imagenet")
    shutil.rmtree(tree.write(tmp_path) / "train")
    splits = read_dataset("imagenet", str(tmp_path))
    assert (splits.train, pairs(splits.test)) == ((), tree.test)
    assert splits.layout == ("no images/train/: for testing only",)


def test_validation_pictures_of_imagenet_that_were_not_sorted_into_folders(tree_of: TreeOf, tmp_path: Path) -> None:
    place = tree_of("imagenet").write(tmp_path)
    for file in sorted((place / "val").glob("*/*")):
        file.rename(place / "val" / file.name)
    for wordnet_id in ("n01440764", "n01443537", "n01484850", "n01491361"):
        (place / "val" / wordnet_id).rmdir()
    assert "are not in class folders: sort them into one per WordNet id" in one_line_error("imagenet", tmp_path)


def test_files_that_are_no_pictures_are_left_out(tree_of: TreeOf, tmp_path: Path) -> None:
    tree = tree_of("imagenet")
    place = tree.write(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "list.txt"):
        (place / "val" / "n01440764" / name).write_text("no picture")
    (place / "val" / ".hidden").mkdir()
    (place / "train" / "notes.txt").write_text("no folder")
    check(read_dataset("imagenet", str(tmp_path)), tree)
