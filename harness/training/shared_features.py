"""Features of a frozen image tower, computed once for all runs that would compute the same.

A run must not depend on what other runs have computed before. Products of matrices round differently when their shapes
differ, or when several threads share one. So features are always computed in one shape: a few pictures at once, on a
CPU by one thread (several such threads work side by side); what is missing in the last is filled up with blank
pictures. Without a store they are computed in the same way.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from harness.clip.towers import CLIP, END, POOLED, Stage
from harness.data.loader import PictureSet, Transform, normalise
from harness.experiment.spec import RunSpec
from harness.machine.threads import one_thread
from harness.training.feature_identity import UNKNOWN, entry_name, names_tensor, picture_names, tower_digest
from harness.training.feature_store import FeatureStore, Rows, open_store
from harness.training.inference import project_pooled, run_frozen

AT_ONCE, AT_ONCE_ON_GPU = 8, 16
"""Pictures that one thread of a CPU, or a GPU, computes together: enough to keep it busy, few enough for its memory."""


def is_shareable(stage: Stage) -> bool:
    """Whether images at a stage are features of a whole frozen tower, which are small and the same for many runs."""
    return stage >= POOLED


@dataclass(frozen=True)
class Features:
    """Features of some pictures.

    Attributes:
        rows: (N, D), in host memory.
        computed: how many of them went through the blocks of the tower now; the others come from the store.
        shared_seconds: what computing the others took when it was done.
    """

    rows: Tensor
    computed: int
    shared_seconds: float


def share_features(clip: CLIP, spec: RunSpec, tell: Callable[[str], None]) -> "SharedFeatures":
    """The features of a run's backbone; kept on disk for other runs unless the run keeps no outputs of frozen stages.

    Args:
        clip: as the precision of the run stores it, on its device.
        spec: the run.
        tell: takes one line if nothing can be kept.
    """
    return SharedFeatures(clip, spec.train.precision, open_store(spec.runtime, tell) if spec.train.caches else None)


class SharedFeatures:
    """Features of a backbone for the runs that share them.

    Args:
        clip: its image tower is frozen up to the stages that are asked for, as its precision stores it.
        precision: fp32, bf16, fp16 or half.
        store: where they are kept; None computes them every time.
    """

    def __init__(self, clip: CLIP, precision: str, store: FeatureStore | None = None) -> None:
        self.clip = clip
        self.precision = precision
        self.store = store
        self._towers: dict[Stage, str] = {}
        self._names: WeakKeyDictionary[PictureSet, list[bytes]] = WeakKeyDictionary()

    def of(
        self,
        pictures: PictureSet,
        transform: Transform,
        stage: Stage,
        batch_size: int,
        key: str = "",
        workers: int = 0,
    ) -> Features:
        """Features of pictures, in order.

        Args:
            pictures: N, at least one.
            transform: a dataclass.
            stage: POOLED or END.
            batch_size: most pictures that are computed at once.
            key: of random views, as for `PictureSet.batches`.
            workers: number of processes that decode images.

        Raises:
            UserError: an image cannot be read.
        """

        size, every = at_once(self.clip.device, batch_size), range(len(pictures))

        def compute(stage: Stage, positions: Sequence[int]) -> Features:
            rows = self._compute(pictures, transform, stage, batch_size, key, workers, positions)
            return Features(rows, len(positions), pictures.take_spared())

        def entry(stage: Stage) -> str:
            if stage not in self._towers:
                self._towers[stage] = tower_digest(self.clip.image, stage)
            about = (self.precision, transform, pictures.folder, key, size)
            return entry_name(self.clip, self._towers[stage], stage, *about)

        def project(store: FeatureStore, positions: Sequence[int]) -> Features:
            pooled = self._look_up(store, entry(POOLED), pictures, positions, lambda some: compute(POOLED, some))
            return Features(self._project(pooled.rows, size), pooled.computed, pooled.shared_seconds)

        # Pictures that are on no disk have no state by which a row could be found again.
        if (store := self.store) is None or pictures.read is not None:
            return compute(stage, every)
        # Looked up before the first image is decoded, since decoded images may stay in memory.
        if pictures not in self._names:
            self._names[pictures] = picture_names(pictures.folder, pictures.pictures)
        if stage == END:
            # Kept before the projection too, for methods that train it: the blocks are what takes long.
            return self._look_up(store, entry(END), pictures, every, lambda some: project(store, some))
        return self._look_up(store, entry(stage), pictures, every, lambda some: compute(stage, some))

    def _project(self, pooled: Tensor, size: int) -> Tensor:
        """Features (N, E) of those before the projection (N, D), in the shape in which the whole tower has them."""

        def features(rows: Tensor) -> Tensor:
            filled = fill_up(rows, size).to(self.clip.device)
            return project_pooled(self.clip, filled, self.precision)[: len(rows)].cpu()

        with one_thread() if self.clip.device.type == "cpu" else nullcontext():
            return torch.cat([features(rows) for rows in pooled.split(size)])

    def _look_up(
        self,
        store: FeatureStore,
        entry: str,
        pictures: PictureSet,
        positions: Sequence[int],
        compute: Callable[[Sequence[int]], Features],
    ) -> Features:
        names = [self._names[pictures][position] for position in positions]
        known = store.load(entry)
        index = known.index() if known else {}
        missing = [place for place, name in enumerate(names) if name not in index]
        present = [place for place, name in enumerate(names) if name in index]
        rows = [index[names[place]] for place in present]
        shared = float(known.seconds[rows].double().sum()) if known else 0.0
        computed, count = None, 0
        if missing:
            start, absent = time.perf_counter(), [positions[place] for place in missing]
            found = compute(absent)
            seconds = (time.perf_counter() - start + found.shared_seconds) / len(missing)
            computed, count, shared = found.rows, found.computed, shared + found.shared_seconds
            self._keep(store, entry, pictures, absent, computed, seconds)
        if computed is None or not known or not present:
            whole = known.features[rows] if computed is None and known else computed
            assert whole is not None
            return Features(whole, count, shared)
        features = computed.new_empty((len(names), *computed.shape[1:]))
        features[missing], features[present] = computed, known.features[rows]
        return Features(features, count, shared)

    def _keep(
        self,
        store: FeatureStore,
        entry: str,
        pictures: PictureSet,
        positions: Sequence[int],
        features: Tensor,
        seconds: float,
    ) -> None:
        """Keep the features of pictures whose files are what they were before they were read."""
        names = self._names[pictures]
        now = picture_names(pictures.folder, [pictures.pictures[position] for position in positions])
        rows = [
            row
            for row, (position, name) in enumerate(zip(positions, now, strict=True))
            if known_state(name, names[position])
        ]
        if rows:
            kept = names_tensor(now[row] for row in rows)
            store.add(entry, Rows(kept, features[rows], torch.full((len(rows),), seconds)))

    def _compute(
        self,
        pictures: PictureSet,
        transform: Transform,
        stage: Stage,
        batch_size: int,
        key: str,
        workers: int,
        positions: Sequence[int],
    ) -> Tensor:
        """Features (n, D) of the pictures at some positions, in host memory."""
        clip, size = self.clip, at_once(self.clip.device, batch_size)
        indices = [positions[start : start + size] for start in range(0, len(positions), size)]

        def features(pixels: Tensor) -> Tensor:
            filled = fill_up(pixels, size)
            images = normalise(filled, clip.mean, clip.std, clip.device)
            return run_frozen(clip, images, stage, self.precision)[: len(pixels)].cpu()

        on_gpu = clip.device.type == "cuda"
        batches = pictures.batches(transform, indices, key, workers, pin_memory=on_gpu)
        if on_gpu:
            return torch.cat([features(batch) for batch in batches])
        threads = num_threads(clip.device, batch_size)
        with one_thread():
            return torch.cat(list(side_by_side(features, batches, threads)))


def at_once(device: torch.device, batch_size: int) -> int:
    """Number of pictures that are computed together, whoever asks for how many."""
    return min(AT_ONCE_ON_GPU if device.type == "cuda" else AT_ONCE, batch_size)


def num_threads(device: torch.device, batch_size: int) -> int:
    """Number of threads that compute so many pictures each, side by side."""
    return 1 if device.type == "cuda" else min(torch.get_num_threads(), max(1, batch_size // AT_ONCE))


def in_memory(device: torch.device, stage: Stage, batch_size: int) -> int:
    """Number of pictures that are on their way through a frozen tower at the same time.

    Args:
        device: where they are computed.
        stage: that they go to. Features that runs share are computed as `at_once` says, everything else in batches.
        batch_size: of these batches.
    """
    if not is_shareable(stage):
        return batch_size
    return at_once(device, batch_size) * num_threads(device, batch_size)


def fill_up(pixels: Tensor, size: int) -> Tensor:
    """Pixels (B, 3, H, W) or features (B, D), and black images or zeros up to `size`."""
    missing = size - len(pixels)
    return torch.cat([pixels, pixels.new_zeros((missing, *pixels.shape[1:]))]) if missing else pixels


def known_state(name: bytes, before: bytes) -> bool:
    """Whether a picture has a known state, the one that it had before."""
    return name != UNKNOWN and name == before


def side_by_side(work: Callable[[Tensor], Tensor], batches: Iterable[Tensor], threads: int) -> Iterator[Tensor]:
    """The results of work on batches, in order; only a few batches wait for the threads."""
    if threads == 1:
        yield from map(work, batches)
        return
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Tensor]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
