"""ImageNet and its variants: class names, labels, folders."""

import shutil
from pathlib import Path

import pytest

from harness.data.class_lists import imagenet_names
from harness.data.datasets import read_dataset, read_folder
from harness.data.imagenet import read_solution
from harness.data.pictures import missing_pictures
from harness.errors import UserError
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


def test_class_names_that_are_nowhere_are_those_of_open_clip(tree_of: TreeOf, tmp_path: Path) -> None:
    tree_of("imagenet_r").write(tmp_path)
    (tmp_path / "imagenet-rendition" / "classnames.txt").unlink()
    splits = read_dataset("imagenet_r", str(tmp_path))
    assert splits.sources == ()
    assert splits.class_names == ("goldfish", "tiger shark")
    assert splits.layout == ("class names of open_clip (no classnames.txt)",)


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


def kaggle_tree(root: Path, jpeg: bytes, ids: list[str]) -> dict[str, str]:
    """Write ImageNet as Kaggle lays it out, with one training and one validation image a class; image -> WordNet id."""
    place = root / "ILSVRC" / "Data" / "CLS-LOC"
    labels = {f"ILSVRC2012_val_{len(ids) - number:08}": wordnet_id for number, wordnet_id in enumerate(ids)}
    for path in [*(f"train/{name}/{name}_1.JPEG" for name in ids), *(f"val/{name}.JPEG" for name in labels)]:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(jpeg)
    rows = [f"{image},{wordnet_id} 85 1 499 272 1 2 3 4 " for image, wordnet_id in labels.items()]
    (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]) + "\n")
    return labels


def test_imagenet_as_kaggle_lays_it_out(tmp_path: Path, tiny_jpeg: bytes) -> None:
    ids, root = list(imagenet_names()), tmp_path / "imagenet"
    labels = kaggle_tree(root, tiny_jpeg, ids)
    splits = read_dataset("imagenet", str(tmp_path))
    assert splits.class_names[:2] == ("tench", "goldfish")
    assert splits.class_names[999] == "toilet paper"
    assert pairs(splits.train) == [(f"train/{name}/{name}_1.JPEG", label) for label, name in enumerate(ids)]
    assert pairs(splits.test) == [(f"val/{image}.JPEG", label) for label, image in enumerate(labels)]
    assert splits.folder == root / "ILSVRC" / "Data" / "CLS-LOC"
    assert splits.sources == (root / "LOC_val_solution.csv",)
    assert splits.layout[1:] == ("class names of open_clip (no classnames.txt)",)
    assert not missing_pictures(splits.folder, [*splits.train, *splits.test])
    # The same in Kaggle's own folder, and where the data root itself is that folder.
    root.rename(tmp_path / "imagenet-object-localization-challenge")
    for place in (tmp_path, tmp_path / "imagenet-object-localization-challenge"):
        again = read_dataset("imagenet", str(place))
        assert (again.train, again.test, again.class_names) == (splits.train, splits.test, splits.class_names)
    shutil.rmtree(again.folder / "train" / "n15075141")
    (tmp_path / "imagenet-object-localization-challenge").rename(root)
    read_folder.cache_clear()
    assert "lacks the folders of 1 of 1000 classes (n15075141)" in one_line_error("imagenet", tmp_path)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("val_1,n99 1 2 3 4", "has the image 'val_1' with the class 'n99', which has no name"),
        ("val_1", "has the image 'val_1' with the class '', which has no name"),
        ("../1,n1 1 2 3 4", "'../1' leads out of the data set's folder"),
        ("val_0,n1 1 2 3 4", "has the image 'val_0' twice"),
    ],
)
def test_a_broken_line_of_kaggles_labels_is_named(row: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "LOC_val_solution.csv"
    path.write_text(f"ImageId,PredictionString\nval_0,n1 1 2 3 4\n{row}\n")
    with pytest.raises(UserError) as caught:
        read_solution(path, {"n1": "tench"})
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
