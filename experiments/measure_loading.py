"""Pictures a second of loading: ours, exact and fast, beside torchvision's v2 transforms and Dassl's pipeline.

    python -m experiments.measure_loading
    python -m experiments.measure_loading --sizes 500x375,2048x1536 --workers 0,2,8 --pictures 400 --rounds 5

It makes JPEGs, and loads all of them as 224-pixel squares: random resized crops for training, and test pictures. All
pipelines are timed in turn in each round, so that what else the machine does slows them alike; the median counts.
Behind each speed stands how many times that of torchvision's v2 transforms it is, the median of the rounds' quotients.
Without workers, pictures a second of CPU time stand beside those of wall time: other processes hardly change them. Of
ours three passes are timed: the first, which decodes and keeps nothing of training pictures; a later epoch, whose
pictures were kept; and the first pass of another run, which finds everything on disk. Training pictures of ours are
never held in memory here, as in data sets that are too large for that.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from harness.data import loader, workers
from harness.data.readers import Picture
from harness.data.transforms import Decode, TestTransform, TrainTransform
from harness.training.picture_store import PicturesOnDisk

SIDE = 224
BATCH = 32
BICUBIC = v2.InterpolationMode.BICUBIC
REFERENCE = "torchvision v2"
Pass = Callable[[], int]
ROOM = 1 << 40


def made_up(width: int, height: int, seed: int) -> bytes:
    """A JPEG with detail at all scales, as photos have."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 4, (height, width, 3))
    for step in (4, 8, 16, 32, 64, 128):
        coarse = rng.normal(128, 12 * step**0.3, (height // step + 2, width // step + 2, 3)).clip(0, 255)
        pixels += np.asarray(Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC))
    pixels = 128 + (pixels - pixels.mean()) * (50 / pixels.std())
    data = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=90)
    return data.getvalue()


class Theirs(Dataset[Tensor]):
    """Pictures by another pipeline.

    Args:
        paths: of the pictures.
        load: path -> square.
    """

    def __init__(self, paths: list[Path], load: Callable[[Path], Tensor]) -> None:
        self.paths = paths
        self.load = load

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Tensor:
        return self.load(self.paths[position])


class TorchvisionV2:
    """`decode_image`, and v2 transforms of uint8 tensors."""

    def __init__(self, train: bool) -> None:
        crop = [v2.RandomResizedCrop(SIDE, interpolation=BICUBIC, antialias=True), v2.RandomHorizontalFlip()]
        centre = [v2.Resize(SIDE, interpolation=BICUBIC, antialias=True), v2.CenterCrop(SIDE)]
        self.transform = v2.Compose(crop if train else centre)

    def __call__(self, path: Path) -> Tensor:
        found: Tensor = self.transform(decode_image(str(path), ImageReadMode.RGB))
        return found


class Dassl:
    """Pillow, and torchvision's transforms of its images, up to the normalisation."""

    def __init__(self, train: bool) -> None:
        crop = [v1.RandomResizedCrop(SIDE, interpolation=BICUBIC), v1.RandomHorizontalFlip()]
        centre = [v1.Resize(SIDE, interpolation=BICUBIC), v1.CenterCrop(SIDE)]
        self.transform = v1.Compose([*(crop if train else centre), v1.PILToTensor()])

    def __call__(self, path: Path) -> Tensor:
        found: Tensor = self.transform(Image.open(path).convert("RGB"))
        return found


def theirs(paths: list[Path], load: Callable[[Path], Tensor], count: int) -> Pass:
    """A pass of another pipeline, whose processes live on as well."""
    found = DataLoader(Theirs(paths, load), BATCH, num_workers=count, persistent_workers=count > 0)
    return lambda: sum(len(batch) for batch in found)


class Ours:
    """Our pipeline, with a store of its own.

    Args:
        folder: of the pictures.
        paths: of them.
        store: an empty folder.
        train: random views, or test pictures.
        decode: exact or fast.
        count: of processes.
    """

    def __init__(self, folder: Path, paths: list[Path], store: Path, train: bool, decode: Decode, count: int) -> None:
        self.folder = folder
        self.pictures = [Picture(path.name, 0) for path in paths]
        self.transform = TrainTransform(SIDE, decode=decode) if train else TestTransform(SIDE, decode=decode)
        self.store = store
        self.count = count
        self.first()

    def first(self) -> None:
        """Begin anew, with an empty store."""
        self.store = self.store.with_name(f"{self.store.name}x")
        self.anew()

    def anew(self) -> None:
        """Begin as another run would, with what is in the store."""
        kept = PicturesOnDisk(self.store, ROOM, "")
        self.set = loader.PictureSet(self.folder, self.pictures, store=kept)
        self.epoch = 0

    def run(self) -> int:
        """One pass."""
        self.epoch += 1
        batches = self.set.batches(self.transform, self.set.in_order(BATCH), f"1/{self.epoch}", self.count)
        return sum(len(batch) for batch in batches)


