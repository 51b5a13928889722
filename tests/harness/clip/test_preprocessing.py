"""What a model's configuration says about images reaches the image tower: pixel for pixel as open_clip does it."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from harness.clip.configuration import PreprocessConfiguration
from harness.clip.load import build_without_weights, load_backbone
from harness.clip.preprocessing import Preprocessing
from harness.data.loader import normalise
from harness.data.transforms import TestTransform, TrainTransform, transform_hash
from harness.errors import UserError

SIZES = [(37, 23), (23, 37), (300, 41), (16, 16), (17, 16), (5, 9), (224, 224), (33, 500)]


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_test_transform_equals_open_clips(resize_mode: str, interpolation: str) -> None:
    mean, std, fill = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 90
    preprocessing = Preprocessing(16, mean, std, interpolation, resize_mode, fill)  # type: ignore[arg-type]
    theirs = open_clip.image_transform(16, False, mean, std, resize_mode, interpolation, fill)
    for size in SIZES:
        image = noise(*size)
        ours = torch.from_numpy(np.array(TestTransform.of(preprocessing)(image, ""))).permute(2, 0, 1)
        pixels = normalise(ours[None], preprocessing.mean, preprocessing.std, torch.device("cpu"))[0]
        torch.testing.assert_close(pixels, theirs(image), rtol=0, atol=1e-6)


def test_every_setting_of_the_transform_matters_and_enters_its_hash() -> None:
    image = noise(40, 23)
    changes: list[dict[str, object]] = [
        {},
        {"interpolation": "bilinear"},
        {"resize_mode": "squash"},
        {"resize_mode": "longest"},
        {"resize_mode": "longest", "fill_color": 7},
    ]
    transforms = [TestTransform(16, **change) for change in changes]  # type: ignore[arg-type]
    assert len({transform(image, "").tobytes() for transform in transforms}) == len(changes)
    hashes = {transform_hash([transform], (0.5,) * 3, (0.5,) * 3) for transform in transforms}
    assert len(hashes) == len(changes)
    train = [TrainTransform(16), TrainTransform(16, interpolation="bilinear")]
    assert train[0](image, "key").tobytes() != train[1](image, "key").tobytes()
    assert transform_hash([train[0]], 0, 1) != transform_hash([train[1]], 0, 1)


def test_hash_of_the_usual_preprocessing_is_that_of_committed_results() -> None:
    # Of results/embedded: it must not change because preprocessing has more settings now.
    root = Path(__file__).parents[3]
    result = json.loads(next(root.glob("results/embedded/runs/*/result.json")).read_text())
    clip, data = load_backbone("clip-emoji"), result["spec"]["data"]
    train = TrainTransform(clip.image_size, tuple(data["crop_scale"]), data["flip"], clip.preprocessing.interpolation)
    found = transform_hash([train, TestTransform.of(clip.preprocessing)], clip.mean, clip.std)
    assert found == result["transform_hash"]


def configured(tiny: Path, folder: Path, **preprocess: object) -> str:
    """A copy of the tiny backbone with another preprocessing."""
    for path in tiny.parent.iterdir():
        shutil.copy(path, folder)
    file = folder / "tiny.json"
    config = json.loads(file.read_text()) | {"preprocess_cfg": preprocess}
    file.write_text(json.dumps(config))
    return str(folder / "tiny.safetensors")


def test_all_of_a_configuration_reaches_the_backbone(tiny: Path, tmp_path: Path) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    text = configured(
        tiny,
        tmp_path,
        size=[16, 16],
        mode="RGB",
        mean=mean,
        std=std,
        interpolation="bilinear",
        resize_mode="longest",
        fill_color=3,
    )
    for clip in (load_backbone(text), build_without_weights(text)):
        assert clip.preprocessing == Preprocessing(16, mean, std, "bilinear", "longest", 3)
        assert (clip.image_size, clip.mean, clip.std) == (16, mean, std)
    assert load_backbone(configured(tiny, tmp_path, mean=None)).preprocessing == Preprocessing(16)
    # open_clip computes bicubic where a configuration says random.
    assert load_backbone(configured(tiny, tmp_path, interpolation="random")).preprocessing == Preprocessing(16)


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        ({"size": 24}, "takes images of 16 pixels, but its preprocess_cfg.size is 24"),
        ({"resize_mode": "crop"}, "'preprocess_cfg.resize_mode': input should be 'shortest', 'longest' or 'squash'"),
        ({"interpolation": "lanczos"}, "interpolation': input should be 'bicubic', 'bilinear' or 'random'"),
        ({"size": [16, 24]}, r"takes images of 16 pixels, but its preprocess_cfg.size is \(16, 24\)"),
        ({"mode": "L"}, "'preprocess_cfg.mode'"),
        ({"fill_color": 256}, "'preprocess_cfg.fill_color'"),
        ({"std": [1, 0, 1]}, r"'preprocess_cfg.std.1'"),
        ({"mean": [0.5]}, "'preprocess_cfg.mean"),
        ({"fil_color": 0}, "unknown key 'preprocess_cfg.fil_color'. Did you mean 'fill_color'"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    tiny: Path, tmp_path: Path, preprocess: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_backbone(configured(tiny, tmp_path, **preprocess))


def test_defaults_are_open_clips() -> None:
    ours, theirs = PreprocessConfiguration().model_dump(), vars(open_clip.transform.PreprocessCfg())
    assert {key: ours[key] for key in ours if key != "size"} == {key: theirs[key] for key in theirs if key != "size"}
