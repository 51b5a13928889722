"""Check our methods against vectors produced by the official implementations.

A folder of vectors holds one backbone, shared inputs, and for every method a JSON description and its tensors. Each is
replayed with our code: logits before training, three SGD steps (logits, losses, gradients, weights), logits on base and
new classes. The tolerances are those of the vectors' own documentation (docs/parity.md).
"""

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.clip.load import build, openai_config, wrap
from harness.clip.towers import CLIP, RAW
from harness.data.sampler import random_batches, same_class_batches
from harness.errors import UserError
from harness.experiment.registry import method_class, method_names
from harness.training.trainer import build_optimizer
from methods.base import Method

RTOL = 1e-4


@dataclass(frozen=True)
class Comparison:
    """The worst element of one quantity.

    Attributes:
        method: name of the vector file, such as `skip_tuning_staged`.
        quantity: what was compared, such as `train_logits`.
        error: absolute error of the element that is worst against its tolerance.
        tolerance: the tolerance of that element.
    """

    method: str
    quantity: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance (NaN is not)."""
        return self.error <= self.tolerance

    @property
    def severity(self) -> float:
        """Error in units of the tolerance; infinite for NaN and for any error where none is allowed."""
        if self.error == 0:
            return 0.0
        return self.error / self.tolerance if self.tolerance and not math.isnan(self.error) else math.inf


def compare(ours: Tensor, theirs: Tensor, atol: float | Tensor, rtol: float = RTOL) -> tuple[float, float]:
    """Error and tolerance of the element whose error is worst against its tolerance; infinite if shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf"), 0.0
    ours, theirs = ours.detach().double().flatten(), theirs.double().flatten()
    error = (ours - theirs).abs()
    tolerance = (torch.as_tensor(atol, dtype=torch.float64) + rtol * theirs.abs()).expand_as(error)
    # A tiny floor keeps exact quantities (tolerance 0) from dividing 0 by 0; NaN counts as worst.
    worst = (error / tolerance.clamp_min(1e-300)).nan_to_num(nan=float("inf")).argmax()
    return error[worst].item(), tolerance[worst].item()


class Vectors:
    """The description and the tensors of one method."""

    def __init__(self, description: Path) -> None:
        self.name = description.stem
        self.about: dict[str, Any] = json.loads(description.read_text())
        self.tensors = load_file(description.parent / self.about["files"]["tensors"])
        inputs = load_file(description.parent / self.about["files"]["inputs"])
        self.train_images, self.eval_images = inputs["train_images"], inputs["eval_images"]
        self.train_labels = self.tensors.get("train_labels", inputs["train_labels"])
        self.backbone = description.parent / self.about["files"]["backbone"]

    def noise(self, quantity: str) -> float:
        """Largest difference that other CPU kernels made to a quantity of the official code."""
        return float(self.about.get("kernel_noise_max_abs", {}).get(quantity, 0.0))

    def stage_atol(self) -> float:
        """Absolute tolerance for activations and features."""
        return 1e-5 + 4 * self.noise("cache")


def load_tiny_clip(vectors: Vectors) -> CLIP:
    """The backbone of a folder of vectors: OpenAI names, token embedding stored by its rows that are not zero."""
    state = load_file(vectors.backbone)
    rows, values = state.pop("token_embedding.rows"), state.pop("token_embedding.values")
    table = torch.zeros(open_clip.get_tokenizer("ViT-B-32").vocab_size, values.shape[1])
    table[rows] = values
    state["token_embedding.weight"] = table
    config = openai_config(state) | {"quick_gelu": "QuickGELU" in vectors.about["activation"]}
    network = build(config)
    network.load_state_dict(state)
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=config["text_cfg"]["context_length"])
    return wrap(network, tokenizer, vectors.backbone.stem, {}).eval().requires_grad_(False)


def find_method(vectors: Vectors) -> type[Method] | None:
    """Our method for the official trainer of these vectors, if we have it."""
    for name in method_names():
        cls = method_class(name)
        if cls.official and vectors.about["official_trainer"] in cls.official.trainers:
            return cls
    return None


def read_config(cls: type[Method], vectors: Vectors) -> Any:
    """Our options for the official ones.

    Raises:
        UserError: an official option that we have no counterpart for.
    """
    assert cls.official
    ours = {}
    for option, value in vectors.about["hyper"]["method_options"].items():
        section, _, name = option.rpartition(".")
        if section == "OPTIM":
            continue
        if name not in cls.official.options:
            raise UserError(f"{vectors.name}.json: official option {option} has no counterpart in {cls.__name__}")
        ours[cls.official.options[name]] = value
    return cls.Config(**ours)


def our_name(official: str, cls: type[Method]) -> str:
    """Our name of an official parameter."""
    assert cls.official
    if official in cls.official.tensors:
        return cls.official.tensors[official]
    prefixes = {"text_encoder.": "clip.text.", "image_encoder.": "clip.image."} | cls.official.tensors
    for prefix, ours in prefixes.items():
        if prefix.endswith(".") and official.startswith(prefix):
            return ours + official.removeprefix(prefix)
    return official


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


