"""TaskRes: residuals of texts, on the backbone's text projection or on a tuned one."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from harness.clip.towers import CLIP
from harness.errors import UserError
from harness.experiment.training_spec import TrainSpec
from harness.training.build import build_method
from harness.training.optimizer import build_optimizer
from methods.base import OtherClassesError, WeightsError
from methods.taskres import TaskRes

TEXTS = ["a drawing of a cat.", "a drawing of a dog.", "a drawing of a building."]


def make(clip: CLIP, scale: float = 0.5) -> TaskRes:
    return TaskRes(clip, TaskRes.Config(residual_scale=scale), clip.tokenize(TEXTS))


def test_residuals_are_added_to_texts_as_they_are(clip: CLIP) -> None:
    method, text = make(clip, scale=0.25), clip.text.run(clip.tokenize(TEXTS).ids)
    torch.testing.assert_close(method.text_features(), text)
    assert not torch.allclose(text.norm(dim=-1), torch.ones(3))
    with torch.no_grad():
        method.residual.normal_()
    torch.testing.assert_close(method.text_features(), text + 0.25 * method.residual)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(method.text_features(some), method.text_features()[some])
    assert [name for name, value in method.named_parameters() if value.requires_grad] == ["residual"]


def test_weight_decay_is_part_of_the_gradient_of_adam(clip: CLIP) -> None:
    """Without a gradient, decoupled decay would shrink a residual by lr * decay; Adam moves it by a whole step."""
    method = make(clip)
    with torch.no_grad():
        method.residual.fill_(2.0)
    recipe = TrainSpec(optimizer="adam", lr=2e-3, weight_decay=5e-4)
    optimizer = build_optimizer(method, recipe)
    (0 * method.residual.sum()).backward()
    optimizer.step()
    torch.testing.assert_close(method.residual, torch.full_like(method.residual, 2.0 - 2e-3), atol=1e-6, rtol=0)


def test_an_enhanced_base_replaces_the_text_projection(clip: CLIP) -> None:
    prompts, projection = clip.tokenize(TEXTS), clip.text.text_projection.detach().clone()
    plain = clip.text.run(prompts.ids)
    # The authors keep the weight of a linear layer: embedding x width.
    tuned = (2 * projection).T
    config = TaskRes.Config(enhanced_base="tuned.pt")
    method = TaskRes(clip, config, prompts, weights={"enhanced_base": tuned})
    torch.testing.assert_close(method.text_features(), 2 * plain)
    again = TaskRes(clip, config, prompts, cache_text=False, weights={"enhanced_base": 3 * projection.T})
    torch.testing.assert_close(again.text_features(), 3 * plain)
    x = torch.randn(2, clip.embed_dim)
    expected = clip.logit_scale.exp() * F.normalize(x, dim=-1) @ F.normalize(plain, dim=-1).T
    torch.testing.assert_close(again.logits(x, again.text_features()), expected)


def test_a_projection_of_another_shape_is_refused(clip: CLIP) -> None:
    width, size = clip.text.text_projection.shape
    assert width != size
    for wrong in (torch.zeros(width, size), torch.zeros(()), torch.zeros(size)):
        with pytest.raises(WeightsError, match=rf"^enhanced_base: .*needs {size}x{width}"):
            TaskRes(clip, TaskRes.Config(), clip.tokenize(TEXTS), weights={"enhanced_base": wrong})


def test_other_classes_have_no_residuals(clip: CLIP) -> None:
    method = make(clip)
    with pytest.raises(OtherClassesError, match="training classes"):
        method.set_classes(clip.tokenize(TEXTS[:2]))
    assert TaskRes.keeps_underscores
    assert not TaskRes.averages_normalised


def test_the_harness_reads_the_file_of_an_enhanced_base(clip: CLIP, tmp_path: Path) -> None:
    file = tmp_path / "tuned.safetensors"
    save_file({"weight": (2 * clip.text.text_projection).T.contiguous()}, file)
    plain = clip.text.run(clip.tokenize(TEXTS).ids)
    method = build_method(clip, "taskres", {"enhanced_base": str(file)}, TEXTS, "fp32", seed=1)
    torch.testing.assert_close(method.text_features(), 2 * plain)
    save_file({"weight": torch.zeros(2, 3)}, file)
    with pytest.raises(UserError, match=r"^taskres\.enhanced_base: its tensor is 2x3, .* \(backbone clip-emoji\)$"):
        build_method(clip, "taskres", {"enhanced_base": str(file)}, TEXTS, "fp32", seed=1)
    file.write_bytes(b"no weights")
    with pytest.raises(UserError, match=rf"^taskres\.enhanced_base: checkpoint '{file}' cannot be read"):
        build_method(clip, "taskres", {"enhanced_base": str(file)}, TEXTS, "fp32", seed=1)
