"""Properties of what follows from the shots without training, and of what is chosen on validation images."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from harness.errors import UserError
from harness.machine.torch_internals import storage_id
from harness.reference.contract.candidate import Candidate
from harness.reference.contract.same import first_difference
from harness.reference.contract.verdicts import Broken, NothingToCheck
from harness.reference.contract.ways import Way, all_tensors
from harness.training.fitting import fit_method
from harness.training.state import trained_parameters, trained_state
from methods.base import Candidate as Chosen
from methods.base import Method, Shots

MOST_CANDIDATES = 50_000
"""A search that tries more does not end in time, if at all."""
USED = 20
"""Candidates that are tried for real; a method may compute a closed form for each."""
HIGHER = "ever higher scores"
SCORES: dict[str, Callable[[int], float]] = {
    "the same score for all": lambda position: 50.0,
    "zero for all": lambda position: 0.0,
    HIGHER: lambda position: 100.0 * (1 - 1 / (position + 1)),
    "ever lower scores": lambda position: 100.0 / (position + 1),
    "random scores": lambda position: float(torch.rand((), generator=torch.Generator().manual_seed(position)) * 100),
}


def is_fitted_to_the_shots(candidate: Candidate) -> str:
    """`fit` computes from the shots alone, the same when repeated, and changes neither them, CLIP nor the classes."""
    if not candidate.cls.is_fitted():
        raise NothingToCheck("the class has no fit()")
    method, shots = candidate.build_unfitted(), candidate.shots()
    before, texts = all_tensors(method), method.prompts.texts
    fit_method(method, shots, "fp32", seed=1)
    after = all_tensors(method)
    changed = [name for name in before if name.startswith("clip.") and not torch.equal(before[name], after[name])]
    if changed:
        raise Broken(f"fit() changes '{changed[0]}', a weight of CLIP: work on a copy")
    if method.prompts.texts != texts:
        raise Broken("fit() leaves other classes set than those of the training: set them back")
    refuse_use_of_shots(method, shots, candidate.shots())
    # Memory is measured in a fit of its own, before the one that counts.
    again = candidate.build()
    fit_method(again, candidate.shots(), "fp32", seed=1)
    name = first_difference(dict(trained_state(method)), dict(trained_state(again)))
    if name or not torch.equal(candidate.logits(method, candidate.texts), candidate.logits(again, candidate.texts)):
        raise Broken(
            f"{f'{name!r} differs' if name else 'the logits differ'} in a second fit to the same shots: draw with "
            "torch, which the harness seeds, and let fit() depend on nothing but the shots and the options"
        )
    if not candidate.cls.trains:
        refuse_what_ignores_shots(candidate)
    made = {name: value for name, value in trained_state(method).items() if name not in before}
    return f"{sum(value.numel() for value in made.values()):,} numbers from {len(shots.labels)} shots"


def refuse_use_of_shots(method: Method, shots: Shots, original: Shots) -> None:
    """Raise Broken if the shots were written into, or could be by the training: other methods have the same tensor."""
    if not (torch.equal(shots.x, original.x) and torch.equal(shots.labels, original.labels)):
        raise Broken("fit() writes into its shots, which other methods share: work on a copy")
    for name, parameter in trained_parameters(method).items():
        if storage_id(parameter) in (storage_id(shots.x), storage_id(shots.labels)):
            raise Broken(f"'{name}' trains in the memory of the shots, which other methods share: add .clone()")


def refuse_what_ignores_shots(candidate: Candidate) -> None:
    """Raise Broken if neither other images nor other labels change the logits of a method that trains nothing.

    Single candidates of a search may do without the shots, such as a weight of 0 where a grid begins.
    """
    shots = candidate.shots()
    others = {
        "other images": replace(shots, x=candidate.shots(Way(seed=2)).x),
        "other labels": other_labels(shots, len(candidate.texts)),
    }
    for what, other in others.items():
        pairs = zip(logits_by_candidate(candidate, shots), logits_by_candidate(candidate, other), strict=False)
        if all(torch.equal(*pair) for pair in pairs):
            raise Broken(
                f"{what} of the shots give the same logits, and nothing trains: if fit() is of no consequence, leave "
                "it out, so that one seed is enough"
            )


def logits_by_candidate(candidate: Candidate, shots: Shots) -> Iterator[Tensor]:
    """Logits of a method that is fitted to some shots, with the first candidates of its search if it has one."""
    method = candidate.build(shots=shots)
    search = method.search()
    chosen = next(search, None)
    if chosen is None:
        yield candidate.logits(method, candidate.texts)
        return
    for position in range(USED):
        with torch.no_grad():
            method.use(chosen)
        yield candidate.logits(method, candidate.texts)
        try:
            chosen = search.send(SCORES[HIGHER](position))
        except StopIteration:
            return


def other_labels(shots: Shots, classes: int) -> Shots:
    """The same images, each with the label of the next class."""
    return replace(shots, labels=(shots.labels + 1) % classes)


def chooses_on_validation_images(candidate: Candidate) -> str:
    """`search` ends whatever the scores, tries finite numbers and returns one of its candidates, which `use` takes."""
    if not candidate.cls.selects():
        raise NothingToCheck("the class has no search()")
    numbers = []
    for what, score in SCORES.items():
        method = candidate.train().method if candidate.cls.trains else candidate.build()
        tried, chosen = search_through(method, what, score)
        if chosen and chosen not in tried:
            raise Broken(f"search() returns {chosen}, which it did not try (with {what}): return a candidate, or {{}}")
        numbers.append(len(tried))
    first, *others = list(islice(distinct(tried), USED))
    method = candidate.train().method if candidate.cls.trains else candidate.build()
    logits = logits_with(candidate, method, first)
    for other in others[-1:]:
        logits_with(candidate, method, other)
        if not torch.equal(logits_with(candidate, method, first), logits):
            raise Broken(
                f"use({first}) gives other logits once {other} was used: let a candidate decide everything, and "
                "nothing that was used before it"
            )
    fewest, most = min(numbers), max(numbers)
    span = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return f"{span} candidates of {', '.join(first)}"


def search_through(method: Method, what: str, score: Callable[[int], float]) -> tuple[list[Chosen], Chosen]:
    """The candidates of a search, and which it returns.

    Args:
        method: fitted and trained.
        what: the scores in words.
        score: position of a candidate -> its accuracy.

    Raises:
        Broken: a candidate is no finite number, or there are too many.
    """
    search, tried = method.search(), list[Chosen]()
    with torch.no_grad():
        try:
            candidate = next(search)
            while True:
                check_candidate(candidate)
                if len(tried) < USED:
                    method.use(candidate)
                tried.append(candidate)
                if len(tried) > MOST_CANDIDATES:
                    raise Broken(f"search() tries more than {MOST_CANDIDATES:,} candidates (with {what}): let it end")
                candidate = search.send(score(len(tried) - 1))
        except StopIteration as end:
            chosen = end.value
        if not isinstance(chosen, dict):
            raise Broken(f"search() returns {chosen!r}: return the chosen candidate, or {{}}")
        if not tried:
            raise Broken("search() tries nothing: yield candidates, or leave it out")
        method.use(chosen)
    return tried, chosen


def check_candidate(candidate: Chosen) -> None:
    """Raise Broken unless a candidate is some finite numbers by name."""
    if not isinstance(candidate, dict) or not candidate:
        raise Broken(f"search() tries {candidate!r}: yield numbers by name, such as {{'alpha': 1.0}}")
    for name, value in candidate.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Broken(f"search() tries {name}={value!r}: yield finite numbers, such as {{'alpha': 1.0}}")


def distinct(candidates: list[Chosen]) -> Iterator[Chosen]:
    """Each candidate once."""
    seen: set[tuple[tuple[str, float], ...]] = set()
    for candidate in candidates:
        key = tuple(candidate.items())
        if key not in seen:
            seen.add(key)
            yield candidate


def use_a_candidate(method: Method) -> None:
    """Let a method use another candidate of its search than the first, where there is another."""
    tried, _ = search_through(method, HIGHER, SCORES[HIGHER])
    with torch.no_grad():
        method.use(list(islice(distinct(tried), 2))[-1])


def logits_with(candidate: Candidate, method: Method, chosen: Chosen) -> Tensor:
    """Logits of the test images once a candidate of the search is used."""
    with torch.no_grad():
        method.use(chosen)
    logits = candidate.logits(method, candidate.texts)
    if not logits.isfinite().all():
        raise UserError(f"the logits are not finite with {chosen}")
    return logits
