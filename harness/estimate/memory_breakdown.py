"""The composition of peak memory: weights, gradients, optimizer state, activations, cache, inputs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.machine.costs import FIT, SELECT
from harness.machine.meter import UNLABELLED, LiveBytes, Meter
from harness.training.feature_cache import TrainingImages
from harness.training.state import trained_parameters
from harness.training.step import on_gradients
from methods.base import Method

WEIGHTS, GRADIENTS, OPTIMIZER, CACHE, INPUTS = "weights", "gradients", "optimizer state", "cache", "inputs"
KINDS = (WEIGHTS, GRADIENTS, OPTIMIZER, UNLABELLED, CACHE, INPUTS)


@dataclass(frozen=True)
class MemoryPeak:
    """Peak memory of a phase: the most bytes that are alive at once.

    Attributes:
        num_bytes: all of them.
        by_kind: kind (of KINDS) -> bytes of it. Activations are everything that is of no other kind, such as scratch
            memory and gradients that are not yet assigned to their weights.
    """

    num_bytes: int
    by_kind: dict[str, int]


class BreakdownMeter(Meter):
    """A meter of phases on a CPU that knows what is in memory; it works with fake tensors and with real ones.

    Attributes:
        method: its parameters and buffers are the weights; must be set before the first probe.
        images: their features are the cache; None as long as there are none.
        peaks: phase -> highest peak of all its probes.
    """

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.method: Method | None = None
        self.images: TrainingImages | None = None
        self.peaks: dict[str, MemoryPeak] = {}
        self._watch: LiveBytes | None = None

    def label_inputs(self, tensor: Tensor) -> None:
        """Count a tensor as an input: pixels, tokens or labels of a batch."""
        if self._watch:
            self._watch.label([tensor], INPUTS)

    def probe(self, name: str, work: Callable[[], object], resident: Iterable[Tensor], on_gpu: bool = False) -> None:
        method, tensors = self.method, list(resident)
        assert method
        watch = self._watch = LiveBytes(tensors)
        # What else exists when a phase begins are images at the method's stage or, where a training may have taken a
        # step, what that left.
        watch.label(tensors, OPTIMIZER if method.trains and name not in (FIT, SELECT) else INPUTS)
        watch.label([*method.parameters(), *method.buffers()], WEIGHTS)
        watch.label([text for text in (method.frozen_text, method.teacher_text) if text is not None], CACHE)
        # After the cache: if the text tower starts from words, the cached texts are the ids themselves.
        watch.label([method.prompts.ids, method.prompts.eot], INPUTS)
        watch.label(self.images.resident() if self.images else [], CACHE)
        with labelling_training(method, watch), watch:
            work()
        self._watch = None
        if name not in self.peaks or watch.peak > self.peaks[name].num_bytes:
            self.peaks[name] = MemoryPeak(watch.peak, {kind: watch.peak_by_kind.get(kind, 0) for kind in KINDS})

    def peak_of(self, name: str, probes: Callable[[], object]) -> MemoryPeak:
        """The peak of a phase in some probes alone; the peaks so far stay as they are."""
        before, self.peaks = self.peaks, {}
        try:
            probes()
            return self.peaks[name]
        finally:
            self.peaks = before


@contextmanager
def labelling_training(method: Method, watch: LiveBytes) -> Iterator[None]:
    """Inside, gradients are labelled when they are assigned to weights, optimizer state when a step creates it."""

    def on_gradient(parameter: Tensor) -> None:
        assert parameter.grad is not None
        watch.label([parameter.grad], GRADIENTS)

    def on_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        states = [value for values in optimizer.state.values() for value in values.values()]
        watch.label([value for value in states if isinstance(value, Tensor)], OPTIMIZER)

    hook = register_optimizer_step_post_hook(on_step)
    try:
        with on_gradients(trained_parameters(method).values(), on_gradient):
            yield
    finally:
        hook.remove()
