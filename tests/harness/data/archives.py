"""Made-up archives of data sets with a few classes and tiny pictures, as their authors and torchvision lay them out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

PER_CLASS = 10


def touch_pictures(root: Path, paths: Sequence[str], jpeg: bytes) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(jpeg)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def class_tree(root: Path, folders: Sequence[str], jpeg: bytes, number: int = PER_CLASS) -> None:
    touch_pictures(root, [f"{name}/{index:03}.jpg" for name in folders for index in range(number)], jpeg)


def pets_tree(root: Path, jpeg: bytes) -> None:
    breeds = {"Abyssinian": 1, "american_bulldog": 2, "pug": 3}
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for number in range(PER_CLASS):
        for name, breed in breeds.items():
            lists["trainval"].append(f"{name}_{number} {breed} 1 1")
            lists["test"].append(f"{name}_{100 + number} {breed} 2 {breed}")
    for part, lines in lists.items():
        write_lines(root / "annotations" / f"{part}.txt", lines)
        touch_pictures(root / "images", [f"{line.split()[0]}.jpg" for line in lines], jpeg)


def structures(rows: Sequence[Mapping[str, object]]) -> np.ndarray:
    """A row of MATLAB structures."""
    found = np.zeros((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for place, row in enumerate(rows):
        found[0, place] = tuple(row.values())
    return found


def cars_tree(root: Path, jpeg: bytes) -> None:
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    for part, path in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = [
            {"bbox_x1": 1, "class": 1 + number % 2, "fname": f"{number + 1:05}.jpg"} for number in range(2 * PER_CLASS)
        ]
        savemat(root / path, {"annotations": structures(rows)})
        touch_pictures(root / f"cars_{part}", [str(row["fname"]) for row in rows], jpeg)


def flowers_tree(root: Path, jpeg: bytes, names: Mapping[str, str] | None = None) -> None:
    labels = [1 + number // PER_CLASS for number in range(2 * PER_CLASS)]
    root.mkdir(parents=True)
    savemat(root / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    touch_pictures(root / "jpg", [f"image_{number + 1:05}.jpg" for number in range(len(labels))], jpeg)
    if names:
        (root / "cat_to_name.json").write_text(json.dumps(names))


def sun_tree(root: Path, jpeg: bytes, partitions: bool, inside: str = "") -> None:
    places = ["a/abbey", "c/church/outdoor"]
    write_lines(root / inside / "ClassName.txt", [f"/{place}" for place in places])
    class_tree(root / inside, places, jpeg, 2 * PER_CLASS)
    if partitions:
        for part, numbers in (("Training", range(PER_CLASS)), ("Testing", range(PER_CLASS, 2 * PER_CLASS))):
            lines = [f"/{place}/{number:03}.jpg" for number in numbers for place in places]
            write_lines(root / f"{part}_01.txt", lines)


def ucf_tree(root: Path, jpeg: bytes) -> None:
    actions = {"ApplyEyeMakeup": "Apply_Eye_Makeup", "YoYo": "Yo_Yo"}
    write_lines(
        root / "ucfTrainTestlist" / "classInd.txt",
        [f"{number} {action}" for number, action in enumerate(actions, start=1)],
    )
    for part, groups in (("train", range(8, 18)), ("test", range(1, 8))):
        names = [(action, f"v_{action}_g{group:02}_c01") for group in groups for action in actions]
        lines = [f"{action}/{name}.avi{' 1' if part == 'train' else ''}" for action, name in names]
        write_lines(root / "ucfTrainTestlist" / f"{part}list01.txt", lines)
        frames = [f"{actions[action]}/{name}.jpg" for action, name in names]
        touch_pictures(root / "UCF-101-midframes", frames, jpeg)
