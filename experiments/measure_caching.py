"""Speed of SkipBench's caching pass beside a plain forward pass of open_clip's own image tower.

    python -m experiments.measure_caching
    python -m experiments.measure_caching --backbone ViT-B-16:random --images 8 --rounds 3

The caching pass is that of a method with a frozen image tower: batches in one shape, with names of pictures, digests
and the file of the store, and normalising. Squares are tensors in memory on both sides, so that nothing is decoded or
transformed. The plain pass is `encode_image` of open_clip with the same weights, without gradients, on squares that are
normalised already, with as many at once as were fastest. Both are computed in turn with one thread; CPU seconds count.
The digest of the tower, which a run computes once, is timed by itself.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.clip.backbones import parse_backbone
from harness.clip.checkpoints import read_checkpoint
from harness.clip.load import build, build_of_open_clip, named_architecture, wrap
from harness.clip.towers import CLIP, END, POOLED
from harness.data.datasets import read_dataset
from harness.data.loader import PictureSet, Transform, normalise
from harness.data.transforms import TestTransform
from harness.experiment.training_spec import TrainSpec
from harness.machine.meter import Meter
from harness.training.feature_cache import TrainingImages
from harness.training.feature_identity import tower_digest
from harness.training.feature_store import FeatureStore
from harness.training.shared_features import SharedFeatures

BACKBONES = "clip-emoji,ViT-B-16:random"
PLAIN_SIZES = (1, 2, 4, 8, 16, 32, 64)
STORE_BYTES = 2**30
HEAD = (
    "| backbone | images | plain, CPU ms an image | its batch | caching, CPU ms an image | speed of caching / plain "
    "| range | once a run, CPU s | difference |"
)


class SquaresInMemory(PictureSet):
    """Pictures of a folder whose squares (N, 3, H, W), uint8, are in memory."""

    squares: Tensor

    def batches(
        self,
        transform: Transform,
        indices: Sequence[Sequence[int]],
        key: str | Sequence[str] = "",
        workers: int = 0,
        pin_memory: bool = False,
    ) -> Iterator[Tensor]:
        """As of every picture set, without decoding."""
        for positions in indices:
            yield self.squares[list(positions)]


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def pictures_of(clip: CLIP, number: int) -> SquaresInMemory:
    """Pictures of the embedded data set, whose squares are noise."""
    splits = read_dataset("emoji", None)
    found = SquaresInMemory(splits.folder, splits.train[:number])
    size = clip.image_size
    found.squares = torch.randint(256, (len(found), 3, size, size), generator=torch.Generator().manual_seed(0)).byte()
    return found


def both_models(text: str) -> tuple[CLIP, nn.Module]:
    """A frozen CLIP of SkipBench, and open_clip's own model with the same weights."""
    backbone = parse_backbone(text)
    found = named_architecture(backbone, stand_in=True)
    if found is None:
        raise SystemExit(f"{text}: name a model of open_clip, or a checkpoint with its configuration")
    config, tokenizer = found
    torch.manual_seed(0)
    network, model = build(config), build_of_open_clip(config)
    if backbone.checkpoint:
        network.load_state_dict(read_checkpoint(backbone.checkpoint))
    model.load_state_dict(network.state_dict())
    clip = wrap(network, tokenizer, text, config.preprocess_cfg)
    return clip.eval().requires_grad_(False), model.eval().requires_grad_(False)


def caching_pass(clip: CLIP, shared: SharedFeatures, pictures: PictureSet, view: int, folder: Path) -> Tensor:
    """Features (N, E) by the caching pass of a run, into a new store."""
    shared.store = FeatureStore(folder, STORE_BYTES)
    spec = TrainSpec(cache="once")
    transform = TestTransform.of(clip.preprocessing)
    images = TrainingImages(clip, pictures, transform, END, spec, view, Meter(clip.device), shared=shared)
    images.prepare(0)
    assert images.features is not None
    return images.features


@torch.no_grad()
def plain_pass(model: Any, pixels: Tensor, size: int) -> Tensor:
    """Features (N, E) by the model itself."""
    return torch.cat([model.encode_image(batch) for batch in pixels.split(size)])


def measure(backbone: str, images: int, rounds: int) -> str:
    """A line of the table."""
    clip, model = both_models(backbone)
    pictures = pictures_of(clip, images)
    pixels = normalise(pictures.squares, clip.mean, clip.std, clip.device)
    shared = SharedFeatures(clip, "fp32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = caching_pass(clip, shared, pictures, 0, folder / "first")
        once = cpu_seconds(lambda: (tower_digest(clip.image, END), tower_digest(clip.image, POOLED)))
        difference = float((ours - plain_pass(model, pixels, 8)).norm() / ours.norm())
        best = min(
            (size for size in PLAIN_SIZES if size <= images),
            key=lambda size: cpu_seconds(lambda: plain_pass(model, pixels, size)),
        )
        pairs = []
        for turn in range(rounds):
            plain = cpu_seconds(lambda: plain_pass(model, pixels, best))
            cached = cpu_seconds(lambda turn=turn: caching_pass(clip, shared, pictures, turn, folder / str(turn)))
            pairs.append((plain, cached))
            print(f"{backbone}: round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    plain, cached = (statistics.median(times) / images * 1e3 for times in zip(*pairs, strict=True))
    ratios = [plain / cached for plain, cached in pairs]
    return (
        f"| {backbone} | {images} | {plain:.2f} | {best} | {cached:.2f} | {statistics.median(ratios):.3f} | "
        f"{min(ratios):.3f}-{max(ratios):.3f} | {once:.2f} | {difference:.0e} |"
    )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backbone", default=BACKBONES, help="one or several, separated by commas")
    parser.add_argument("--images", type=int, help="default: 512, of large towers 16")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{asked.rounds} rounds, one thread; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print(f"{HEAD}\n|---{'|---:' * (HEAD.count('|') - 2)}|")
    for backbone in asked.backbone.split(","):
        images = asked.images or (512 if backbone == "clip-emoji" else 16)
        print(measure(backbone, images, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
