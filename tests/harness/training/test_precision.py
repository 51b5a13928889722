"""What a precision stores and computes in which type, and that fp16's loss scale survives overflow and interruption."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.clip.network import LayerNormFp32
from harness.clip.towers import CLIP
from harness.experiment.registry import method_class, method_names
from harness.experiment.spec import RunSpec
from harness.machine.meter import Meter
from harness.results.epochs import EpochRecord
from harness.training.precision import autocast, gradient_scaler, store_clip
from harness.training.run import Run
from harness.training.state import trained_parameters
from harness.training.step import training_step
from harness.training.trainer import Trainer
from methods.zeroshot import ZeroShot
from tests.tiny_options import TINY_OPTIONS

Make = Callable[..., RunSpec]
InEveryPrecision = dict[str, tuple[Trainer, Tensor, Tensor]]
CPU = torch.device("cpu")
TEXTS = ["a drawing of a cat.", "a drawing of an orange thing that is much longer.", "arrow"]
TRAINABLE = [name for name in method_names() if method_class(name).trains]
SMALL = (
    "train.epochs=3",
    "train.lr=0.01",
    "train.warmup_epochs=0",
    "data.classes=base.base.base",
    "evaluate=[{name: seen, dataset: emoji, classes: base.base.base, splits: [test]}]",
    "runtime.device=cpu",
)
OPTIONS = {"skip": ["skip.depth=5"], "maple": ["maple.depth=3"]}
# So large that the gradients of the first steps overflow.
HUGE_SCALE = 2.0**24


def small_spec(make_spec: Make, method: str, precision: str, *overrides: str) -> RunSpec:
    words = [*SMALL, "train.batch_size=4", f"train.precision={precision}", *OPTIONS.get(method, []), *overrides]
    return make_spec(method, *words, shots=4)


def tiny_spec(make_spec: Make, backbone: Path, method: str, precision: str) -> RunSpec:
    """The same on the tiny backbone, whose checkpoint is given."""
    words = [*SMALL, "train.batch_size=4", f"train.precision={precision}", *TINY_OPTIONS.get(method, [])]
    return make_spec(method, *words, shots=4).model_copy(update={"backbone": str(backbone)})


def make_trainer(spec: RunSpec) -> Trainer:
    """A trainer as a run makes it, without a folder."""
    run = Run(spec, Path("nowhere"))
    return run.make_trainer(run.set_up(), Meter(run.device))


def first_batch(trainer: Trainer) -> tuple[Tensor, Tensor]:
    trainer.images.prepare(0)
    return next(trainer.images.batches(0, trainer.draw_batches(0)[:1]))


@pytest.fixture(scope="module", params=TRAINABLE)
def in_every_precision(request: pytest.FixtureRequest, make_spec: Make, tiny: Path) -> InEveryPrecision:
    """Precision -> trainer of a method and the first batch of its images; no test changes them."""
    found = {}
    for precision in ("fp32", "bf16", "fp16", "half"):
        trainer = make_trainer(tiny_spec(make_spec, tiny, request.param, precision))
        found[precision] = (trainer, *first_batch(trainer))
    return found


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trained_parameters(trainer.method).items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def stays_in_float32(name: str) -> bool:
    """Whether a parameter of CLIP is a LayerNorm's, an embedding table or the logit scale."""
    tables = ("token_embedding.weight", "positional_embedding", "class_embedding", "logit_scale")
    return ".ln_" in name or name.endswith(tables)


def test_half_stores_matrices_in_float16_and_norms_and_tables_in_float32(clip: CLIP) -> None:
    exact = {name: value.clone() for name, value in clip.state_dict().items()}
    stored = store_clip(clip, "half").state_dict()
    assert stored.keys() == exact.keys()
    assert {name for name, value in stored.items() if value.dtype != torch.float16} == {
        name for name in exact if stays_in_float32(name)
    }
    for name in ("image.proj", "text.text_projection", "image.conv1.weight"):
        assert stored[name].dtype == torch.float16
    assert stored["image.transformer.resblocks.0.attn.in_proj_weight"].dtype == torch.float16
    assert stored["text.transformer.resblocks.5.mlp.c_fc.bias"].dtype == torch.float16
    for name, value in stored.items():
        assert torch.equal(value, exact[name].to(value.dtype)), name


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_other_precisions_store_everything_in_float32(precision: str, clip: CLIP) -> None:
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    modules = {name: type(module) for name, module in clip.named_modules()}
    store_clip(clip, precision)
    assert {value.dtype for value in clip.state_dict().values()} == {torch.float32}
    assert not changed(before, clip.state_dict())
    assert {name: type(module) for name, module in clip.named_modules()} == modules


