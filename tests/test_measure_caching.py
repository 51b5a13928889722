"""Both sides of the measurement of caching compute the same; the measurement itself takes minutes."""

from pathlib import Path

import torch

from experiments.measure_caching import HEAD, both_models, caching_pass, measure, pictures_of, plain_pass
from harness.data.loader import normalise
from harness.training.shared_features import SharedFeatures


def test_the_caching_pass_gives_the_features_of_the_plain_model_and_keeps_them(tmp_path: Path) -> None:
    clip, model = both_models("clip-emoji")
    pictures = pictures_of(clip, 11)
    ours = caching_pass(clip, SharedFeatures(clip, "fp32"), pictures, 0, tmp_path)
    plain = plain_pass(model, normalise(pictures.squares, clip.mean, clip.std, clip.device), 4)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    assert list(tmp_path.glob("*.safetensors"))


def test_a_line_has_the_columns_of_the_head() -> None:
    line = measure("clip-emoji", images=9, rounds=1)
    assert line.count("|") == HEAD.count("|")
    assert line.startswith("| clip-emoji | 9 |")
