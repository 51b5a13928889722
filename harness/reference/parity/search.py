"""What the official code chose on validation images, and the classifiers of its search."""

import math
import re
from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from harness.reference.parity.comparison import Found
from harness.reference.parity.description import incomplete
from harness.reference.parity.stages import FINAL
from harness.reference.parity.subject import Subject
from harness.training.selection import Choice, choose
from methods.base import Candidate

FIXED = re.compile(r"fixed_([A-Za-z]+?)([-+0-9.e]+)\.(\w+)")
"""What a search gives for one candidate: `fixed_C100.coef`."""


def has_search(subject: Subject) -> bool:
    """Whether the vectors hold a search on validation images."""
    return any(name.startswith("search_") for name in subject.stored)


def check_search(subject: Subject) -> Generator[Found, None, float]:
    """Run the method's search with the evaluation images as validation images; it ends with what it chose.

    Returns:
        The largest number of what it chose.

    Raises:
        UserError: the labels of the validation images are missing.
    """
    if not subject.has("eval_labels"):
        raise incomplete(subject.vectors.file, "a search needs eval_labels")
    found: list[Tensor] = []

    with torch.no_grad():
        # As a run scores candidates: what they share is computed once.
        logits_of = subject.method.candidate_logits(subject.tested)

        def score(candidate: Candidate) -> float:
            found.append(logits_of(candidate).float())
            right = found[-1].argmax(dim=1) == subject.stored["eval_labels"]
            return 100 * int(right.sum()) / len(right)

        choice = choose(subject.method, score)
        yield from _check_candidates(subject, choice, found)
        yield from _check_final(subject, choice)
    return max(choice.chosen.values(), default=0.0)


def _check_candidates(subject: Subject, choice: Choice, logits: list[Tensor]) -> Iterator[Found]:
    accuracies = torch.tensor(choice.accuracies, dtype=torch.float64)
    numbers = torch.tensor([list(candidate.values()) for candidate in choice.candidates], dtype=torch.float64)
    for name, ours in (("search_accuracy", accuracies), ("search_val_accuracy", accuracies / 100)):
        if subject.has(name):
            # A table has the outer loop in its rows.
            theirs = subject.stored[name]
            yield subject.compare(name, ours.reshape(theirs.shape) if ours.numel() == theirs.numel() else ours)
    if subject.has("search_C"):
        yield subject.compare("search_C", numbers[:, 0] if numbers.shape[1:] == (1,) else numbers)
    if subject.has("search_best"):
        chosen = torch.tensor(list(choice.chosen.values()), dtype=torch.float64)
        yield subject.compare("search_best", chosen)
    for place, ours in enumerate(logits):
        name = f"search_logits_{place}"
        if subject.has(name):
            largest = float(numbers[place].max()) if numbers.numel() else 0.0
            yield subject.compare(name, ours, "search_logits", largest=largest)


def _check_final(subject: Subject, choice: Choice) -> Iterator[Found]:
    """The classifier that was chosen, and those of numbers that were not searched for."""
    value = {"final.C": next(iter(choice.chosen.values()), math.nan), "final.test_accuracy": subject.accuracy()}
    for name in (name for name in subject.stored if name.startswith(FINAL)):
        ours = torch.tensor(value[name], dtype=torch.float64) if name in value else subject.tensor(name)
        yield subject.compare(name, ours)
    for name in subject.stored:
        fixed = FIXED.fullmatch(name)
        if fixed:
            letter, number, what = fixed.groups()
            subject.method.use({next(iter(choice.chosen), letter): float(number)})
            given = subject.logits() if what == "eval_logits" else subject.tensor(FINAL + what)
            yield subject.compare(name, given, f"fixed_{letter}.{what}")
    subject.method.use(choice.chosen)
