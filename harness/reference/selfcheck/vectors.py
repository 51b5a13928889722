"""All reference vectors of the official implementations, replayed on the device in fp32."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import harness
from harness.experiment.registry import method_class
from harness.reference.parity.comparison import Comparison, worst_by_quantity
from harness.reference.parity.naming import find_method
from harness.reference.parity.replay import replay
from harness.reference.parity.vectors import Vectors
from harness.reference.selfcheck.findings import Asked, Finding, Say, finite
from harness.reference.selfcheck.specs import methods_of
from harness.training.precision import use_tf32
from methods.base import Method

SECTION = "vectors"
GOLDEN = Path(harness.__file__).parents[1] / "tests" / "golden"
"""They come with the repository, not with an installed package."""


def check(asked: Asked, say: Say) -> list[Finding]:
    """Of each file of vectors every quantity that is over its tolerance, otherwise the one that is nearest to it."""
    descriptions = files_of(asked, methods_of(asked))
    if not descriptions:
        return [Finding(SECTION, "all methods", "reference vectors", "not here: they come with the repository")]
    use_tf32("fp32", asked.device)
    found: list[Finding] = []
    for description, cls in descriptions:
        say(description.stem)
        found += asked.items.look(SECTION, description.stem, partial(_replay, description, cls, asked))
    return found


def files_of(asked: Asked, methods: Iterable[str]) -> list[tuple[Path, type[Method]]]:
    """The files of vectors of some methods, with the class of each; in a quick look one file of each method."""
    wanted = {method_class(name) for name in methods}
    found = []
    for description in sorted(GOLDEN.glob("*.json")):
        cls = find_method(Vectors(description))
        if cls is not None and cls in wanted:
            found.append((description, cls))
            if asked.quick:
                wanted.remove(cls)
    return found


def _replay(description: Path, cls: type[Method], asked: Asked) -> list[Finding]:
    """Replay a file of vectors."""
    return _summarise(worst_by_quantity(list(replay(cls, Vectors(description, asked.device)))))


def _summarise(comparisons: list[Comparison]) -> list[Finding]:
    """What is over its tolerance, or else the quantity that is nearest to it."""
    over = [item for item in comparisons if not item.passed]
    shown = over or [max(comparisons, key=lambda item: item.severity)]
    return [
        Finding(SECTION, item.method, item.quantity, finite(item.error), "", finite(item.tolerance), item.passed)
        for item in shown
    ]
