"""Every method in every precision, cache mode and number of shots, on a tiny model; one clear line for bad options.

Not their whole product: in a cover that has every pair of them.
"""

import copy
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml
from torch import Tensor

from harness.clip.load import load_backbone
from harness.clip.towers import CLIP, RAW
from harness.data.pictures import open_picture
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_class, method_names
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import TrainSpec
from harness.machine.meter import Meter
from harness.results.epochs import EpochRecord
from harness.training.precision import autocast
from harness.training.run import Run
from harness.training.state import trained_state
from harness.training.trainer import Trainer
from methods.base import Method, OtherClassesError
from tests.commands import error_line, skipbench
from tests.pairwise import pairwise_cover
from tests.tiny_options import TINY_OPTIONS

TRAINABLE = [name for name in method_names() if method_class(name).trains]
PRECISIONS = get_args(TrainSpec.model_fields["precision"].annotation)
CACHES = get_args(TrainSpec.model_fields["cache"].annotation)
SHOTS = (1, 2, 4, 8, 16)
CLASSES, NUM_CLASSES = "base.base.base.base", 3
OTHERS, NUM_OTHERS = "new.new.new", 5
COVER = pairwise_cover({"method": TRAINABLE, "precision": PRECISIONS, "cache_mode": CACHES, "shots": SHOTS})


@pytest.fixture(scope="module", autouse=True)
def quick(tiny: Path) -> Iterator[None]:
    """Read the tiny model and every picture once, and compute on one core: there is too little to share."""
    original = load_backbone(str(tiny))

    def load(text: str) -> CLIP:
        assert text == str(tiny)
        return copy.deepcopy(original, {id(original.tokenizer): original.tokenizer})

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.training.build.load_backbone", load)
        patch.setattr("harness.data.views.open_picture", cache(open_picture))
        yield
    torch.set_num_threads(threads)


def tiny_spec(backbone: Path, method: str, precision: str, cache_mode: str, shots: int) -> RunSpec:
    """Spec of two epochs: at most three steps each, in batches of one class where the recipe asks for that."""
    grid = {"methods": [method], "seeds": [1], "shots": [shots], "backbone": str(backbone), "recipe": "official"}
    overrides = [
        "train.epochs=2",
        "train.warmup_epochs=0",
        "train.lr=0.01",
        "train.lr_image=null",
        f"train.batch_size={max(NUM_CLASSES, shots)}",
        f"train.precision={precision}",
        f"train.cache={cache_mode}",
        f"data.classes={CLASSES}",
        f"evaluate=[{{name: seen, dataset: emoji, classes: {CLASSES}, splits: [test]}}]",
        "runtime.device=cpu",
        *TINY_OPTIONS.get(method, []),
    ]
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", grid)
    return expand(experiment, parse_overrides(overrides))[0]


def make_trainer(spec: RunSpec) -> tuple[Run, Trainer]:
    """What a run makes of its spec, without a folder."""
    run = Run(spec, Path("nowhere"))
    return run, run.make_trainer(run.set_up(), Meter(run.device))


def refuses(run: Run, method: Method) -> bool:
    """Whether a method cannot be used for other classes than those of its training."""
    try:
        method.check_classes(tuple(run.data.texts("emoji", OTHERS)))
    except OtherClassesError:
        return True
    return False


@torch.no_grad()
def logits_of_others(run: Run, method: Method) -> Tensor:
    """Logits of three pictures among other classes, or those of training if it refuses, as evaluation takes them."""
    clip = method.clip
    pixels = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with autocast(run.spec.train.precision, run.device):
        method.set_classes(clip.tokenize(run.data.texts("emoji", CLASSES if refuses(run, method) else OTHERS)))
        return method.logits(clip.image.run(pixels, RAW, method.image_start), method.text_features())


def views_computed(trainer: Trainer) -> int:
    """How many views of each picture a method is fitted to and trains on ahead of its steps, in two epochs."""
    recipe, kept = trainer.spec.train, trainer.images.views
    # What the untouched CLIP embeds of pictures that are not kept themselves.
    frozen = trainer.images.frozen
    fitted = (recipe.fit_views or kept or 1) if trainer.method.is_fitted() else 0
    if not trainer.images.is_cached and not (frozen and frozen.is_cached):
        return fitted
    kept = frozen.views if frozen else kept
    if kept is None:
        return fitted + 2
    trained = kept if recipe.batches == "all_views" else min(kept, 2)
    return max(fitted, trained) if fitted <= kept else fitted + trained


@pytest.mark.parametrize(
    ("method", "precision", "cache_mode", "shots"),
    [tuple(combination.values()) for combination in COVER],
    ids="{}".format,
)
def test_every_pair_trains_and_takes_other_classes(
    method: str, precision: str, cache_mode: str, shots: int, tiny: Path
) -> None:
    run, trainer = make_trainer(tiny_spec(tiny, method, precision, cache_mode, shots))
    trained = trainer.method
    assert len(trained.prompts) == NUM_CLASSES
    if shots > 1:
        # As in a run that goes on: measuring memory and operations takes longer than all that follows.
        trainer.flops = {"train": 1.0, "cache": 0.0}
    before = {name: value.detach().clone() for name, value in trained_state(trained).items()}
    records: list[EpochRecord] = []
    trainer.train(0, records.append)
    assert [record.steps for record in records] == [min(shots, 3)] * 2
    assert all(math.isfinite(record.loss) and record.loss > 0 for record in records)
    after = trained_state(trained)
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert any(not torch.equal(before[name], value) for name, value in after.items() if value.requires_grad)
    assert trainer.meter.phases["cache"].images == views_computed(trainer) * NUM_CLASSES * shots
    logits = logits_of_others(run, trained)
    assert logits.shape == (3, NUM_CLASSES if refuses(run, trained) else NUM_OTHERS)
    assert logits.isfinite().all()
    assert logits.std() > 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_zeroshot_gives_logits_in_every_precision(precision: str, tiny: Path) -> None:
    logits = {}
    for kind in ("fp32", precision):
        run = Run(tiny_spec(tiny, "zeroshot", kind, "fresh", 1), Path("nowhere"))
        method = run.set_up().method
        assert not any(parameter.requires_grad for parameter in method.parameters())
        logits[kind] = logits_of_others(run, method).float()
    assert logits[precision].shape == (3, NUM_OTHERS)
    # bfloat16 keeps 8 bits of embeddings whose cosines are multiplied by 14.
    torch.testing.assert_close(logits[precision], logits["fp32"], rtol=0, atol=0.2)


