"""PromptSRC and CoPrompt, whose prompts are held near the untouched CLIP: their losses written out, and their draws."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from harness.clip.texts import Taught
from harness.clip.towers import CLIP, END, RAW
from methods.coprompt import CoPrompt
from methods.promptsrc import PromptSRC

NAMES = ["cat", "sports equipment", "bird"]
SENTENCES = [
    ("a cat.", "it has fur.", "a pet."),
    ("a ball.",),
    ("it flies.", "a bird.", "wings.", "it sings.", "a nest."),
]
LABELS = torch.tensor([0, 2, 1, 1])


def make(cls: type[Any], clip: CLIP, teacher: list[tuple[str, ...]], **options: Any) -> Any:
    torch.manual_seed(0)
    config = cls.Config(**options)
    template = cls.prompt_template(config, "a drawing of a {}.")
    texts = [Taught((template.replace("{}", name),), read) for name, read in zip(NAMES, teacher, strict=True)]
    return cls(clip, config, clip.tokenize(texts))


def images(clip: CLIP, method: Any, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images at the method's stage, and what the untouched CLIP makes of them."""
    pixels = torch.randn(4, 3, 48, 48, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return clip.image.run(pixels, RAW, method.image_start), clip.image.run(pixels)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def embedded(clip: CLIP, text: str) -> Tensor:
    with torch.no_grad():
        return clip.text.run(clip.tokenize([text]).ids)[0]


def cross_entropy(logits: Tensor) -> Tensor:
    return -torch.stack([row.softmax(0)[label].log() for row, label in zip(logits, LABELS, strict=True)]).mean()


def test_the_loss_of_promptsrc_is_the_sum_of_its_four_parts(clip: CLIP) -> None:
    method = make(PromptSRC, clip, SENTENCES, depth_text=3, depth_image=2, text_weight=7.0, image_weight=3.0)
    x, frozen = images(clip, method)
    image, text = unit(method.image_features(x)), unit(method.text_features())
    # The mean of embeddings as they are, not of normalised ones.
    teacher = unit(torch.stack([sum(embedded(clip, one) for one in of) / len(of) for of in SENTENCES]))
    scale = clip.logit_scale.exp()
    logits, target = scale * image @ text.T, scale * unit(frozen) @ teacher.T
    p, q = target.softmax(1), logits.softmax(1)
    expected = cross_entropy(logits) + (p * (p / q).log()).sum() / 12
    expected = expected + 7 * (text - teacher).abs().mean() + 3 * (image - unit(frozen)).abs().mean()
    torch.testing.assert_close(method.loss_beside_frozen(x, LABELS, frozen), expected, rtol=1e-4, atol=1e-5)


def test_promptsrc_without_prompts_of_images_trains_those_of_texts(clip: CLIP) -> None:
    method = make(PromptSRC, clip, SENTENCES, depth_text=3, depth_image=0)
    assert (method.image_start, method.text_start) == (END, RAW)
    x, frozen = images(clip, method)
    assert torch.equal(x, frozen)
    method.loss_beside_frozen(x, LABELS, frozen).backward()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)
    assert PromptSRC.unused(method.config).keys() == {"n_ctx_image", "image_weight"}


@pytest.mark.parametrize(("mean", "std", "epochs"), [(2.0, 1.0, 4), (6.0, 10.0, 3), (1.5, 0.3, 2)])
def test_the_prompts_become_the_weighted_mean_over_epochs(clip: CLIP, mean: float, std: float, epochs: int) -> None:
    method = make(PromptSRC, clip, SENTENCES, depth_text=3, depth_image=2, gpa_mean=mean, gpa_std=std)
    density = [math.exp(-0.5 * ((e - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi)) for e in range(1, epochs + 1)]
    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    means = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in trained.items()}
    with torch.no_grad():
        for epoch, one in enumerate(density):
            for name, p in trained.items():
                p.normal_()
                means[name] += one / sum(density) * p.double()
            last = {name: p.clone() for name, p in trained.items()}
            method.after_epoch(epoch, epochs)
            assert (epoch == epochs - 1) or all(torch.equal(p, last[name]) for name, p in trained.items())
    for name, p in trained.items():
        torch.testing.assert_close(p.double(), means[name], rtol=1e-5, atol=1e-6)
    assert len(trained) == 3 + 2


