"""Pictures on the page come from the data set's folder, whatever the predictions name; numbers of runs as they are."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from harness.data.thumbnails import is_inside
from harness.experiment.spec import RunSpec
from harness.report.run_details import MOST_POINTS, SELECTION, accuracy_curves, thinned, thumbnail, thumbnails
from harness.results.epochs import EpochRecord
from tests.commands import skipbench

Plan = Callable[..., list[RunSpec]]
Fill = Callable[..., dict[str, dict[str, float]]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a picture and an archive, a secret picture beside it, and links to that."""
    folder = tmp_path / "data" / "set"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(folder / "in.png")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "data" / "secret.png")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.write(folder / "in.png", "inside/in.png")
        archive.write(tmp_path / "data" / "secret.png", "../../secret.png")
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "here.png").symlink_to("in.png")
    (folder / "up").symlink_to("..")
    with zipfile.ZipFile(tmp_path / "data" / "secret.zip", "w") as archive:
        archive.write(tmp_path / "data" / "secret.png", "secret.png")
    (folder / "linked.zip").symlink_to("../secret.zip")
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.mark.parametrize("path", ["in.png", "here.png", "archive.zip/inside/in.png", "./in.png"])
def test_pictures_below_the_folder_are_shown(path: str, pictures: Path) -> None:
    assert is_inside(pictures, path)
    assert (thumbnail(pictures, path) or "").startswith("data:image/webp;base64,")


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "../set/in.png",
        "archive.zip/../../secret.png",
        "archive.zip/inside/../../../secret.png",
        "link.png",
        "up/secret.png",
        "linked.zip/secret.png",
        "pipe.png",
        "missing.png",
        ".",
        "",
        "a\0b.png",
        "x" * 5000,
    ],
)
def test_no_other_picture_is(path: str, pictures: Path) -> None:
    assert thumbnail(pictures, path) is None
    assert thumbnail(pictures, str((pictures / path).absolute()) if "\0" not in path else path) is None


def test_the_page_embeds_pictures_of_the_data_set_only(pictures: Path) -> None:
    for name in ("cat", "dog"):
        (pictures / name).mkdir()
        for number in range(4):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(pictures / name / f"{number}.png")
    for path in ("link.png", "here.png", "in.png", "up", "pipe.png", "archive.zip", "linked.zip"):
        (pictures / path).unlink()
    wanted = dict.fromkeys(("cat/0.png", "../secret.png", str(pictures.parent / "secret.png")), f"folder:{pictures}")
    assert list(thumbnails(wanted, None, 10**6)) == ["cat/0.png"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"accuracy": float("nan")}, "accuracy nan % of 'base'"),
        ({"accuracy": -1.0}, "accuracy -1 % of 'base'"),
        ({"accuracy": 1e300}, "accuracy 1e+300 % of 'base'"),
        ({"accuracy": float("inf")}, "accuracy inf % of 'base'"),
        ({"ece": -3.0}, "calibration error -3 % of 'base'"),
    ],
)
def test_impossible_numbers_are_damage(
    change: dict[str, float], told: str, tmp_path: Path, plan_runs: Plan, fill: Fill
) -> None:
    specs = plan_runs("base_to_new", methods=["zeroshot", "skip"], seeds=[1, 2])
    fill(tmp_path, specs)
    path = tmp_path / "runs" / specs[-1].id / "result.json"
    result = json.loads(path.read_text())
    result["evaluations"][0].update(change)
    path.write_text(json.dumps(result))
    commands = [("table",), ("report",), ("table", "--over", "skip.depth", "--methods", "skip")]
    for words in [*commands, ("figures",)] if change == {"accuracy": -1.0} else commands[:1]:
        done = skipbench(*words, "--results", str(tmp_path))
        assert done.returncode == 1, done
        assert done.stderr.count("damaged: ") == 1
        assert str(path) in done.stderr


def test_curves_hold_validated_epochs_and_end_with_the_last() -> None:
    records = [
        EpochRecord(epoch=epoch, loss=1.0, lr=0.1, accuracies={"val": 50.0 + epoch} if epoch % 2 else {})
        for epoch in range(4)
    ]
    records[3] = records[3].model_copy(update={"selection_accuracy": 60.126})
    assert accuracy_curves(records) == {"val": [(2, 51.0), (4, 53.0)], SELECTION: [(4, 60.13)]}
    points = [(epoch, 0.0) for epoch in range(1, 2 * MOST_POINTS + 2)]
    assert (len(thinned(points)), thinned(points)[-1]) == (41, points[-1])
    assert thinned(points[:MOST_POINTS]) == points[:MOST_POINTS]


def test_impossible_costs_and_classes(tmp_path: Path, plan_runs: Plan, fill: Fill) -> None:
    specs = plan_runs("base_to_new", methods=["zeroshot", "skip"], seeds=[1])
    fill(tmp_path, specs)
    path = tmp_path / "runs" / specs[-1].id / "result.json"
    result = json.loads(path.read_text())
    result["evaluations"][0]["per_class"] = {"cat": float("nan"), "dog": 1e300}
    path.write_text(json.dumps(result))
    (path.parent / "predictions.json").write_text(
        '{"base": [{"path": "x", "label": "cat", "predicted": "dog", "confidence": NaN}]}'
    )
    assert skipbench("report", "--results", str(tmp_path)).returncode in (0, 1)
    result["costs"]["phases"]["train"]["seconds"] = -1.0
    path.write_text(json.dumps(result))
    done = skipbench("table", "--results", str(tmp_path))
    assert (done.returncode, done.stderr.startswith(f"damaged: '{path}'")) == (1, True)