@pytest.mark.parametrize("shots", SHOTS, ids="{}shot".format)
def test_skip_draws_batches_of_one_class_from_four_shots_on(shots: int, tiny: Path) -> None:
    spec = tiny_spec(tiny, "skip", "fp32", "fresh", shots)
    assert spec.train.batches == "same_class"
    _, trainer = make_trainer(spec)
    labels = trainer.images.pictures.labels.tolist()
    drawn = [[labels[position] for position in batch] for batch in trainer.draw_batches(0)]
    classes = {len(set(batch)) for batch in drawn}
    if shots >= 4:
        assert classes == {1}
        assert {batch[0] for batch in drawn} == set(range(NUM_CLASSES))
    else:
        assert max(classes) > 1


BAD_OPTIONS = {
    "skip train.precision=fp64": "train.precision='fp64': input should be 'fp32', 'tf32', 'bf16', 'fp16' or 'half'",
    "skip train.cache=always": "train.cache='always': input should be 'none', 'fresh' or 'once'",
    "skip train.batches=one_class": "train.batches='one_class': input should be 'random', 'same_class' or 'all_views'",
    "skip skip.depth=7": "skip.depth=7 is beyond a backbone of 6 blocks in each tower: choose 0 to 6",
    "finetune finetune.depth=7": "finetune.depth=7 is beyond a backbone of 6 blocks in each tower: choose 0 to 6",
    "maple maple.depth=7": "maple.depth=7 is beyond a backbone of 6 blocks in each tower: choose 0 to 6",
    "maple maple.depth=0": "maple.depth=0: input should be greater than or equal to 1",
    "skip skip.lambda=0": "skip.lambda=0: input should be greater than 0",
    "coop coop.class_token_position=behind": (
        "coop.class_token_position='behind': input should be 'end', 'middle' or 'front'"
    ),
    "coop coop.nctx=4": "unknown key 'coop.nctx'. Did you mean 'n_ctx'?",
    "coop coop.ctx_init=''": "coop.ctx_init='': string should have at least 1 character",
    "maple maple.n_ctx=3 maple.ctx_init=drawing": (
        "maple.ctx_init='drawing' has fewer words than maple.n_ctx=3: add some"
    ),
    "clip_adapter clip_adapter.reduction=65": "clip_adapter.reduction=65: input should be less than or equal to 64",
    "cocoop cocoop.n_ctx=0": "cocoop.n_ctx=0: input should be greater than or equal to 1",
    "clip_adapter clip_adapter.residual_ratio=2": (
        "clip_adapter.residual_ratio=2: input should be less than or equal to 1"
    ),
}


@pytest.mark.parametrize(("words", "message"), BAD_OPTIONS.items(), ids=BAD_OPTIONS)
def test_a_bad_option_is_one_line_that_names_it(words: str, message: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert error_line("bench", *words.split(), "--results", str(results)).startswith(f"error: {message}")
    assert not results.exists()


def test_class_specific_context_is_evaluated_on_its_own_classes_and_the_table_says_why_not_on_others(
    tmp_path: Path,
) -> None:
    few = ["train.epochs=1", "train.batch_size=4", "--shots", "1", "--seeds", "1", "--results", str(tmp_path)]
    done = skipbench("bench", "coop", "coop.class_specific=true", *few)
    assert done.returncode == 0, done.stderr
    why = "class_specific=true learns a context for each of its 23 classes"
    assert f"coop is not evaluated on 'new': {why}" in done.stderr
    assert f"n/a: cannot be evaluated (coop on new: {why}" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["coop"])
    assert row.split().count("n/a") == 2, "new, and H"


def test_class_specific_context_is_refused_where_all_classes_are_new_in_one_line(tmp_path: Path) -> None:
    grid = {"methods": ["coop"], "shots": [1], "seeds": [1]}
    (spec,) = expand(load_experiment(EXPERIMENTS / "bench.yaml", grid), parse_overrides(["coop.class_specific=true"]))
    only_new = {**spec.settings(), "evaluate": [item.model_dump(mode="json") for item in spec.evaluate[1:]]}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(only_new))
    done = skipbench("run", str(tmp_path / "spec.yaml"), "--results", str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("note: "))
    assert line.startswith(
        "error: coop-emoji-1shot-seed1: coop: class_specific=true learns a context for each of its 23"
    )
    assert "the 22 classes of an evaluation cannot use" in line
    # Refused before anything is trained.
    assert not list(tmp_path.glob("runs/*/metrics.jsonl"))
    assert not list(tmp_path.glob("runs/*/result.json"))
