"""Pre-train the small CLIP from scratch on the drawing styles that the benchmark does not hold, with made-up captions.

Two runs with the same options on the same machine and number of threads give the same weights, also when one of them
was stopped and continued: every step draws its pictures, captions and augmentations from its own seed.
"""

import argparse
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import (
    IMAGE_SIZE,
    PRETRAIN_STYLES,
    TEMPLATES,
    Record,
    accuracy,
    build_model,
    build_tokenizer,
    class_features,
    image_features,
    load_records,
    normalise,
    read_categories,
    read_index,
    read_pictures,
    stable_hash,
    with_article,
)
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch.nn import functional as F

EMOJI_SHARE = 0.9  # of a batch; the rest are icons
ADAMW_RATE, MUON_RATE = 1.5e-3, 0.02
WARM_UP_STEPS = 50
DECAY_SHARE = 0.6  # of the run, at its end
FLOOR = 0.02
EMA_EVERY = 5
EMA_DECAY = 0.99

CAPTIONS = ("{}", "a drawing of {}", "an icon of {}", "a picture showing {}", "an emoji of {}", "a symbol for {}")
CAPTIONS_WITH_CATEGORY = ("{}, {}", "{}, a kind of {}", "{} ({})")


# ---- pictures and captions


class Shuffled:
    """An endless sequence that runs through all items in a new order each time; any part of it can be asked for."""

    def __init__(self, items: Sequence[int], seed: str) -> None:
        self.items, self.seed = items, seed
        self.orders: dict[int, list[int]] = {}

    def order(self, epoch: int) -> list[int]:
        """The order of one pass."""
        if epoch not in self.orders:
            order = list(self.items)
            random.Random(f"{self.seed} {epoch}").shuffle(order)
            self.orders = {e: o for e, o in self.orders.items() if e >= epoch - 1} | {epoch: order}
        return self.orders[epoch]

    def take(self, start: int, count: int) -> list[int]:
        """The items at the places start, start + 1 and so on."""
        size = len(self.items)
        return [self.order(place // size)[place % size] for place in range(start, start + count)]


def clean_name(record: Record) -> str:
    """The picture's name as captions write it."""
    return record.name.lower().replace("flag: ", "flag of ")


def caption(record: Record, rng: random.Random) -> tuple[str, bool]:
    """A random caption, and whether it names the category only (and so fits every picture of the category)."""

    def fill(text: str) -> str:
        return rng.choice(CAPTIONS).format(with_article(text) if rng.random() < 0.5 else text)

    name = clean_name(record)
    kind = rng.random()
    if record.category and kind < 0.5:
        return fill(record.category), True
    if record.category and kind < 0.72:
        return rng.choice(CAPTIONS_WITH_CATEGORY).format(name, record.category), False
    if kind < 0.85 or not record.tags:
        return fill(name), False
    return ", ".join([name, *rng.sample(record.tags, min(2, len(record.tags)))]), False


def augment(pictures: torch.Tensor, is_icon: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Colour, tint, turn, stretch, shift and mirror 64-pixel uint8 pictures; the result is normalised, model-sized."""
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    def some(share: float) -> torch.Tensor:
        return uniform(0, 1, 1, 1, 1) < share

    x = pictures.float() / 255
    gray = x.mean(1, keepdim=True)
    coloured = gray + (1 - gray) * uniform(0, 0.7, 3, 1, 1)
    x = torch.where(is_icon.view(-1, 1, 1, 1) & some(0.6), coloured, x)
    x = torch.where(some(0.3), x * uniform(0.65, 1, 3, 1, 1), x)

    angle, scale, stretch = uniform(-0.175, 0.175), uniform(0.85, 1.15), uniform(0.92, 1.08)
    mirror = torch.where(uniform(0, 1) < 0.3, -1.0, 1.0)
    shift = uniform(-0.08, 0.08, 2)
    across = torch.stack([scale * mirror * angle.cos(), -scale * stretch * angle.sin(), shift[:, 0]], 1)
    down = torch.stack([scale * mirror * angle.sin(), scale * stretch * angle.cos(), shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), [count, 3, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    x = x * uniform(0.85, 1.15, 3, 1, 1)
    x = torch.where(some(0.02), 1 - x, x)
    noise = torch.randn(x.shape, generator=generator)
    return normalise((x + 0.02 * noise).clamp(0, 1))


class Batches:
    """The training batch of any step."""

    def __init__(self, folder: Path, tokenizer: SimpleTokenizer, size: int, seed: int) -> None:
        pixels, records = load_records(folder)
        emoji = [i for i, r in enumerate(records) if r.style in PRETRAIN_STYLES]
        icons = [i for i, r in enumerate(records) if r.domain == "icon"]
        rows = emoji + icons
        self.records = [records[i] for i in rows]
        self.pixels = np.ascontiguousarray(pixels[rows])
        self.tokenizer, self.size, self.seed = tokenizer, size, seed
        self.emoji_count = int(size * EMOJI_SHARE)
        self.emoji = Shuffled(range(len(emoji)), f"{seed} emoji")
        self.icons = Shuffled(range(len(emoji), len(rows)), f"{seed} icons")
        self.names = _numbers([clean_name(r) for r in self.records])
        self.categories = _numbers([r.category for r in self.records])
        print(f"pre-training on {len(emoji)} emoji pictures and {len(icons)} icons", flush=True)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pictures, tokens and the matrix that is 1 where a caption fits a picture."""
        rng = random.Random(f"{self.seed} {step}")
        generator = torch.Generator().manual_seed(stable_hash(f"{self.seed} {step}"))
        icon_count = self.size - self.emoji_count
        rows = self.emoji.take(step * self.emoji_count, self.emoji_count)
        rows += self.icons.take(step * icon_count, icon_count)
        records = [self.records[i] for i in rows]
        captions = [caption(r, rng) for r in records]
        is_icon = torch.tensor([r.domain == "icon" for r in records])
        pictures = augment(torch.from_numpy(self.pixels[rows]).permute(0, 3, 1, 2), is_icon, generator)
        tokens = self.tokenizer([text for text, _ in captions])
        names, categories = self.names[rows], self.categories[rows]
        same_name = names[:, None] == names[None, :]
        same_category = categories[:, None] == categories[None, :]
        names_category = torch.tensor([of_category for _, of_category in captions])
        return pictures, tokens, torch.where(names_category[None, :], same_category, same_name).float()


def _numbers(values: Sequence[str | None]) -> torch.Tensor:
    """Number the distinct values."""
    number = {value: k for k, value in enumerate(dict.fromkeys(values))}
    return torch.tensor([number[value] for value in values])


# ---- model and optimisation


def encode_text(model: CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """The same as model.encode_text, computed only as far as the batch's longest caption goes."""
    end = tokens.argmax(1)
    length = int(end.max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(x[torch.arange(len(x)), end] @ model.text_projection, dim=-1)


def contrastive_loss(logits: torch.Tensor, fits: torch.Tensor) -> torch.Tensor:
    """Symmetric cross entropy against all captions that fit a picture, and all pictures that a caption fits."""
    picture_loss = -(fits / fits.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    caption_loss = -(fits / fits.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (picture_loss + caption_loss) / 2


def build_optimizers(model: CLIP) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer blocks, AdamW for everything else."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "resblocks" in name else rest).append(parameter)
    muon = torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=0.02)
    adamw = torch.optim.AdamW(rest, lr=ADAMW_RATE, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    return [muon, adamw]


def rate_factor(step: int, steps: int) -> float:
    """Learning rate over its peak: a short warm-up, flat, then a straight line down."""
    return min(1, (step + 1) / WARM_UP_STEPS) * min(1, max(FLOOR, (1 - step / steps) / DECAY_SHARE))


class Training:
    """The model, its moving average and its optimisers, and the steps that change them."""

    def __init__(self, batches: Batches, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.batches, self.steps = batches, steps
        self.model = build_model().train()
        self.average = {k: v.detach().clone() for k, v in self.model.named_parameters()}
        self.optimizers = build_optimizers(self.model)
        self.step = 0

    def run_step(self) -> float:
        """Take one step; return its loss."""
        pictures, tokens, fits = self.batches.batch(self.step)
        for optimizer, rate in zip(self.optimizers, (MUON_RATE, ADAMW_RATE), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_factor(self.step, self.steps)
        images = self.model.encode_image(pictures, normalize=True)
        texts = encode_text(self.model, tokens)
        loss = contrastive_loss(self.model.logit_scale.exp() * images @ texts.T, fits)
        self.model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.optimizers[1].param_groups[0]["params"], 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        self.step += 1
        if self.step % EMA_EVERY == 0:
            self._average()
        return loss.item()

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the present ones, faster in the beginning."""
        decay = min(EMA_DECAY, self.step / (self.step + 50))
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter, 1 - decay)

    def save(self, path: Path) -> None:
        """Write all that the next steps depend on; an interrupted write leaves the old file whole."""
        state = {
            "steps": self.steps,
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        new = path.with_suffix(".new")
        torch.save(state, new)
        new.replace(path)

    def load(self, path: Path) -> None:
        """Go on from what save wrote."""
        state = torch.load(path, weights_only=True)
        if state["steps"] != self.steps:
            raise ValueError(f"{path.name} belongs to a run of {state['steps']} steps, not {self.steps}")
        self.model.load_state_dict(state["model"])
        self.average, self.step = state["average"], state["step"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


# ---- validation and result


class Validation:
    """Zero-shot accuracy on the shipped validation pictures, with the mean of the four templates."""

    def __init__(self, tokenizer: SimpleTokenizer) -> None:
        self.tokenizer, self.names = tokenizer, read_categories()
        rows = [row for row in read_index("emoji-color") if row["split"] == "val"]
        self.labels = torch.tensor([self.names.index(row["category"]) for row in rows])
        self.pictures = read_pictures("emoji-color", [row["file"] for row in rows])

    def score(self, model: CLIP) -> float:
        """Accuracy in per cent."""
        texts = class_features(model, self.tokenizer, self.names, TEMPLATES)
        return accuracy(image_features(model, self.pictures), texts, self.labels)


def half_weights(model: CLIP, parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's weights as the shipped file holds them: fp16, without the attention mask."""
    weights = model.state_dict() | parameters
    return {key: value.half().contiguous() for key, value in weights.items() if key != "attn_mask"}


def finish(training: Training, validation: Validation, out: Path) -> None:
    """Write the better one of the last and the averaged weights, as fp16."""
    model = training.model
    choices = {"live": dict(model.named_parameters()), "average": training.average}
    weights = {name: half_weights(model, parameters) for name, parameters in choices.items()}
    scores = {}
    for name, half in weights.items():
        model.load_state_dict({key: value.float() for key, value in half.items()}, strict=False)
        scores[name] = validation.score(model)
        print(f"{name} weights, fp16: validation {scores[name]:.1f} %")
    best = max(scores, key=lambda name: (scores[name], name == "average"))
    save_file(weights[best], out)
    print(f"wrote the {best} weights: {out.name}, {out.stat().st_size} bytes")


def train(options: argparse.Namespace) -> None:
    """Run all steps, with a line of progress and a checkpoint now and then."""
    tokenizer = build_tokenizer()
    batches = Batches(options.work, tokenizer, options.batch, options.seed)
    validation = Validation(tokenizer)
    training = Training(batches, options.steps, options.seed)
    checkpoint = options.work / "pretrain.pt"
    if options.resume and checkpoint.exists():
        training.load(checkpoint)
        print(f"going on after step {training.step}", flush=True)
    start, first, losses = time.perf_counter(), training.step, []
    while training.step < options.steps:
        losses.append(training.run_step())
        if training.step % options.report_every == 0 or training.step == options.steps:
            pace = (time.perf_counter() - start) / (training.step - first)
            scale = training.model.logit_scale.exp().item()
            print(
                f"step {training.step}/{options.steps}  loss {np.mean(losses):.3f}  logit scale {scale:.1f}  "
                f"validation {validation.score(training.model):.1f} %  {pace:.2f} s a step",
                flush=True,
            )
            losses = []
            training.save(checkpoint)
    finish(training, validation, options.out)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with X.npy and meta.json (build_images.py)")
    parser.add_argument("--out", type=Path, required=True, help="file for the weights (.safetensors)")
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report-every", type=int, default=250, help="steps between reports and checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the working folder")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options)


if __name__ == "__main__":
    main()