@pytest.mark.parametrize("speedups", [True, False])
def test_towers_in_half_give_float16_close_to_float32(speedups: bool, clip: CLIP) -> None:
    if not speedups:
        clip.speedups.switch_off()
    pixels = torch.randn(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    ids = clip.tokenize(TEXTS).ids
    exact = clip.image.run(pixels), clip.text.run(ids)
    store_clip(clip, "half")
    for rounded, reference in zip((clip.image.run(pixels), clip.text.run(ids)), exact, strict=True):
        assert rounded.dtype == torch.float16
        assert not torch.equal(rounded.float(), reference)
        assert F.cosine_similarity(rounded.float(), reference).min() > 0.999


def test_norms_of_half_take_float16_and_compute_in_float32(clip: CLIP) -> None:
    store_clip(clip, "half")
    norms = [module for module in clip.modules() if isinstance(module, nn.LayerNorm)]
    # torch's own takes mixed types on a CPU, but not on a GPU.
    assert len(norms) == 2 * 2 * 6 + 3
    assert all(isinstance(norm, LayerNormFp32) for norm in norms)
    norm = clip.image.ln_post
    # The squares of such values are beyond float16.
    x = (3000 * torch.randn(4, 128, generator=torch.Generator().manual_seed(0))).half()
    normed = norm(x)
    assert normed.dtype == torch.float16
    exact = F.layer_norm(x.float(), (128,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(normed.float(), exact, rtol=1e-3, atol=1e-3)


def test_half_trains_float16_but_for_norms_and_what_the_authors_keep(in_every_precision: InEveryPrecision) -> None:
    trainer, *_ = in_every_precision["half"]
    kept = trainer.method.stays_fp32
    trained = trained_parameters(trainer.method)
    assert trained
    for name, parameter in trained.items():
        in_float32 = name.startswith(kept) or (name.startswith("clip.") and stays_in_float32(name))
        assert parameter.dtype == (torch.float32 if in_float32 else torch.float16), name
    for prefix in kept:
        of_a_resnet = ".attnpool." in prefix
        assert of_a_resnet or any(name.startswith(prefix) for name in trained), prefix


def test_maple_keeps_its_deep_prompts_in_float32(make_spec: Make) -> None:
    trained = trained_parameters(make_trainer(small_spec(make_spec, "maple", "half")).method)
    in_float32 = {name.split(".")[0] for name, parameter in trained.items() if parameter.dtype == torch.float32}
    assert in_float32 == {"compound_prompts_text", "compound_prompt_projections"}
    assert {name.split(".")[0] for name in trained} - in_float32 == {"ctx", "proj"}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_what_trains_is_stored_in_float32_in_other_precisions(precision: str, make_spec: Make) -> None:
    for method in ("maple", "skip"):
        trained = trained_parameters(make_trainer(small_spec(make_spec, method, precision)).method)
        assert {parameter.dtype for parameter in trained.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("precision", "enabled", "dtype"),
    [
        ("fp32", False, torch.float32),
        ("bf16", True, torch.bfloat16),
        ("fp16", True, torch.float16),
        ("half", False, torch.float32),
    ],
)
def test_type_that_matrices_are_multiplied_in(precision: str, enabled: bool, dtype: torch.dtype) -> None:
    matrix = torch.eye(3)
    with autocast(precision, CPU):
        assert torch.is_autocast_enabled("cpu") is enabled
        assert (matrix @ matrix).dtype == dtype
    assert (matrix @ matrix).dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_logits_under_autocast_are_taken_in_float32(precision: str, clip: CLIP) -> None:
    clip.logit_scale.data.fill_(math.log(100))
    method = ZeroShot(clip, ZeroShot.Config(), clip.tokenize(TEXTS))
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(4, 128, generator=draw).to(dtype)
    text = (image.float()[:3] + 0.3 * torch.randn(3, 128, generator=draw)).to(dtype)
    exact = 100 * F.cosine_similarity(image.double()[:, None], text.double()[None], dim=-1)
    assert exact.max() > 64  # where neighbours are 1/2 apart in bfloat16, 1/16 in float16
    with autocast(precision, CPU):
        for texts in (text, text.expand(4, 3, 128)):
            logits = method.similarity_logits(image, texts)
            assert logits.dtype == torch.float32
            torch.testing.assert_close(logits.double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_every_methods_logits_under_autocast_are_float32(precision: str, in_every_precision: InEveryPrecision) -> None:
    trainer, x, _ = in_every_precision[precision]
    with torch.no_grad(), autocast(precision, CPU):
        text = trainer.method.text_features()
        assert trainer.method.logits(x, text).dtype == torch.float32


def test_only_fp16_scales_its_gradients() -> None:
    enabled = {name: gradient_scaler(name, CPU).is_enabled() for name in ("fp32", "bf16", "fp16", "half")}
    assert enabled == {"fp32": False, "bf16": False, "fp16": True, "half": False}


@pytest.mark.parametrize("method", ["skip", "clip_adapter"])
def test_a_step_whose_gradients_overflow_is_left_out(method: str, make_spec: Make) -> None:
    trainer = make_trainer(small_spec(make_spec, method, "fp16"))
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=HUGE_SCALE)
    x, labels = first_batch(trainer)

    def step() -> float:
        return training_step(trainer.method, trainer.optimizer, trainer.scaler, x, labels, "fp16").item()

    before = weights_of(trainer)
    first = step()
    assert not changed(before, weights_of(trainer))
    assert trainer.scaler.get_scale() == HUGE_SCALE / 2
    # torch's fused SGD would now start from a momentum that nobody has set.
    losses = [step() for _ in range(15)]
    assert 1 < trainer.scaler.get_scale() < HUGE_SCALE / 2
    after = weights_of(trainer)
    assert changed(before, after) == set(after)
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert losses[-1] < first


def test_the_step_behind_one_left_out_is_a_first_step(make_spec: Make) -> None:
    weights, skipped = [], []
    for scale in (HUGE_SCALE, 1024.0):
        trainer = make_trainer(small_spec(make_spec, "skip", "fp16"))
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        before, (x, labels), steps = weights_of(trainer), first_batch(trainer), 0
        while not changed(before, weights_of(trainer)):
            training_step(trainer.method, trainer.optimizer, trainer.scaler, x, labels, "fp16")
            steps += 1
        weights.append(weights_of(trainer))
        skipped.append(steps - 1)
    assert skipped[0] > skipped[1] == 0
    for name, value in weights[0].items():
        # Another scale loses other gradients below float16's smallest number.
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-5)


def test_an_interrupted_fp16_training_ends_with_the_same_weights(make_spec: Make) -> None:
    spec = small_spec(make_spec, "skip", "fp16")

    def trainer_that_overflows() -> Trainer:
        trainer = make_trainer(spec)
        # Whoever forgets the saved scale leaves out steps again.
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=HUGE_SCALE)
        return trainer

    whole = trainer_that_overflows()
    whole.train(0, lambda record: None)

    saved: dict[str, Tensor] = {}
    interrupted = trainer_that_overflows()

    def save_and_stop(record: EpochRecord) -> None:
        if record.epoch == 1:
            saved.update({name: value.detach().clone() for name, value in interrupted.state().items()})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.train(0, save_and_stop)
    scale, growth_tracker = saved["loss_scale"].tolist()
    assert 1 < scale < HUGE_SCALE
    assert growth_tracker > 0

    resumed = trainer_that_overflows()
    resumed.load_state(saved)
    assert not changed(saved, resumed.state())
    resumed.train(2, lambda record: None)
    assert not changed(whole.state(), resumed.state())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "half"])
