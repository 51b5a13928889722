"""The properties, in the order in which an author wants to know them; a new one is a function and a line here."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.reference.contract.behaviour import (
    builds_on_a_clip,
    changes_only_what_trains,
    gives_logits,
    keeps_its_teacher_frozen,
    reports_facts_as_numbers,
    takes_one_class_and_one_image,
    takes_other_classes,
    trains,
    works_in_every_precision,
)
from harness.reference.contract.candidate import Candidate
from harness.reference.contract.equalities import (
    equals_the_official_implementation,
    is_estimated_as_measured,
    loads_from_its_checkpoint,
    repeats_bit_for_bit,
    resumes_bit_for_bit,
    trains_the_same_with_and_without_cache,
    trains_the_same_with_and_without_speedups,
)
from harness.reference.contract.fitting import chooses_on_validation_images, is_fitted_to_the_shots
from harness.reference.contract.source import (
    can_be_imported,
    describes_its_options,
    has_a_usable_name,
    imports_only_what_a_method_may,
    is_one_documented_class,
    is_short,
    reaches_for_nothing_outside,
)
from harness.reference.contract.verdicts import NothingToCheck, Remark, explain
from harness.training.process import make_repeatable

OK, FAILED, SKIPPED, REMARK = "ok", "FAILED", "skipped", "remark"
Check = Callable[[Candidate], str]
"""Returns what was found, in a few words; raises one of `verdicts` or whatever the method raises."""


@dataclass(frozen=True)
class Property:
    """Something that the harness relies on.

    Attributes:
        title: what the method does if the property holds.
        check: finds out.
        needs: checks without whose success this one could not tell anything.
    """

    title: str
    check: Check
    needs: tuple[Check, ...] = ()


COMPARABLE = (changes_only_what_trains, repeats_bit_for_bit, keeps_its_teacher_frozen)
PROPERTIES = (
    Property("has a usable name", has_a_usable_name),
    Property("can be imported", can_be_imported),
    Property("imports only what a method may", imports_only_what_a_method_may, (can_be_imported,)),
    Property("opens no files, logs or devices", reaches_for_nothing_outside, (can_be_imported,)),
    Property("is short", is_short, (can_be_imported,)),
    Property("is one documented class", is_one_documented_class, (can_be_imported,)),
    Property("describes its options", describes_its_options, (is_one_documented_class,)),
    Property("builds on a CLIP", builds_on_a_clip, (is_one_documented_class,)),
    Property("is fitted to the shots", is_fitted_to_the_shots, (builds_on_a_clip,)),
    Property("gives logits", gives_logits, (builds_on_a_clip,)),
    Property("takes other classes", takes_other_classes, (gives_logits,)),
    Property("trains", trains, (builds_on_a_clip,)),
    Property("changes only what trains", changes_only_what_trains, (trains,)),
    Property("keeps its teacher frozen", keeps_its_teacher_frozen, (trains,)),
    Property("takes one class, one image", takes_one_class_and_one_image, (gives_logits, trains)),
    Property("reports facts as numbers", reports_facts_as_numbers, (trains,)),
    Property("same seed, same bytes", repeats_bit_for_bit, (trains,)),
    Property("chooses on validation images", chooses_on_validation_images, (gives_logits, trains)),
    Property("cached = not cached", trains_the_same_with_and_without_cache, COMPARABLE),
    Property("resumes bit for bit", resumes_bit_for_bit, COMPARABLE),
    Property("speed-ups on = off", trains_the_same_with_and_without_speedups, (*COMPARABLE, takes_other_classes)),
    Property(
        "loads from its checkpoint",
        loads_from_its_checkpoint,
        (changes_only_what_trains, takes_other_classes, chooses_on_validation_images),
    ),
    Property("works in every precision", works_in_every_precision, (gives_logits, trains)),
    Property("estimate = measurement", is_estimated_as_measured, (takes_other_classes, trains)),
    Property("equals the official code", equals_the_official_implementation, (builds_on_a_clip,)),
)


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        title: of the property.
        state: OK, FAILED, SKIPPED, or REMARK for something that should be looked at.
        words: what was found, or why not.
        seconds: that it took.
    """

    title: str
    state: str
    words: str
    seconds: float = 0.0


def check_contract(candidate: Candidate, starts: Callable[[str], None] = lambda title: None) -> Iterator[Outcome]:
    """Check all properties, one after the other.

    Args:
        candidate: the method.
        starts: called with the title of every property before it is checked.
    """
    make_repeatable(seed=0)
    obstacles: dict[Check, str] = {}
    for item in PROPERTIES:
        starts(item.title)
        begin = time.perf_counter()
        needed = next((obstacles[check] for check in item.needs if check in obstacles), None)
        if needed:
            state, words = SKIPPED, f"depends on '{needed}', which failed"
        else:
            state, words = find_out(item.check, candidate)
        if needed or state == FAILED:
            obstacles[item.check] = needed or item.title
        yield Outcome(item.title, state, words, time.perf_counter() - begin)


def find_out(check: Check, candidate: Candidate) -> tuple[str, str]:
    """State and words of a check."""
    try:
        return OK, check(candidate)
    except NothingToCheck as reason:
        return SKIPPED, str(reason)
    except Remark as remark:
        return REMARK, str(remark)
    except Exception as error:  # whatever a method of the user's does
        return FAILED, explain(error, candidate.files[0])