Result = tuple[str, tuple[float, float]]


class Replay:
    """One method of ours going through the steps that the official one went through."""

    def __init__(self, cls: type[Method], vectors: Vectors) -> None:
        self.cls = cls
        self.vectors = vectors
        self.stored = vectors.tensors
        self.clip = load_tiny_clip(vectors)
        self.prompts = self.clip.tokenize(vectors.about["prompts_base"])
        # Vectors of a method that cannot be carried to new classes have none.
        new = vectors.about.get("prompts_new") or vectors.about["prompts_base"]
        self.prompts_new = self.clip.tokenize(new)
        if vectors.about["hyper"].get("train_rng_seed") is not None:
            # The official loop draws one permutation of the image tokens before the method draws anything.
            torch.manual_seed(vectors.about["hyper"]["train_rng_seed"])
            torch.randperm(1 + (self.clip.image.positional_embedding.shape[0] - 1))
        self.method = cls(self.clip, read_config(cls, vectors), self.prompts)
        self.named = dict(self.method.named_parameters()) | dict(self.method.named_buffers())

    def run(self) -> Iterator[Result]:
        """All quantities that the vectors hold."""
        yield from self.check_inputs()
        yield from self.check_initial_state()
        yield from self.check_stages()
        yield from self.check_logits("eval_logits_base_init")
        if self.vectors.about["trainable"]:
            yield from self.check_training()
        yield from self.check_logits("eval_logits_base")
        if "eval_logits_new" in self.stored:
            self.method.set_classes(self.prompts_new)
            yield from self.check_logits("eval_logits_new")

    def check_inputs(self) -> Iterator[Result]:
        """Token ids, which parameters train, and how batches are drawn: all exact."""
        for name, prompts in (("tokens.base", self.prompts), ("tokens.new", self.prompts_new)):
            if name in self.stored:
                yield name, compare(prompts.ids, self.stored[name][:, : prompts.ids.shape[1]], 0.0, 0.0)
        theirs = {our_name(row["name"], self.cls) for row in self.trainable()}
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
                yield f"batches.{name}", compare(torch.tensor(ours_drawn), torch.tensor(batches), 0.0, 0.0)

    def check_initial_state(self) -> Iterator[Result]:
        """Compare what the method drew or computed at the start, then take the stored values."""
        assert self.cls.official
        for official, name in self.cls.official.tensors.items():
            if official in self.stored:
                exact = not self.stored[official].is_floating_point()
                atol = 0.0 if exact else self.vectors.stage_atol()
                yield official, compare(self.named[name], self.stored[official], atol, 0.0 if exact else RTOL)
                self.named[name].data.copy_(self.stored[official])
        for official, value in self.stored.items():
            if official.startswith("init."):
                self.named[our_name(official.removeprefix("init."), self.cls)].data.copy_(value)

    def check_stages(self) -> Iterator[Result]:
        """Cached activations and zero-shot features, where the vectors hold them."""
        atol = self.vectors.stage_atol()
        image, text = self.clip.image, self.clip.text
        with torch.no_grad():
            if "cache.text_mid" in self.stored:
                ours = text.run(self.prompts.ids, RAW, self.method.text_start).permute(1, 0, 2)
                yield "cache.text_mid", compare(ours, self.stored["cache.text_mid"][: len(ours)], atol)
            if "cache.text_out" in self.stored:
                yield "cache.text_out", compare(text.run(self.prompts.ids), self.stored["cache.text_out"], atol)
            for batch, pixels in enumerate(self.train_images()):
                name = f"cache.image_mid.b{batch}"
                if name in self.stored:
                    ours = image.run(pixels, RAW, self.method.image_start).permute(1, 0, 2)
                    yield "cache.image_mid", compare(ours, self.stored[name], atol)
                name = f"cache.image_out.b{batch}"
                if name in self.stored:
                    yield "cache.image_out", compare(image.run(pixels), self.stored[name], atol)
            for name, prompts in (("text_features_base", self.prompts), ("text_features_new", self.prompts_new)):
                if name in self.stored:
                    ours = F.normalize(text.run(prompts.ids), dim=-1)
                    yield name, compare(ours, self.stored[name], atol)
            name = "image_features_unnormalized"
            if name in self.stored:
                yield name, compare(image.run(self.vectors.eval_images), self.stored[name], atol)

    def check_logits(self, name: str) -> Iterator[Result]:
        """Logits of the evaluation images over the classes that are set."""
        if name in self.stored:
            with torch.no_grad():
                x = self.clip.image.run(self.vectors.eval_images, RAW, self.method.image_start)
                ours = self.method.logits(x, self.method.text_features())
            yield name, compare(ours, self.stored[name], 1e-4)

    def check_training(self) -> Iterator[Result]:
        """One SGD step on each stored batch."""
        hyper, options = self.vectors.about["hyper"]["optimizer"], self.vectors.about["hyper"]["method_options"]
        lr_image = options["OPTIM.NEW_LR"] if options.get("OPTIM.STAGED_LR") else None
        optimizer = build_optimizer(self.method, hyper["lr"], lr_image, hyper["momentum"], hyper["weight_decay"])
        before = {name: value.detach().clone() for name, value in self.named.items()}
        for batch, (pixels, labels) in enumerate(zip(self.train_images(), self.vectors.train_labels, strict=True)):
            with torch.no_grad():
                x = self.clip.image.run(pixels, RAW, self.method.image_start)
            logits, targets = self.method.training_logits(x, labels)
            loss = F.cross_entropy(logits, targets)
            yield "train_logits", compare(logits, self.stored[f"train_logits_b{batch}"], 1e-4)
            yield "train_losses", compare(loss[None], self.stored["train_losses"][batch : batch + 1], 1e-5)
            optimizer.zero_grad()
            loss.backward()
            if batch == 0:
                yield from self.check_gradients()
            optimizer.step()
        yield from self.check_weights(before)

    def check_gradients(self) -> Iterator[Result]:
        """Gradients of the first batch."""
        rows = self.trainable()
        gradients = []
        for row in rows:
            gradient = self.named[our_name(row["name"], self.cls)].grad
            assert gradient is not None
            gradients.append(gradient)
        for row, gradient in zip(rows, gradients, strict=True):
            theirs = self.stored.get(f"grad.{row['name']}")
            if theirs is not None:
                yield "grad", compare(gradient, theirs, gradient_atol(theirs.abs().max()))
        if "grad_stats" in self.stored:
            yield from self.check_summary("grad", gradients, gradient_atol(self.stored["grad_stats"][:, 2]), RTOL)

    def check_weights(self, before: dict[str, Tensor]) -> Iterator[Result]:
        """Weights after the steps, and how far they moved."""
        rows = self.trainable()
        atol = 4 * self.vectors.noise("after") + 1e-7
        names = [our_name(row["name"], self.cls) for row in rows]
        for row, name in zip(rows, names, strict=True):
            theirs = self.stored.get(f"after.{row['name']}")
            if theirs is not None:
                yield "after", compare(self.named[name], theirs, atol, 0.0)
                initial = self.stored.get(f"init.{row['name']}", before[name])
                yield "delta", compare(self.named[name] - before[name], theirs - initial, 1e-6, 0.0)
        if "after_stats" in self.stored:
            after = [self.named[name] for name in names]
            yield from self.check_summary("after", after, torch.full((len(rows),), atol), 0.0)
            moved = [self.named[name] - before[name] for name in names]
            yield from self.check_summary("delta", moved, torch.full((len(rows),), 1e-6), 0.0)

    def check_summary(self, kind: str, values: list[Tensor], atol: Tensor, rtol: float) -> Iterator[Result]:
        """Norm, sum and maximum of every tensor, and 16 of its entries.

        Args:
            kind: grad, after or delta.
            values: our tensors, in the order of the stored rows.
            atol: absolute tolerance of an entry of each tensor (rows,).
            rtol: relative tolerance.
        """
        stats, atol = self.stored[f"{kind}_stats"], atol.double()
        flat = [value.detach().double().flatten() for value in values]
        root_n = torch.tensor([value.numel() for value in flat], dtype=torch.float64).sqrt()
        norm = torch.stack([value.norm() for value in flat])
        total = torch.stack([value.sum() for value in flat])
        largest = torch.stack([value.abs().max() for value in flat])
        yield f"{kind}_stats", compare(norm, stats[:, 0], atol * root_n, rtol)
        yield f"{kind}_stats", compare(total, stats[:, 1], (atol + 1e-4 * stats[:, 0]) * root_n, rtol)
        yield f"{kind}_stats", compare(largest, stats[:, 2], atol, rtol)
        index, sample = self.stored["sample_index"], self.stored[f"{kind}_sample"]
        ours = torch.stack([value[row] for value, row in zip(flat, index, strict=True)])
        yield f"{kind}_sample", compare(ours, sample, atol.repeat_interleave(sample.shape[1]), rtol)

    def trainable(self) -> list[dict[str, Any]]:
        """The official trained tensors that take part in the loss."""
        return [row for row in self.vectors.about["trainable"] if row["has_gradient"]]

    def train_images(self) -> list[Tensor]:
        """The training batches."""
        return list(self.vectors.train_images)


def gradient_atol(largest: Tensor) -> Tensor:
    """Absolute tolerance of gradients whose largest entry is given."""
    return 1e-5 * largest.double().clamp_min(1.0)


def worst_by_quantity(comparisons: list[Comparison]) -> list[Comparison]:
    """The worst comparison of each (method, quantity), in the order in which they first came."""
    worst: dict[tuple[str, str], Comparison] = {}
    for item in comparisons:
        key = (item.method, item.quantity)
        if key not in worst or item.severity > worst[key].severity:
            worst[key] = item
    return list(worst.values())


def check_folder(folder: Path) -> tuple[list[Comparison], list[str]]:
    """Check all vectors of a folder.

    Returns:
        The worst comparison per method and quantity, and the names of vector files whose method we do not have.

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
