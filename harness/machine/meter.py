"""What a run costs, phase by phase: seconds, images, peak memory, floating point operations.

On a GPU, memory is the allocator's peak. On a CPU it is the peak of live tensor bytes and the peak resident set of the
process. Live bytes are exact and repeatable; they are measured in separate steps, because watching every operator
slows it down.
"""

import resource
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from harness.machine.costs import PHASES, PhaseCosts
from harness.machine.torch_internals import FLOPS_ON_CPU, READ_DEVICE, OperatorMode, storage_id, tree_leaves

UNLABELLED = "activations"


class LiveBytes(OperatorMode):
    """Counts the bytes of all live tensor storages while it is active.

    Args:
        resident: tensors that are alive from the start, such as weights, caches and inputs.

    Attributes:
        live: bytes that are alive now.
        peak: most bytes that were alive at once.
        by_kind: kind (see `label`) -> bytes that are alive now.
        peak_by_kind: kind -> bytes that were alive at the peak.
    """

    def __init__(self, resident: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self.by_kind: Counter[str] = Counter()
        self.peak_by_kind: dict[str, int] = {}
        self._kinds: dict[int, str] = {}
        self._storages: dict[int, weakref.ref[Any]] = {}
        for tensor in resident:
            self._register(tensor)

    def _register(self, value: object) -> None:
        if not isinstance(value, Tensor):
            return
        storage = value.untyped_storage()
        key, size = storage_id(value), storage.nbytes()
        if key in self._storages or not size:
            return

        def release(_: object) -> None:
            del self._storages[key]
            self.live -= size
            self.by_kind[self._kinds.pop(key, UNLABELLED)] -= size

        self._storages[key] = weakref.ref(storage, release)
        self.live += size
        self.by_kind[UNLABELLED] += size
        if self.live > self.peak:
            self.peak = self.live
            self.peak_by_kind = dict(self.by_kind)

    def label(self, tensors: Iterable[Tensor], kind: str) -> None:
        """Count the live ones among some tensors as being of a kind; all others are UNLABELLED."""
        for tensor in tensors:
            key, size = storage_id(tensor), tensor.untyped_storage().nbytes()
            if key in self._storages:
                self.by_kind[self._kinds.get(key, UNLABELLED)] -= size
                self.by_kind[kind] += size
                self._kinds[key] = kind
        if self.live == self.peak:
            self.peak_by_kind = dict(self.by_kind)

    def knows(self, tensors: Iterable[Tensor]) -> bool:
        """Whether all of some tensors are counted."""
        return all(storage_id(tensor) in self._storages for tensor in tensors)

    def peak_within(self, work: Callable[[], Tensor]) -> tuple[Tensor, int]:
        """The result of `work`, and how many bytes more than at its beginning are alive at its peak."""
        peak, by_kind, before = self.peak, self.peak_by_kind, self.live
        self.peak = before
        result = work()
        more = self.peak - before
        if self.peak <= peak:
            self.peak, self.peak_by_kind = peak, by_kind
        return result, more

    def add_peak(self, more: int) -> None:
        """Take note that for a moment `more` unlabelled bytes were alive beside those that are alive now."""
        if self.live + more > self.peak:
            self.peak = self.live + more
            self.peak_by_kind = {**self.by_kind, UNLABELLED: self.by_kind[UNLABELLED] + more}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is READ_DEVICE:
            return result
        for leaf in tree_leaves(result):
            self._register(leaf)
        return result


def peak_tensor_bytes(work: Callable[[], object], resident: Iterable[Tensor] = ()) -> int:
    """Peak of live tensor bytes while `work` runs, including the resident tensors."""
    with LiveBytes(resident) as watch:
        work()
    return watch.peak


def peak_bytes(work: Callable[[], object], resident: Iterable[Tensor], device: torch.device) -> int:
    """Peak memory in bytes while `work` runs: exact live tensor bytes on a CPU, the allocator's peak on a GPU.

    Args:
        work: what to measure.
        resident: tensors that are alive from the start; needed on a CPU.
        device: where the work computes.
    """
    if device.type != "cuda":
        return peak_tensor_bytes(work, resident)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of all storages of some tensors, each counted once."""
    return LiveBytes(tensors).live


def count_flops(work: Callable[[], object]) -> int:
    """Floating point operations (2 per multiply-add) of the matrix products, convolutions and attentions in `work`."""
    with FlopCounterMode(display=False, custom_mapping=FLOPS_ON_CPU) as counter:
        work()
    return counter.get_total_flops()


class Meter:
    """Collects the costs of a run's phases.

    Args:
        device: where the run computes.
        phases: costs of an interrupted run to continue from.
    """

    def __init__(self, device: torch.device, phases: Mapping[str, PhaseCosts] | None = None) -> None:
        self.device = device
        self._phases = {name: PhaseCosts() for name in PHASES}
        self._watched: str | None = None
        for name, costs in (phases or {}).items():
            self._phases[name] = costs.model_copy()

    @property
    def phases(self) -> dict[str, PhaseCosts]:
        """Phase -> its costs so far."""
        self._take_peak_rss()
        return self._phases

    @property
    def so_far(self) -> Mapping[str, PhaseCosts]:
        """As `phases`, without asking the system for the peak resident set, which takes as long as a small epoch."""
        return self._phases

    def seconds(self, name: str) -> float:
        """Time spent in a phase so far."""
        return self._phases[name].seconds if name in self._phases else 0.0

    def _take_peak_rss(self) -> None:
        """Note the peak of the phase that is watched, and watch it no longer."""
        if self._watched is not None:
            self._phases[self._watched].raise_peak("peak_rss_bytes", peak_rss())
            self._watched = None

    @contextmanager
    def phase(self, name: str, images: int = 0, repeats: bool = False) -> Iterator[PhaseCosts]:
        """Measure seconds and peak memory of a part of a phase.

        Args:
            name: one of PHASES, or COMPILE or VALIDATE, which only some runs have.
            images: number of images that this part processes.
            repeats: the next part may follow at once. The peak resident set of all such parts is asked of the system
                once, when something else is measured or the costs are read: asking takes as long as a small epoch.
        """
        phase = self._phases.setdefault(name, PhaseCosts())
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        if not (repeats and self._watched == name):
            self._take_peak_rss()
            reset_peak_rss()
        self._watched = name
        start = time.perf_counter()
        yield phase
        if on_gpu:
            torch.cuda.synchronize(self.device)
        phase.seconds += time.perf_counter() - start
        phase.images += images
        if not repeats:
            self._watched = name
            self._take_peak_rss()
        if on_gpu:
            phase.raise_peak("peak_allocated_bytes", torch.cuda.max_memory_allocated(self.device))
            phase.raise_peak("peak_reserved_bytes", torch.cuda.max_memory_reserved(self.device))

    def probe(self, name: str, work: Callable[[], object], resident: Iterable[Tensor], on_gpu: bool = False) -> None:
        """On a CPU, run `work` an additional time, outside the timed parts, to measure the exact peak of a phase.

        A GPU's allocator is watched during the phase itself.

        Args:
            name: one of PHASES.
            work: a part of the phase.
            resident: tensors that are alive from the start.
            on_gpu: measure there too, since the phase itself may do less work.
        """
        if self.device.type == "cpu":
            self.phases[name].raise_peak("peak_tensor_bytes", peak_tensor_bytes(work, resident))
        elif on_gpu:
            self.phases[name].raise_peak("peak_allocated_bytes", peak_bytes(work, resident, self.device))
            self.phases[name].raise_peak("peak_reserved_bytes", torch.cuda.max_memory_reserved(self.device))


def reset_peak_rss() -> None:
    """Reset the peak resident set size, if the system supports it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_rss() -> int:
    """Peak resident set size of this process since the last reset, in bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
