"""What is told of a run's data before it trains, and what its result records of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from harness.clip.load import load_backbone
from harness.data.catalog import DATASETS
from harness.data.readers import Picture
from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.results.record import read_result
from harness.training.events import Event, Notice
from harness.training.notices import data_notices, fewest_and_most, kept_of, prompt_notice, training_shots
from harness.training.run import Run
from harness.training.run_data import RunData
from harness.training.same_prompts import same_prompts

Make = Callable[..., RunSpec]


def own(folder: Path, **counts: int) -> Path:
    """Class folders with so many PNG files."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (24, 24), (number, len(name), 9)).save(folder / name / f"{number}.png")
    return folder


def on_folder(spec: RunSpec, folder: Path) -> RunSpec:
    settings = json.loads(json.dumps(spec.settings()).replace('"emoji"', json.dumps(f"folder:{folder}")))
    return RunSpec.model_validate(settings)


def told(spec: RunSpec) -> tuple[list[str], tuple[int, int] | None]:
    data = RunData(spec)
    few_shot = data.few_shot()
    return list(data_notices(spec, data, few_shot)), training_shots(spec, data, few_shot)


def test_shots_that_are_not_there_are_told(make_spec: Make) -> None:
    words = "emoji has 16 training images a class, 32 were asked for: the run trains on 16"
    assert told(make_spec("skip", shots=32)) == ([words], (16, 16))
    assert told(make_spec("skip", shots=16)) == ([], (16, 16))
    assert told(make_spec("zeroshot", "train.epochs=0", shots=32)) == ([], None)


def test_shots_that_are_held_out_are_not_missing(make_spec: Make) -> None:
    assert told(make_spec("skip", "data.held_out=1/4", shots=16)) == ([], (12, 12))
    (words,), shots = told(make_spec("skip", "data.held_out=1/4", shots=32))
    assert words.endswith("32 were asked for, of which part 1/4 is held out: the run trains on 12")
    assert shots == (12, 12)
    assert kept_of(make_spec("skip", "data.held_out=1/3"), 4) == 2


def test_how_a_folder_is_split_is_told(make_spec: Make, tmp_path: Path) -> None:
    folder = own(tmp_path / "own", ant=20, bee=8, cat=12, dog=12)
    (folder / "ant" / "note.txt").touch()
    lines, shots = told(on_folder(make_spec("skip", shots=16), folder))
    name = f"folder:{folder}"
    assert lines[0] == (
        f"{name} has no train/ and test/, so it is split 50/20/30 by hash: 26 training, 9 validation, 17 test images"
    )
    assert lines[1].startswith(f"{name}: left out of the class folders: 1 .txt file (images are ")
    assert lines[2] == (
        f"{name} has 4 to 10 training images a class (half of each class's images are for training), "
        "16 were asked for: the run trains on 4 to 10"
    )
    assert (len(lines), shots) == (3, (4, 10))  # of the classes that are trained on


def test_broken_pictures_make_fewer_shots(make_spec: Make, tmp_path: Path) -> None:
    folder = own(tmp_path / "own", ant=8, bee=8, cat=8, dog=8)
    for path in (folder / "ant").iterdir():
        path.write_bytes(path.read_bytes()[:60] if int(path.stem) % 2 else path.read_bytes())
    lines, shots = told(on_folder(make_spec("skip", "data.skip_broken=true", shots=4), folder))
    assert shots is not None
    assert shots[0] < shots[1] == 4
    assert "broken ones left out, 4 were asked for" in lines[1]


def test_validation_shots_are_told_where_they_are_used(make_spec: Make, tmp_path: Path) -> None:
    folder = own(tmp_path / "own", ant=12, bee=12, cat=12, dog=12)
    spec = on_folder(make_spec("skip", shots=4), folder)
    assert len(told(spec)[0]) == 1
    evaluate = [item.model_copy(update={"splits": ("val",)}) for item in spec.evaluate]
    lines, _ = told(spec.model_copy(update={"evaluate": tuple(evaluate)}))
    assert lines[1:] == [f"folder:{folder} has 2 validation images a class, 4 were asked for"]