class Speed(NamedTuple):
    """Pictures a second of wall time, and a second of this process's CPU time."""

    wall: float
    cpu: float


def speed(run: Pass) -> Speed:
    """The speed of a pass."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = run()
    return Speed(count / (time.perf_counter() - wall), count / (time.process_time() - cpu))


def passes(folder: Path, paths: list[Path], train: bool, count: int) -> Iterator[tuple[str, Callable[[], Speed]]]:
    """Name of each pipeline and pass, and what measures it once."""
    yield REFERENCE, partial(speed, theirs(paths, TorchvisionV2(train), count))
    yield "Dassl", partial(speed, theirs(paths, Dassl(train), count))
    for decode in ("exact", "fast"):
        kind = "train" if train else "test"
        ours = Ours(folder, paths, folder / f"store-{kind}-{decode}-{count}", train, decode, count)

        def first(ours: Ours = ours) -> Speed:
            ours.first()
            return speed(ours.run)

        def later(ours: Ours = ours) -> Speed:
            ours.run()
            return speed(ours.run)

        def another(ours: Ours = ours) -> Speed:
            ours.anew()
            return speed(ours.run)

        yield f"{decode}: first epoch", first
        yield f"{decode}: later epoch", later
        yield f"{decode}: another run", another


class Row(NamedTuple):
    """Medians over rounds.

    Attributes:
        speed: of a pipeline and pass.
        times: that of torchvision's v2 transforms in the same round.
    """

    speed: Speed
    times: Speed


def row(own: list[Speed], reference: list[Speed]) -> Row:
    """The medians of rounds."""
    quotients = [Speed(a.wall / b.wall, a.cpu / b.cpu) for a, b in zip(own, reference, strict=True)]
    return Row(*(Speed(*map(statistics.median, zip(*values, strict=True))) for values in (own, quotients)))


def measure(folder: Path, paths: list[Path], train: bool, count: int, rounds: int) -> dict[str, Row]:
    """Speed of each pipeline and pass."""
    found: dict[str, list[Speed]] = {}
    with workers.kept_workers():
        timed = list(passes(folder, paths, train, count))
        for turn in range(rounds + 1):
            for name, once in timed:
                value = once()
                if turn:  # the first round starts processes and fills caches
                    found.setdefault(name, []).append(value)
    return {name: row(values, found[REFERENCE]) for name, values in found.items()}


def main() -> None:
    """Measure, and print a table for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", default="500x375,1024x768")
    parser.add_argument("--workers", default="0,2,8")
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    loader.DECODED_LIMIT = workers.DECODED_LIMIT = 0
    counts = [int(word) for word in asked.workers.split(",")]
    print(f"{asked.pictures} pictures, {asked.rounds} rounds; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for size in asked.sizes.split(","):
        width, height = (int(word) for word in size.split("x"))
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            paths = [folder / f"{number}.jpg" for number in range(asked.pictures)]
            for number, path in enumerate(paths):
                path.write_bytes(made_up(width, height, number % 16))
            time.sleep(2.5)  # a file that was changed just now has no state that tells its content
            for train in (True, False):
                columns = [measure(folder, paths, train, count, asked.rounds) for count in counts]
                print(f"\n{size}, {'training' if train else 'test pictures'}: pictures a second")
                titles = [f"{count} workers" for count in counts] + ["CPU second" for count in counts if not count]
                print(" " * 24 + "".join(f"{title:>16}" for title in titles))
                for name in columns[0]:
                    rows = [column[name] for column in columns]
                    cells = [(found.speed.wall, found.times.wall) for found in rows]
                    # What other processes compute is known only where there are none.
                    cells += [
                        (found.speed.cpu, found.times.cpu)
                        for count, found in zip(counts, rows, strict=True)
                        if not count
                    ]
                    print(f"{name:24}" + "".join(f"{speed:>8,.0f} {times:6.2f}x" for speed, times in cells), flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
