"""Check our methods against vectors that the official implementations produced.

Every method's vectors are replayed with our code: what is computed from the shots, logits before training, the training
steps (logits, losses, gradients, weights), what is chosen on validation images, logits on base and new classes.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from harness.errors import UserError, first_line
from harness.reference.parity.comparison import Comparison, Found, worst_by_quantity
from harness.reference.parity.naming import find_method, official_of
from harness.reference.parity.search import check_search, has_search
from harness.reference.parity.stages import check_initial_state, check_inputs, check_new_state, check_stages
from harness.reference.parity.subject import Subject
from harness.reference.parity.training import Training
from harness.reference.parity.vectors import Vectors
from harness.training.inference import set_classes
from methods.base import Method


def replay(cls: type[Method], vectors: Vectors) -> Iterator[Comparison]:
    """Replay vectors with a method and yield a comparison for every quantity.

    Raises:
        UserError: the vectors are incomplete or do not fit the method; names their file.
    """
    try:
        for quantity, (error, tolerance) in _compare_all(cls, vectors):
            yield Comparison(vectors.name, quantity, error, tolerance)
    except UserError as error:
        named = str(error).startswith(str(vectors.file))
        raise UserError(str(error) if named else f"{vectors.file}: {error}") from error
    except Exception as error:  # whatever values of the wrong kind do inside a method
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else first_line(error)
        raise UserError(
            f"{vectors.file} cannot be replayed with {cls.__name__}: {type(error).__name__} {problem}"
        ) from error


def _compare_all(cls: type[Method], vectors: Vectors) -> Iterator[Found]:
    """Compare all quantities that the vectors hold."""
    subject = Subject(cls, vectors)
    yield from check_inputs(subject)
    yield from check_stages(subject)
    yield from check_initial_state(subject)
    yield from _check_logits(subject, "eval_logits_base_init")
    if vectors.about.trainable:
        yield from Training(subject).run()
    chosen = (yield from check_search(subject)) if has_search(subject) else 0.0
    yield from _check_logits(subject, "eval_logits_base", chosen)
    if subject.has("eval_logits_new"):
        set_classes(subject.method, subject.prompts_new, subject.precision)
        yield from check_new_state(subject)
        yield from _check_logits(subject, "eval_logits_new")


def _check_logits(subject: Subject, name: str, chosen: float = 0.0) -> Iterator[Found]:
    """Logits of the evaluation images over the classes that are set.

    Args:
        subject: ours.
        name: of the official ones.
        chosen: the largest number that a search chose before.
    """
    if subject.has(name):
        yield subject.compare(name, subject.logits(), largest=chosen)
    for other, function in official_of(subject.cls).of_images.items():
        stored = other + "_init" if name.endswith("_init") else other
        if subject.has(stored) and ("_new" in other) == ("_new" in name):
            yield subject.compare(stored, subject.of_images(function, subject.tested))


def check_folder(folder: Path) -> tuple[list[Comparison], list[str]]:
    """Check all vectors of a folder.

    Returns:
        The worst comparison of each method and quantity, and the names of vector files whose method we do not have.

    Raises:
        UserError: the folder holds no vectors of a method that we have, or damaged ones.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder of reference vectors: give one such as tests/golden")
    comparisons: list[Comparison] = []
    unknown: list[str] = []
    for description in sorted(folder.glob("*.json")):
        vectors = Vectors(description)
        cls = find_method(vectors)
        if cls is None:
            unknown.append(vectors.name)
        else:
            comparisons += replay(cls, vectors)
    if not comparisons:
        raise UserError(f"'{folder}' holds no vectors of our methods ({len(unknown)} of others)")
    return worst_by_quantity(comparisons), unknown
