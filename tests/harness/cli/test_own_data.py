"""Data of the user's own: a folder of pictures, a given k-shot index, broken pictures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.datasets import read_dataset
from harness.data.fewshot import class_subset, keep_classes
from harness.data.pictures import read_picture
from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.results.record import Result, read_result
from harness.training.run import Run
from harness.training.run_data import RunData
from tests.commands import error_line, skipbench

Make = Callable[..., RunSpec]
SHORT = ("train.epochs=1", "train.warmup_epochs=0", "train.batch_size=4")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six class folders of sixteen PNG files each."""
    root, emoji = tmp_path_factory.mktemp("own") / "my pictures", read_dataset("emoji")
    for picture in emoji.train:
        if picture.label < 6:
            folder = root / emoji.class_names[picture.label].replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            read_picture(emoji.folder, picture.path).save(folder / f"{picture.path.replace('/', '-')}.png")
    return root


def execute(spec: RunSpec, results: Path) -> Result:
    run = Run(spec, results)
    run.execute()
    return read_result(run.folder.result_file)


def on_folder(make_spec: Make, folder: Path, *overrides: str) -> RunSpec:
    spec = make_spec("skip", *SHORT, *overrides, shots=4)
    settings = json.loads(json.dumps(spec.settings()).replace('"emoji"', json.dumps(f"folder:{folder}")))
    return RunSpec.model_validate(settings)


def test_from_a_folder_of_pictures_to_a_table_in_one_command(pictures: Path, tmp_path: Path) -> None:
    words = ["bench", "zeroshot,skip", "--dataset", f"folder:{pictures}", "--seeds", "1", "--shots", "4", *SHORT]
    done = skipbench(*words, "--results", str(tmp_path))
    assert f"base_to_new, folder:{pictures}, 4 shots" in done.stdout
    results = [read_result(path) for path in tmp_path.glob("runs/*/result.json")]
    assert {result.spec.method for result in results} == {"zeroshot", "skip"}
    assert all(result.layout == ("split 50/20/30 by hash",) for result in results)
    assert [item.template for item in results[0].evaluations] == ["a photo of a {}."] * 2


def test_a_given_index_is_the_sample_whatever_the_seed(make_spec: Make, tmp_path: Path) -> None:
    # Few images, since no accuracy counts here.
    evaluated = "evaluate=[{name: seen, dataset: emoji, classes: base.base.base, splits: [test]}]"
    small = ("data.classes=base.base", evaluated, *SHORT)
    first = execute(make_spec("skip", *small, shots=2, seed=1), tmp_path / "first")
    index = next(tmp_path.glob("first/runs/*/sample.json"))
    given = execute(make_spec("skip", *small, f"data.index={index}", shots=2, seed=7), tmp_path / "given")
    drawn = execute(make_spec("skip", *small, shots=2, seed=7), tmp_path / "drawn")
    assert given.sample.hash == first.sample.hash != drawn.sample.hash


def test_a_run_is_known_by_what_stands_in_its_index(make_spec: Make, tmp_path: Path) -> None:
    for name, text in (("a", "{}"), ("b", "{}"), ("c", "[]")):
        (tmp_path / name).write_text(text)
    a, b, c = (make_spec("skip", f"data.index={tmp_path / name}").id for name in "abc")
    assert a == b != c
    assert a != make_spec("skip").id
    with pytest.raises(UserError, match=r"data\.index='/nowhere' cannot be read: No such file"):
        make_spec("skip", "data.index=/nowhere").id  # noqa: B018


def broken_copy(pictures: Path, where: Path) -> tuple[Path, int]:
    """The pictures, of which three in every class are no pictures; how many that are."""
    shutil.copytree(pictures, where)
    chosen = [path for folder in sorted(where.iterdir()) for path in sorted(folder.iterdir())[:3]]
    for path in chosen:
        path.write_bytes(path.read_bytes()[:40])
    return where, len(chosen)


def test_a_broken_picture_stops_the_run_before_training(make_spec: Make, pictures: Path, tmp_path: Path) -> None:
    folder, _ = broken_copy(pictures, tmp_path / "broken")
    run = Run(on_folder(make_spec, folder), tmp_path)
    with pytest.raises(UserError, match=r"image '.*\.png' cannot be decoded .*data\.skip_broken=true"):
        run.execute()
    assert not (run.folder.path / "metrics.jsonl").exists()