def test_weights_of_epochs_far_from_the_mean_are_numbers(clip: CLIP) -> None:
    method = make(PromptSRC, clip, SENTENCES, gpa_mean=100.0, gpa_std=1.0)
    weights = method.epoch_weights(3)
    assert weights.dtype == torch.float64
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))


def adapted(x: Tensor, down: Tensor, up: Tensor, ratio: float) -> Tensor:
    return ratio * (x @ down.T).clamp(min=0).matmul(up.T).clamp(min=0) + (1 - ratio) * x


@pytest.mark.parametrize("distance", ["cosine", "mse"])
def test_the_loss_of_coprompt_compares_with_the_drawn_sentences(clip: CLIP, distance: str) -> None:
    method = make(CoPrompt, clip, SENTENCES, depth=3, weight=1.5, distance=distance, image_ratio=0.3, text_ratio=0.4)
    x, _ = images(clip, method)
    _, frozen = images(clip, method, seed=2)
    drawn = [2, 0, 3]
    method.draw_sentences = lambda: torch.tensor(drawn)
    image, text = super(CoPrompt, method).image_features(x), super(CoPrompt, method).text_features()
    down, up = method.adapter_image.down.weight, method.adapter_image.up.weight
    assert down.shape == (clip.embed_dim // 4, clip.embed_dim)
    image = unit(adapted(image, down, up, 0.3))
    text = unit(adapted(text, method.adapter_text.down.weight, method.adapter_text.up.weight, 0.4))
    read = [sentences[number] for sentences, number in zip(SENTENCES, drawn, strict=True)]
    teacher = unit(torch.stack([embedded(clip, one) for one in read]))
    pairs = [(text, teacher), (image, unit(frozen))]
    if distance == "mse":
        apart = sum((ours - theirs).square().mean() for ours, theirs in pairs)
    else:
        apart = sum(1 - (ours * theirs).sum(1).mean() for ours, theirs in pairs)
    expected = cross_entropy(clip.logit_scale.exp() * image @ text.T) + 1.5 * apart
    torch.testing.assert_close(method.loss_beside_frozen(x, LABELS, frozen), expected, rtol=1e-4, atol=1e-5)


def test_every_sentence_of_a_class_is_drawn_equally_often(clip: CLIP) -> None:
    method = make(CoPrompt, clip, SENTENCES, depth=1)
    assert method.teacher_text.shape == (9, clip.embed_dim)
    torch.manual_seed(4)
    drawn = torch.stack([method.draw_sentences() for _ in range(3000)])
    for label, sentences in enumerate(SENTENCES):
        share = drawn[:, label].bincount() / 3000
        assert len(share) == len(sentences)
        # Five standard errors.
        assert (share - 1 / len(sentences)).abs().max() < 5 * 0.5 / math.sqrt(3000)


def test_classes_with_as_many_sentences_read_the_same_one(clip: CLIP) -> None:
    method = make(CoPrompt, clip, [(*of[:1], "it is.", "a thing.") for of in SENTENCES], depth=1)
    assert all(len(set(method.draw_sentences().tolist())) == 1 for _ in range(20))
    table = method.table_of_sentences
    assert table.shape == (3, 3, clip.embed_dim)
    torch.testing.assert_close(table[1, 2], unit(embedded(clip, "it is.")), rtol=1e-4, atol=1e-5)


def test_options_that_mean_nothing_are_refused() -> None:
    for options in ({"gpa_std": 0}, {"text_weight": -1}, {"depth_text": 0}):
        with pytest.raises(ValidationError):
            PromptSRC.Config(**options)
    for options in ({"weight": -1}, {"distance": "l1"}, {"image_ratio": 2}, {"n_ctx": 3, "ctx_init": "drawing"}):
        with pytest.raises(ValidationError):
            CoPrompt.Config(**options)
    assert CoPrompt.unused(CoPrompt.Config(weight=0)).keys() == {"distance"}
    assert PromptSRC.unused(PromptSRC.Config(n_ctx_text=6)).keys() == {"ctx_init"}
