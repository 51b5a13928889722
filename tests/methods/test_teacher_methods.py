"""KgCoOp, ProGrad, TCP and DePT: what their definitions say, beside the reference vectors."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.context import put_context
from harness.clip.towers import CLIP, RAW
from harness.data.catalog import DATASETS
from harness.experiment.training_spec import TrainSpec
from harness.training.optimizer import build_optimizer
from harness.training.precision import gradient_scaler
from harness.training.step import training_step
from methods.base import Method, OtherClassesError
from methods.dept import DePT
from methods.kgcoop import KgCoOp
from methods.prograd import ProGrad
from methods.tcp import TCP
from tests.method_texts import DRAWING, texts_for

NAMES = ["cat", "sports equipment", "asian dish", "bird", "blue square"]
LABELS = torch.tensor([0, 3, 4])


def make(cls: type[Method], clip: CLIP, names: list[str] = NAMES, **options: Any) -> Any:
    torch.manual_seed(0)
    config = cls.Config(**options)
    return cls(clip, config, clip.tokenize(texts_for(cls, config, names)))


def embedded(clip: CLIP, count: int = 3) -> Tensor:
    pixels = torch.randn(count, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return clip.image.run(pixels)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def teacher_texts(clip: CLIP, names: list[str] = NAMES) -> Tensor:
    with torch.no_grad():
        return unit(clip.text.run(clip.tokenize([DRAWING.replace("{}", name) for name in names]).ids, RAW))


def similarities(clip: CLIP, image: Tensor, text: Tensor) -> Tensor:
    return clip.logit_scale.exp() * unit(image) @ unit(text).T


def plain_texts(clip: CLIP, prompts: list[str], ctx: Tensor) -> Tensor:
    """Text embeddings with a context after the start of text, without any speed-up."""
    tokenized = clip.tokenize(prompts)
    tokens = clip.text.add_positions(put_context(clip.text.token_embedding(tokenized.ids), ctx))
    for block in clip.text.blocks:
        tokens = block(tokens, attn_mask=clip.text.attention_mask(tokens.shape[1]))
    return clip.text.project(clip.text.pool(tokens[torch.arange(len(prompts)), tokenized.eot]))


def train(method: Any, x: Tensor, **settings: Any) -> None:
    recipe = TrainSpec(schedule="constant", momentum=0.0, **settings)
    optimizer = build_optimizer(method, recipe, "fp32")
    training_step(method, optimizer, gradient_scaler("fp32", x.device), x, LABELS, "fp32")


def test_kgcoop_adds_the_distance_to_hand_written_texts(clip: CLIP) -> None:
    method, x, teacher = make(KgCoOp, clip, n_ctx=3, ctx_init=None, weight=2.5), embedded(clip), teacher_texts(clip)
    text = plain_texts(clip, [f"X X X {name}." for name in NAMES], method.ctx)
    cosines = [float(unit(one.detach()) @ other) for one, other in zip(text, teacher, strict=True)]
    expected = F.cross_entropy(similarities(clip, x, text), LABELS) + 2.5 * (1 - sum(cosines) / len(NAMES))
    torch.testing.assert_close(method.loss(x, LABELS), expected, rtol=1e-5, atol=1e-5)
    assert float(make(KgCoOp, clip, ctx_init="a drawing of a").distance(teacher)) == pytest.approx(0, abs=1e-6)


def test_a_class_specific_context_stays_with_its_classes_and_teacher(clip: CLIP) -> None:
    method = make(KgCoOp, clip, n_ctx=2, ctx_init=None, class_specific=True)
    with pytest.raises(OtherClassesError):
        method.set_classes(clip.tokenize(texts_for(KgCoOp, method.config, NAMES[:2])))
    assert method.ctx.shape == (5, 2, 96)
    assert method.loss(embedded(clip), LABELS).isfinite()


@pytest.mark.parametrize("labels", [[0, 3, 4], [1, 1, 2], [4, 0, 3], [2, 4, 1]])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_prograd_steps_without_the_part_against_the_teacher(clip: CLIP, labels: list[int], share: float) -> None:
    options = {"n_ctx": 3, "ctx_init": None, "temperature": 2.0, "lambda": share}
    method, x, target = make(ProGrad, clip, **options), embedded(clip), torch.tensor(labels)
    text = plain_texts(clip, [f"X X X {name}." for name in NAMES], method.ctx)
    student, teacher = similarities(clip, x, text), similarities(clip, x, teacher_texts(clip))
    soft = -(F.softmax(teacher / 2, 1) * F.log_softmax(student / 2, 1)).sum(1).mean() * 4
    (domain,) = torch.autograd.grad(F.cross_entropy(student, target), [method.ctx], retain_graph=True)
    (general,) = torch.autograd.grad(soft, [method.ctx])
    along = float((domain * general).sum() / general.norm())
    expected = domain - share * along * general / general.norm() if along < 0 else domain
    before = method.ctx.detach().clone()
    optimizer = build_optimizer(method, TrainSpec(schedule="constant", momentum=0.0, lr=1.0, weight_decay=0.0), "fp32")
    training_step(method, optimizer, gradient_scaler("fp32", x.device), x, target, "fp32")
    # Rounding: in float64 the training of the plain loop is met within 1e-8 (tests/harness/training/test_float64.py).
    torch.testing.assert_close(before - method.ctx, expected, rtol=1e-3, atol=1e-4)


def test_prograd_projects_scaled_gradients_alike(clip: CLIP) -> None:
    method = make(ProGrad, clip, n_ctx=2, ctx_init=None)
    kept = []
    for scale in (1.0, 1024.0):
        method.ctx.grad = scale * torch.linspace(-1, 1, method.ctx.numel()).view_as(method.ctx)
        method.general_gradient = -1e-3 * torch.linspace(-1, 2, method.ctx.numel()).view_as(method.ctx)
        with torch.no_grad():
            method.change_gradients()
        kept.append(method.ctx.grad / scale)
    torch.testing.assert_close(kept[0], kept[1])
    assert abs(float((kept[0] * torch.linspace(-1, 2, method.ctx.numel()).view_as(kept[0])).sum())) < 1e-3


def test_prograd_starts_with_zeros_before_its_words(clip: CLIP) -> None:
    method = make(ProGrad, clip, n_ctx=6, ctx_init="a drawing of a")
    assert method.prompts.texts[0].prompts == ("X X a drawing of a cat.",)
    assert not method.ctx[:2].any()
    words = clip.text.token_embedding(clip.tokenize(["a drawing of a"]).ids)[0, 1:5]
    assert torch.equal(method.ctx[2:], words)
    with pytest.raises(ValueError, match=r"has 4 words, more than prograd\.n_ctx=3: set n_ctx to 4 or more"):
        ProGrad.Config(n_ctx=3)


def test_weight_decay_acts_beside_what_prograd_removes(clip: CLIP) -> None:
    x = embedded(clip)
    moved = []
    for decay in (0.0, 0.1):
        method = make(ProGrad, clip, n_ctx=3, ctx_init=None)
        start = method.ctx.detach().clone()
        train(method, x, lr=0.5, weight_decay=decay)
        moved.append(start - method.ctx.detach())
    torch.testing.assert_close(moved[1] - moved[0], 0.5 * 0.1 * start, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_tcp_replaces_its_context_by_prompts_of_the_class(clip: CLIP, layer: int) -> None:
    method = make(TCP, clip, n_ctx=3, ctx_init=None, layer=layer, weight=4.0)
    x, teacher = embedded(clip), teacher_texts(clip)
    first, second = method.meta_net["linear1"], method.meta_net["linear2"]
    hidden = teacher @ first.weight.T + first.bias
    own = (hidden * (1.702 * hidden).sigmoid() @ second.weight.T + second.bias).view(len(NAMES), 3, -1)
    assert first.weight.shape == (32, 128)
    tokenized = clip.tokenize([f"X X X {name}." for name in NAMES])
    tokens = clip.text.token_embedding(tokenized.ids)
    tokens = torch.cat([tokens[:, :1], method.ctx.expand(len(NAMES), -1, -1), tokens[:, 4:]], dim=1)
    tokens = clip.text.add_positions(tokens)
    for number, block in enumerate(clip.text.blocks):
        if number == layer:
            tokens = torch.cat([tokens[:, :1], own, tokens[:, 4:]], dim=1)
        tokens = block(tokens, attn_mask=clip.text.attention_mask(tokens.shape[1]))
    text = clip.text.project(clip.text.pool(tokens[torch.arange(len(NAMES)), tokenized.eot]))
    distance = 1 - (unit(text) * teacher).sum(1).mean()
    expected = F.cross_entropy(similarities(clip, x, text), LABELS) + 4 * distance
    torch.testing.assert_close(method.loss(x, LABELS), expected, rtol=1e-5, atol=1e-5)
    some = torch.tensor([3, 1])
    torch.testing.assert_close(method.text_features(some), method.text_features()[some], rtol=1e-4, atol=1e-5)


def test_tcp_needs_a_block_before_which_prompts_enter() -> None:
    TCP.check(TCP.Config(layer=5), 6)
    with pytest.raises(ValueError, match="layer=6 is beyond a text tower of 6 blocks: choose 0 to 5"):
        TCP.check(TCP.Config(layer=6), 6)


def head_logits(method: Any, x: Tensor) -> Tensor:
    return x @ method.cls_head.weight.T + method.cls_head.bias


def test_dept_mixes_similarity_and_head(clip: CLIP) -> None:
    options = {"n_ctx": 2, "ctx_init": None, "sim_weight": 0.4, "cls_weight": 0.9, "weight": 3.0, "head_lr": 0.1}
    method, x, teacher = make(DePT, clip, **options), embedded(clip), teacher_texts(clip)
    with torch.no_grad():
        for number, name in enumerate(("film_img.scale", "film_img.bias", "film_text.scale", "film_text.bias")):
            method.get_parameter(name).add_(0.1 * torch.randn(128) + number)
    text = plain_texts(clip, [f"X X {name}." for name in NAMES], method.ctx)
    of_images = head_logits(method, method.film_img.scale * x + method.film_img.bias)
    of_texts = head_logits(method, method.film_text.scale * text[LABELS] + method.film_text.bias)
    similar = similarities(clip, x, text)
    head = (F.cross_entropy(of_images, LABELS) + F.cross_entropy(of_texts, LABELS)) / 2
    distance = 1 - (unit(text) * teacher).sum(1).mean()
    expected = 0.4 * F.cross_entropy(similar, LABELS) + 0.9 * head + 3 * distance
    torch.testing.assert_close(method.loss(x, LABELS), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(method.logits(x, text), 0.4 * similar + 0.9 * of_images, rtol=1e-5, atol=1e-4)
    some = [NAMES[2], NAMES[0]]
    method.set_classes(clip.tokenize(texts_for(DePT, method.config, some)))
    expected = 0.4 * similar[:, [2, 0]] + 0.9 * of_images[:, [2, 0]]
    torch.testing.assert_close(method.logits(x, text[[2, 0]]), expected, rtol=1e-5, atol=1e-4)
    method.set_classes(clip.tokenize(texts_for(DePT, method.config, ["cat", "tree"])))
    torch.testing.assert_close(method.logits(x, text[:2]), similar[:, :2], rtol=1e-5, atol=1e-4)


def test_the_head_of_dept_stays_as_drawn_unless_it_has_a_rate(clip: CLIP) -> None:
    x = embedded(clip)
    frozen, trained = make(DePT, clip, n_ctx=2, ctx_init=None), make(DePT, clip, n_ctx=2, ctx_init=None, head_lr=0.5)
    drawn = frozen.cls_head.weight.clone()
    assert torch.equal(drawn, trained.cls_head.weight)
    assert [name for name, value in frozen.named_parameters() if value.requires_grad] == ["ctx"]
    assert "cls_head.weight" in dict(frozen.named_buffers())
    (gradient,) = torch.autograd.grad(trained.loss(x, LABELS), [trained.cls_head.weight])
    train(frozen, x, lr=0.1, weight_decay=0.0)
    train(trained, x, lr=0.1, weight_decay=0.0)
    assert torch.equal(frozen.cls_head.weight, drawn)
    torch.testing.assert_close(trained.cls_head.weight, drawn - 0.5 * gradient)


def test_teachers_read_the_templates_of_their_authors() -> None:
    usual = {name: DATASETS[name].templates_of("zeroshot")[0] for name in DATASETS if not name.startswith("emoji")}
    read = {cls: {name: cls.teacher_template(cls.Config(), one) for name, one in usual.items()}
            for cls in (KgCoOp, DePT, ProGrad, TCP)}  # fmt: skip
    texture, food = "a photo of a {}, a type of texture.", "a photo of a {}, a type of food."
    assert read[KgCoOp] == read[DePT] == usual | {"dtd": texture}
    assert read[TCP] == usual | {"dtd": texture, "food101": food, "fgvc_aircraft": "a photo of an aircraft {}."}
    assert read[ProGrad] == usual | {
        "birdsnap": "a type of bird, a photo of a {}.",
        "dtd": "a texture of {}.",
        "fgvc_aircraft": "a type of aircraft, a photo of a {}.",
        "food101": "a type of food, a photo of {}.",
        "oxford_flowers": "a type of flower, a photo of a {}.",
        "oxford_pets": "a type of pet, a photo of a {}.",
    }


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a photo of a {}, a type of pet.", "X X X X {}, a type of pet."),
        ("a photo of {}, a type of food.", "X X X X {}, a type of food."),
        ("a photo of a person doing {}.", "X X X X person doing {}."),
        ("a centered satellite photo of {}.", "X X X X {}."),
        ("{} texture.", "X X X X {} texture."),
        ("It purrs.", "X X X X It purrs."),
    ],
)
def test_tcp_keeps_what_follows_its_context(template: str, expected: str) -> None:
    assert TCP.prompt_template(TCP.Config(), template) == expected
    assert TCP.prompt_template(TCP.Config(n_ctx=1, ctx_init=None), template) == expected.replace("X X X X", "X")
