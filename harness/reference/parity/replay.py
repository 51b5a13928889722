"""Check our methods against vectors that the official implementations produced.

Every method's vectors are replayed with our code: logits before training, three training steps (logits, losses,
gradients, weights), logits on base and new classes.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from harness.clip.towers import RAW
from harness.data.sampler import random_batches, same_class_batches
from harness.errors import UserError
from harness.experiment.training_spec import TrainSpec
from harness.reference.parity.comparison import RTOL, Comparison, gradient_atol, worst_by_quantity, worst_element
from harness.reference.parity.vectors import (
    Vectors,
    find_method,
    load_tiny_clip,
    named_tensors,
    official_of,
    our_name,
    read_config,
)
from harness.training.inference import classify, encode_texts, run_frozen, set_classes
from harness.training.optimizer import build_optimizer
from harness.training.precision import gradient_scaler
from harness.training.step import on_gradients, training_step
from methods.base import Method

PRECISION = "fp32"
Found = tuple[str, tuple[float, float]]
"""A quantity, and error and tolerance of its worst element."""


def check_vectors(description: Path) -> Iterator[Comparison]:
    """Replay one method's vectors and yield a comparison for every quantity."""
    vectors = Vectors(description)
    cls = find_method(vectors)
    assert cls is not None
    yield from replay(cls, vectors)


def replay(cls: type[Method], vectors: Vectors) -> Iterator[Comparison]:
    """Replay vectors with a method and yield a comparison for every quantity."""
    for quantity, (error, tolerance) in Replay(cls, vectors).run():
        yield Comparison(vectors.name, quantity, error, tolerance)