def test_broken_pictures_are_left_out_and_counted_when_asked(make_spec: Make, pictures: Path, tmp_path: Path) -> None:
    folder, broken = broken_copy(pictures, tmp_path / "broken")
    spec = on_folder(make_spec, folder, "data.skip_broken=true", "train.batches=random")
    whole = execute(on_folder(make_spec, pictures), tmp_path / "whole")
    result = execute(spec, tmp_path / "skipped")
    sample = result.sample
    intact = whole.sample.train_images + whole.sample.val_images
    assert sample.train_images + sample.val_images == intact - len(sample.broken_images)
    assert 0 < len(sample.broken_images) <= broken
    for ours, theirs in zip(result.evaluations, whole.evaluations, strict=True):
        assert ours.images + ours.broken_images == theirs.images
    assert sum(item.broken_images for item in result.evaluations) > 0


def test_missing_test_pictures_are_told_before_training(make_spec: Make, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "split"
    emoji = sorted(path.name for path in pictures.iterdir())
    for name in emoji:
        for split in ("train", "val", "test"):
            shutil.copytree(pictures / name, folder / split / name)
    spec = on_folder(make_spec, folder)
    run = Run(spec, tmp_path / "results")
    gone = sorted((folder / "test" / emoji[0]).iterdir())[0]
    read_dataset(f"folder:{folder}")  # the list is read before the picture goes
    gone.unlink()
    with pytest.raises(UserError, match=r"1 test images of data set .* are missing, the first is .*skip_broken=true"):
        run.execute()


def test_the_sample_of_every_run_can_be_given_back(make_spec: Make, pictures: Path, tmp_path: Path) -> None:
    folder, _ = broken_copy(pictures, tmp_path / "broken")
    words = ("data.skip_broken=true", "train.batches=random", "data.held_out=1/2")
    first = execute(on_folder(make_spec, folder, *words), tmp_path / "first")
    index = next(tmp_path.glob("first/runs/*/sample.json"))
    given = execute(on_folder(make_spec, folder, *words, f"data.index={index}"), tmp_path / "given")
    assert first.sample.broken_images
    assert given.sample.hash == first.sample.hash
    assert given.accuracies == first.accuracies


def test_no_shot_is_both_trained_on_and_held_out_although_some_are_broken(
    make_spec: Make, pictures: Path, tmp_path: Path
) -> None:
    folder, _ = broken_copy(pictures, tmp_path / "broken")
    held = "evaluate=[{name: held, dataset: emoji, classes: base, splits: [held_out]}]"
    spec = on_folder(make_spec, folder, "data.skip_broken=true", "data.held_out=1/2", held)
    data = RunData(spec)
    sample = data.few_shot()
    assert sample.broken
    found, _ = data.evaluated_pictures(spec.evaluate[0], sample.splits)
    trained = data.training_pictures(sample)
    assert not {picture.path for picture in found} & {picture.path for picture in trained}
    labels = class_subset(len(sample.splits.class_names), "base")
    assert sorted([*found, *trained]) == sorted(keep_classes(sample.drawn.train, labels))


def test_too_few_classes_for_a_protocol_are_one_line_before_any_run(pictures: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    shutil.copytree(next(pictures.iterdir()), one / "only")
    words = ["--dataset", f"folder:{one}", "--results", str(tmp_path / "results"), *SHORT]
    lines = [error_line(command, "skip", *words) for command in ("bench", "sweep")]
    assert lines == [
        f"error: folder:{one}: 1 class cannot be divided into halves down to '{subset}', which takes at least "
        f"{fewest}: "
        "`--protocol few_shot` divides none"
        for subset, fewest in (("new", 2), ("base.new", 3))
    ]
    assert not (tmp_path / "results" / "runs").exists()


def test_of_an_own_folder_no_place_to_get_it_is_named(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(next(pictures.iterdir()), folder / "one")
    (folder / "empty").mkdir()
    done = skipbench("data", f"folder:{folder}")
    assert done.returncode == 1
    assert "class 'empty' has no images" in done.stdout
    assert "get it" not in done.stdout
