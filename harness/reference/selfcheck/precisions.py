"""Reference vectors in every precision below fp32 that the device has."""

from functools import partial
from pathlib import Path

from harness.reference.parity.comparison import worst_by_quantity
from harness.reference.parity.precisions import precisions_of, replay_rounded
from harness.reference.parity.vectors import Vectors
from harness.reference.selfcheck import vectors
from harness.reference.selfcheck.findings import Asked, Finding, Say, finite
from harness.reference.selfcheck.specs import methods_of
from harness.training.precision import use_tf32
from methods.base import Method

SECTION = "precisions"


def check(asked: Asked, say: Say) -> list[Finding]:
    """What is over the limit of its precision, and of each precision and quantity the file that is nearest to it."""
    descriptions = vectors.files_of(asked, methods_of(asked))
    if not descriptions:
        return [Finding(SECTION, "all methods", "reference vectors", "not here: they come with the repository")]
    found: list[Finding] = []
    try:
        for precision in precisions_of(asked.device):
            use_tf32(precision, asked.device)
            for description, cls in descriptions:
                subject = f"{description.stem}, {precision}"
                say(subject)
                found += asked.items.look(SECTION, subject, partial(_replay, subject, description, cls, asked))
    finally:
        use_tf32("fp32", asked.device)
    return summarise(found)


def _replay(subject: str, description: Path, cls: type[Method], asked: Asked) -> list[Finding]:
    """Replay a file of vectors in the precision that its subject names."""
    compared = replay_rounded(cls, Vectors(description, asked.device), subject.rpartition(", ")[2])
    return [
        Finding(SECTION, subject, item.quantity, finite(item.error), "", item.tolerance, item.passed)
        for item in worst_by_quantity(list(compared))
    ]


def summarise(found: list[Finding]) -> list[Finding]:
    """What is wrong, and of each precision and quantity the largest distance."""
    largest: dict[tuple[str, str], Finding] = {}
    for item in found:
        key = item.subject.rpartition(", ")[2], item.quantity
        if item.ok and (key not in largest or float(item.value) > float(largest[key].value)):
            largest[key] = item
    return [item for item in found if not item.ok] + list(largest.values())
