"""Predicting pictures of one's own: any finished run gives them the probabilities that its evaluation gave them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.datasets import read_dataset
from harness.data.pictures import read_picture
from harness.experiment.spec import RunSpec
from harness.results.folder import RunFolder
from harness.training.run import Run
from tests.commands import error_line, skipbench
from tests.evaluations import FEW_OF_BASE

Make = Callable[..., RunSpec]
# Nothing learned; trained; fitted and searched; fitted, trained and searched; fitted, with numbers that are no buffers.
METHODS = ("zeroshot", "skip", "tip_adapter", "tip_adapter_f", "linear_probe")
QUICK = ("train.epochs=2", "data.classes=base.base", FEW_OF_BASE, "runtime.threads=1")


def extracted(folder: RunFolder, into: Path) -> dict[str, tuple[str, float]]:
    """The pictures that a run recorded predictions of as files; path -> recorded class and its probability."""
    root, found = read_dataset("emoji", None).folder, {}
    for number, item in enumerate(folder.read_predictions()["base"]):
        path = into / f"{number}.png"
        read_picture(root, item.path).save(path)
        found[str(path)] = (item.predicted, item.confidence)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_gets_what_the_evaluation_gave_it(method: str, make_spec: Make, tmp_path: Path) -> None:
    spec = make_spec(method, *(word for word in QUICK if method != "zeroshot" or "epochs" not in word), shots=2)
    run = Run(spec, tmp_path)
    run.execute()
    wanted = extracted(run.folder, tmp_path)
    done = skipbench("predict", spec.id[:8], *wanted, "--top", "1", "--json", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["run"] == spec.id
    assert len(answer["classes"]) == 12
    for picture in answer["pictures"]:
        (best,) = picture["predictions"]
        name, confidence = wanted[picture["path"]]
        assert best["class"] == name
        assert best["probability"] == pytest.approx(confidence, abs=1e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, list[str]]:
    """A finished run of a method that trains, and two pictures."""
    from harness.experiment.grid import expand, load_experiment
    from harness.experiment.recipes import EXPERIMENTS
    from harness.experiment.settings import parse_overrides

    grid = {"seeds": [1], "shots": [1], "methods": ["clip_adapter"]}
    (spec,) = expand(load_experiment(EXPERIMENTS / "bench.yaml", grid), parse_overrides([*QUICK, "train.batch_size=4"]))
    results = tmp_path_factory.mktemp("results")
    run = Run(spec, results)
    run.execute()
    pictures = tmp_path_factory.mktemp("pictures")
    return run.folder, list(extracted(run.folder, pictures))[:2]


def test_run_folder_and_checkpoint_give_the_same(trained: tuple[RunFolder, list[str]], tmp_path: Path) -> None:
    folder, pictures = trained
    of_folder = skipbench("predict", str(folder.path), *pictures).stdout
    assert of_folder == skipbench("predict", str(folder.checkpoint_file), *pictures).stdout
    # A checkpoint that was moved away from its run is enough: names come from the data set.
    moved = tmp_path / "best.safetensors"
    moved.write_bytes(folder.checkpoint_file.read_bytes())
    assert of_folder == skipbench("predict", str(moved), *pictures).stdout
    head, *lines = of_folder.splitlines()
    assert head == "clip_adapter-emoji-1shot-seed1, 12 classes"
    assert [line.partition(":")[0] for line in lines] == pictures
    assert all(line.count(" %") == 5 for line in lines)


def test_other_classes_are_asked_for_by_name_file_or_subset(
    trained: tuple[RunFolder, list[str]], tmp_path: Path
) -> None:
    folder, pictures = trained
    words = ("predict", str(folder.path), str(Path(pictures[0]).parent), "--json", "--classes")
    names = tmp_path / "names.txt"
    names.write_text("cat\n\nred fox\n")
    one, two = (json.loads(skipbench(*words, text).stdout) for text in ("cat,red fox", str(names)))
    assert one == two
    assert one["classes"] == ["cat", "red fox"]
    for picture in one["pictures"]:
        assert sum(item["probability"] for item in picture["predictions"]) == pytest.approx(1)
    assert len(json.loads(skipbench(*words, "new").stdout)["classes"]) == 22
    assert "give at least two names" in error_line(*words[:-2], "--classes", "cat")
    names.write_bytes("\ufeffcat\r\nred fox\r\n".encode())
    assert json.loads(skipbench(*words, str(names)).stdout) == one
    names.write_bytes("café\ncat\n".encode("latin-1"))
    assert f"'{names}' cannot be read as text" in error_line(*words, str(names))


def test_what_cannot_be_predicted_is_one_line(trained: tuple[RunFolder, list[str]], tmp_path: Path) -> None:
    folder, pictures = trained
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    done = skipbench("predict", str(folder.path), pictures[0], str(bad), str(tmp_path / "gone.png"))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2, "the picture that can be read is predicted"
    assert [line.partition("'")[2].rpartition("'")[0] for line in done.stderr.splitlines()] == [
        str(bad),
        str(tmp_path / "gone.png"),
    ]
    assert "no folder of a run" in error_line("predict", str(tmp_path), pictures[0])
    assert "there is no checkpoint and no folder" in error_line("predict", str(tmp_path / "x" / "y"), pictures[0])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no pictures" in error_line("predict", str(folder.path), str(empty))
    assert "is no checkpoint of a run" in error_line("predict", str(bad), pictures[0])