def test_no_loss_scale_is_saved_where_there_is_none(precision: str, make_spec: Make) -> None:
    assert "loss_scale" not in make_trainer(small_spec(make_spec, "clip_adapter", precision)).state()


def test_a_tiny_step_rounds_away_in_half_but_not_in_float32(make_spec: Make) -> None:
    moved = {}
    for precision, lr in (("fp32", 1e-7), ("half", 1e-7), ("half", 1e-1)):
        trainer = make_trainer(small_spec(make_spec, "clip_adapter", precision, f"train.lr={lr}"))
        before = weights_of(trainer)
        training_step(trainer.method, trainer.optimizer, trainer.scaler, *first_batch(trainer), precision)
        moved[precision, lr] = changed(before, weights_of(trainer))
    everything = {"down.weight", "up.weight"}
    assert moved == {("fp32", 1e-7): everything, ("half", 1e-7): set(), ("half", 1e-1): everything}


def test_the_first_loss_is_nearly_the_same_in_every_precision(in_every_precision: InEveryPrecision) -> None:
    losses = {}
    for precision, (trainer, x, labels) in in_every_precision.items():
        with autocast(precision, CPU):
            losses[precision] = trainer.method.loss(x, labels).item()
    assert len(set(losses.values())) == 4
    # bfloat16 has 8 bits, float16 11.
    for precision, tolerance in (("bf16", 5e-2), ("fp16", 1e-2), ("half", 1e-2)):
        # The loss of LP++ is small from the start, and the difference of large logits.
        assert losses[precision] == pytest.approx(losses["fp32"], rel=tolerance, abs=1e-2), precision
