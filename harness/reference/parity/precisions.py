"""What a method computes in lower precisions, beside what the official implementation computes in float32."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from harness.reference.parity.comparison import Comparison, Found
from harness.reference.parity.search import has_search
from harness.reference.parity.stages import check_initial_state
from harness.reference.parity.steps import loss_name
from harness.reference.parity.subject import Subject
from harness.reference.parity.tolerances import LOGITS
from harness.reference.parity.training import Training
from harness.reference.parity.vectors import Vectors
from harness.training.precision import TF32_CAPABILITY, gradient_scaler
from methods.base import Method

LOGITS_NAME, LOSS_NAME, GRADIENT_NAME = "logits", "loss", "gradient"
# Small enough not to overflow in a first step, which would be skipped.
SCALE = 1024.0


class Limits(NamedTuple):
    """How far a quantity may be from the official one, by norm, relative to its norm."""

    logits: float
    loss: float
    gradient: float


# About twice the largest distances that were found on a CPU. A gradient may be far off where a rounded number is on the
# other side of an activation function's edge, as in `mma_late`.
ELEVEN_BITS = Limits(logits=0.012, loss=0.006, gradient=0.12)
LIMITS = {
    "tf32": ELEVEN_BITS,
    "bf16": Limits(logits=0.1, loss=0.015, gradient=0.16),
    "fp16": ELEVEN_BITS,
    "half": ELEVEN_BITS,
}


def precisions_of(device: torch.device) -> list[str]:
    """The precisions below fp32 that a device has."""
    if device.type == "cpu":
        return [name for name in LIMITS if name != "tf32"]
    has = {
        "tf32": torch.cuda.get_device_capability(device) >= TF32_CAPABILITY,
        "bf16": torch.cuda.is_bf16_supported(False),
    }
    return [name for name in LIMITS if has.get(name, True)]


class RoundedSubject(Subject):
    """One of our methods that computes in a lower precision; it is compared by norm, not element by element."""

    def compare(
        self, name: str, ours: Tensor, quantity: str | None = None, row: int | None = None, largest: float = 0.0
    ) -> Found:
        """Our value of a stored tensor beside the official one: relative distance, and how large it may be."""
        theirs = self.stored[name] if row is None else self.stored[name][row]
        limits = LIMITS[self.precision]
        if LOGITS.fullmatch(name):
            return LOGITS_NAME, (distance(ours, theirs), limits.logits)
        if name == loss_name(self):
            return LOSS_NAME, (distance(ours, theirs), limits.loss)
        return quantity or name, (0.0, 0.0)


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference relative to the norm of the official value; infinite if the shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.detach().cpu().double(), theirs.cpu().double()
    return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-30))


def replay_rounded(cls: type[Method], vectors: Vectors, precision: str) -> Iterator[Comparison]:
    """Logits before training, and logits, loss and gradient of the first training step, in a lower precision.

    Args:
        cls: our method.
        vectors: of the official one, on the device that computes.
        precision: of LIMITS.

    Raises:
        UserError: the vectors are incomplete or do not fit the method.
    """
    for quantity, (error, tolerance) in _compare(RoundedSubject(cls, vectors, precision)):
        if quantity in (LOGITS_NAME, LOSS_NAME, GRADIENT_NAME):
            yield Comparison(vectors.name, quantity, error, tolerance)


def _compare(subject: RoundedSubject) -> Iterator[Found]:
    for _ in check_initial_state(subject):
        pass
    # After a search logits depend on what was chosen, which rounding may change.
    untrained = not subject.vectors.about.trainable and not has_search(subject)
    for name in ("eval_logits_base_init", *(["eval_logits_base"] if untrained else [])):
        if subject.has(name):
            yield subject.compare(name, subject.logits())
    if subject.vectors.about.trainable:
        training = Training(subject)
        training.scaler = gradient_scaler(subject.precision, subject.clip.device, SCALE)
        yield from training.take(training.steps[0])
        yield from _compare_gradient(subject, training)


def _compare_gradient(subject: RoundedSubject, training: Training) -> Iterator[Found]:
    """All gradients as one vector; nothing where the vectors hold none."""
    stored = {name: subject.stored[f"grad.{name}"] for name in subject.trained if subject.has(f"grad.{name}")}
    if stored:
        found = [training.gradients.get(id(subject.trained[name]), torch.zeros_like(stored[name])) for name in stored]
        ours = torch.cat([one.flatten().double() for one in found])
        theirs = torch.cat([one.flatten().double() for one in stored.values()])
        yield GRADIENT_NAME, (distance(ours, theirs), LIMITS[subject.precision].gradient)