def test_an_evaluation_with_one_class_is_told(make_spec: Make, tmp_path: Path) -> None:
    folder = own(tmp_path / "own", ant=8, bee=8, cat=8)
    lines, _ = told(on_folder(make_spec("skip", shots=4), folder))
    assert lines[1:] == [
        f"evaluation 'new' of folder:{folder} has one class, 'cat': its accuracy is 100 % whatever a method does"
    ]


def test_classes_without_pictures_have_no_shots() -> None:
    assert fewest_and_most([Picture("a", 0), Picture("b", 0)], 2) == (0, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("polar bear", "polar  bear"),
        ("Polar Bear", "polar_bear"),
        ("salt & pepper", "salt &amp; pepper"),
        ("salt & pepper", "salt &amp;amp; pepper"),
        ("cafe\u0301", "café"),
        ("ﬁsh", "fish"),
        ("it's", "it\u2019s"),
        ("missile", "missile"),
    ],
)
def test_names_that_are_the_same_tokens(one: str, other: str) -> None:
    clip = load_backbone("clip-emoji")
    names = ["ant", one, "bear", other]
    groups = same_prompts(clip.tokenize([f"a photo of a {name.replace('_', ' ')}." for name in names]), names)
    assert groups == ((one, other),) or groups == ((f"{one} (label 1)", f"{other} (label 3)"),)


def test_a_folder_with_one_prompt_twice_is_refused(make_spec: Make, tmp_path: Path) -> None:
    folder = own(tmp_path / "own", **{"polar bear": 4, "Polar  bear": 4, "ant": 4, "zebra": 4})
    run = Run(on_folder(make_spec("skip", shots=2), folder), tmp_path / "results")
    with pytest.raises(UserError, match=r"classes 'Polar  bear' and 'polar bear' of .* rename one of the folders"):
        run.set_up()


def test_published_names_with_one_prompt_are_told_and_recorded(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ImageNet has two classes called missile and two called sunglasses."""
    from dataclasses import replace

    row = DATASETS["emoji-faces"]

    def read(folder: Path, **options: object) -> object:
        splits = row.read(folder, **options)
        names = list(splits.class_names)
        names[1] = names[0]
        return replace(splits, class_names=tuple(names), remarks=("odd",))

    monkeypatch.setitem(DATASETS, "emoji-missiles", replace(row, name="emoji-missiles", read=read))
    settings = make_spec("zeroshot", "train.epochs=0").settings()
    settings["evaluate"] = [{"name": "all", "dataset": "emoji-missiles", "classes": "base.base.base"}]
    events: list[Event] = []
    run = Run(RunSpec.model_validate(settings), tmp_path, events.append)
    run.execute()
    (evaluation,) = read_result(run.folder.result_file).evaluations
    ((one, other),) = evaluation.same_prompts
    assert one.endswith("(label 0)")
    assert other.endswith("(label 1)")
    assert evaluation.layout == ("odd",)
    lines = [event.text for event in events if isinstance(event, Notice)]
    assert "emoji-missiles: odd" in lines
    assert next(prompt_notice("emoji-missiles", evaluation.same_prompts)) in lines


def test_a_result_says_how_many_shots_there_were(make_spec: Make, tmp_path: Path) -> None:
    words = ("train.epochs=1", "train.warmup_epochs=0", "data.classes=base.base.base", "skip.depth=6")
    settings = make_spec("skip", *words, shots=17).settings()
    settings["evaluate"] = [{"name": "all", "dataset": "emoji", "classes": "base.base.base"}]
    run = Run(RunSpec.model_validate(settings), tmp_path)
    run.execute()
    assert read_result(run.folder.result_file).sample.shots == (16, 16)