class Replay:
    """One method of ours that takes the steps that the official one took.

    Args:
        cls: our method.
        vectors: of the official one.
    """

    def __init__(self, cls: type[Method], vectors: Vectors) -> None:
        self.cls = cls
        self.vectors = vectors
        self.stored = vectors.tensors
        self.clip = load_tiny_clip(vectors)
        self.prompts = self.clip.tokenize(vectors.about["prompts_base"])
        # A method that cannot be used for new classes has no vectors of them.
        new = vectors.about.get("prompts_new") or vectors.about["prompts_base"]
        self.prompts_new = self.clip.tokenize(new)
        if vectors.about["hyper"].get("train_rng_seed") is not None:
            # The official loop draws one permutation of the image tokens before the method draws anything.
            torch.manual_seed(vectors.about["hyper"]["train_rng_seed"])
            torch.randperm(1 + (self.clip.image.positional_embedding.shape[0] - 1))
        self.method = cls(self.clip, read_config(cls, vectors), self.prompts)
        self.named = named_tensors(self.method)
        # Official name -> our tensor, of those that are trained and take part in the loss.
        self.trained = {name: self.named[our_name(name, cls)] for name in vectors.trained()}

    def run(self) -> Iterator[Found]:
        """Compare all quantities that the vectors hold."""
        yield from self.check_inputs()
        yield from self.check_initial_state()
        yield from self.check_stages()
        yield from self.check_logits("eval_logits_base_init")
        if self.vectors.about["trainable"]:
            yield from self.check_training()
        yield from self.check_logits("eval_logits_base")
        if "eval_logits_new" in self.stored:
            set_classes(self.method, self.prompts_new, PRECISION)
            yield from self.check_logits("eval_logits_new")

    def check_inputs(self) -> Iterator[Found]:
        """Token ids, which parameters train, and how batches are drawn: all exact."""
        for name, prompts in (("tokens.base", self.prompts), ("tokens.new", self.prompts_new)):
            if name in self.stored:
                yield name, worst_element(prompts.ids, self.stored[name][:, : prompts.ids.shape[1]], 0.0, 0.0)
        theirs = {our_name(name, self.cls) for name in self.trained}
        ours = {name for name, parameter in self.method.named_parameters() if parameter.requires_grad}
        yield "trained tensors", (float(len(ours ^ theirs)), 0.0)
        example = self.vectors.about.get("feature_loader_example")
        if example:
            drawn: dict[str, Callable[..., list[list[int]]]] = {
                "batch_random": same_class_batches,
                "random": random_batches,
            }
            for name, batches in example["batches"].items():
                rng = random.Random(example["python_random_seed"])
                ours_drawn = drawn[name](example["labels"], example["batch_size"], rng)
                yield f"batches.{name}", worst_element(torch.tensor(ours_drawn), torch.tensor(batches), 0.0, 0.0)

    def check_initial_state(self) -> Iterator[Found]:
        """Compare what the method drew or computed at the start, then take the stored values."""
        for official, name in official_of(self.cls).tensors.items():
            if official in self.stored:
                exact = not self.stored[official].is_floating_point()
                atol = 0.0 if exact else self.vectors.stage_atol()
                yield official, worst_element(self.named[name], self.stored[official], atol, 0.0 if exact else RTOL)
                self.named[name].data.copy_(self.stored[official])
        for official, value in self.stored.items():
            if official.startswith("init."):
                self.named[our_name(official.removeprefix("init."), self.cls)].data.copy_(value)

    @torch.no_grad()
    def check_stages(self) -> Iterator[Found]:
        """Cached activations and zero-shot features, where the vectors hold them."""
        atol = self.vectors.stage_atol()
        image, text = self.clip.image, self.clip.text
        if "cache.text_mid" in self.stored:
            ours = text.run(self.prompts.ids, RAW, self.method.text_start).permute(1, 0, 2)
            yield "cache.text_mid", worst_element(ours, self.stored["cache.text_mid"][: len(ours)], atol)
        if "cache.text_out" in self.stored:
            yield "cache.text_out", worst_element(text.run(self.prompts.ids), self.stored["cache.text_out"], atol)
        for batch, pixels in enumerate(self.vectors.train_images):
            name = f"cache.image_mid.b{batch}"
            if name in self.stored:
                ours = self.run_frozen(pixels).permute(1, 0, 2)
                yield "cache.image_mid", worst_element(ours, self.stored[name], atol)
            name = f"cache.image_out.b{batch}"
            if name in self.stored:
                yield "cache.image_out", worst_element(image.run(pixels), self.stored[name], atol)
        for name, prompts in (("text_features_base", self.prompts), ("text_features_new", self.prompts_new)):
            if name in self.stored:
                ours = F.normalize(text.run(prompts.ids), dim=-1)
                yield name, worst_element(ours, self.stored[name], atol)
        name = "image_features_unnormalized"
        if name in self.stored:
            yield name, worst_element(image.run(self.vectors.eval_images), self.stored[name], atol)

    def run_frozen(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> images at the method's stage."""
        return run_frozen(self.clip, pixels, self.method.image_start, PRECISION)

    def check_logits(self, name: str) -> Iterator[Found]:
        """Logits of the evaluation images over the classes that are set."""
        if name in self.stored:
            text = encode_texts(self.method, PRECISION)
            ours = classify(self.method, self.vectors.eval_images, text, PRECISION)
            yield name, worst_element(ours, self.stored[name], 1e-4)

    def check_training(self) -> Iterator[Found]:
        """One training step on each stored batch: logits, losses, first gradients, and the weights after all steps."""
        hyper, options = self.vectors.about["hyper"]["optimizer"], self.vectors.about["hyper"]["method_options"]
        lr_image = options["OPTIM.NEW_LR"] if options.get("OPTIM.STAGED_LR") else None
        rates = {"lr": hyper["lr"], "lr_image": lr_image}
        recipe = TrainSpec(**rates, momentum=hyper["momentum"], weight_decay=hyper["weight_decay"])
        optimizer = build_optimizer(self.method, recipe, PRECISION)
        scaler = gradient_scaler(PRECISION, self.clip.device)
        before = {name: value.detach().clone() for name, value in self.trained.items()}
        gradients: dict[int, Tensor] = {}

        def keep_first(parameter: Tensor) -> None:
            assert parameter.grad is not None
            gradients.setdefault(id(parameter), parameter.grad.clone())

        for batch, (pixels, labels) in enumerate(
            zip(self.vectors.train_images, self.vectors.train_labels, strict=True)
        ):
            x = self.run_frozen(pixels)
            with torch.no_grad():
                logits, _ = self.method.training_logits(x, labels)
            yield "train_logits", worst_element(logits, self.stored[f"train_logits_b{batch}"], 1e-4)
            with on_gradients(self.trained.values(), keep_first):
                loss = training_step(self.method, optimizer, scaler, x, labels, PRECISION)
            yield "train_losses", worst_element(loss[None], self.stored["train_losses"][batch : batch + 1], 1e-5)
        yield from self.check_gradients({name: gradients[id(value)] for name, value in self.trained.items()})
        yield from self.check_weights(before)

    def check_gradients(self, gradients: dict[str, Tensor]) -> Iterator[Found]:
        """Gradients of the first batch, by official name."""
        for name, gradient in gradients.items():
            theirs = self.stored.get(f"grad.{name}")
            if theirs is not None:
                yield "grad", worst_element(gradient, theirs, gradient_atol(theirs.abs().max()))
        if "grad_stats" in self.stored:
            atol = gradient_atol(self.stored["grad_stats"][:, 2])
            yield from self.check_summary("grad", list(gradients.values()), atol, RTOL)

    def check_weights(self, before: dict[str, Tensor]) -> Iterator[Found]:
        """Weights after all steps, and how far they moved from those before, by official name."""
        atol = 4 * self.vectors.noise("after") + 1e-7
        for name, value in self.trained.items():
            theirs = self.stored.get(f"after.{name}")
            if theirs is not None:
                yield "after", worst_element(value, theirs, atol, 0.0)
                initial = self.stored.get(f"init.{name}", before[name])
                yield "delta", worst_element(value - before[name], theirs - initial, 1e-6, 0.0)
        if "after_stats" in self.stored:
            after, number = list(self.trained.values()), len(self.trained)
            yield from self.check_summary("after", after, torch.full((number,), atol), 0.0)
            moved = [value - before[name] for name, value in self.trained.items()]
            yield from self.check_summary("delta", moved, torch.full((number,), 1e-6), 0.0)

    def check_summary(self, kind: str, values: list[Tensor], atol: Tensor, rtol: float) -> Iterator[Found]:
        """Norm, sum and maximum of every tensor, and 16 of its entries.

        Args:
            kind: grad, after or delta.
            values: our tensors, in the order of the stored rows.
            atol: absolute tolerance of an entry of each tensor (rows,).
            rtol: relative tolerance.
        """
        stats, atol = self.stored[f"{kind}_stats"], atol.double()
        vectors = [value.detach().double().flatten() for value in values]
        root_n = torch.tensor([value.numel() for value in vectors], dtype=torch.float64).sqrt()
        norm = torch.stack([value.norm() for value in vectors])
        total = torch.stack([value.sum() for value in vectors])
        largest = torch.stack([value.abs().max() for value in vectors])
        yield f"{kind}_stats", worst_element(norm, stats[:, 0], atol * root_n, rtol)
        yield f"{kind}_stats", worst_element(total, stats[:, 1], (atol + 1e-4 * stats[:, 0]) * root_n, rtol)
        yield f"{kind}_stats", worst_element(largest, stats[:, 2], atol, rtol)
        index, sample = self.stored["sample_index"], self.stored[f"{kind}_sample"]
        ours = torch.stack([value[row] for value, row in zip(vectors, index, strict=True)])
        yield f"{kind}_sample", worst_element(ours, sample, atol.repeat_interleave(sample.shape[1]), rtol)


def check_folder(folder: Path) -> tuple[list[Comparison], list[str]]:
    """Check all vectors of a folder.

    Returns:
        The worst comparison of each method and quantity, and the names of vector files whose method we do not have.

    Raises:
        UserError: the folder holds no vectors of a method that we have, or damaged ones.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder of reference vectors: give one such as tests/golden")
    comparisons, unknown = [], []
    try:
        for description in sorted(folder.glob("*.json")):
            if find_method(Vectors(description)) is None:
                unknown.append(description.stem)
            else:
                comparisons += list(check_vectors(description))
    except (KeyError, json.JSONDecodeError, SafetensorError, FileNotFoundError) as error:
        raise UserError(f"{description} is not a complete vector file: {type(error).__name__} {error}") from error
    if not comparisons:
        raise UserError(f"'{folder}' holds no vectors of our methods ({len(unknown)} of others)")
    return worst_by_quantity(comparisons), unknown
