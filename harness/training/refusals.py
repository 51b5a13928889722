"""What cannot be computed as it is asked for: evaluations that a method refuses, a teacher that would train."""

from collections.abc import Callable, Iterable, Sequence

from harness.clip.texts import Text
from harness.errors import UserError
from harness.experiment.spec import EvalSpec
from harness.results.record import Refusal
from methods.base import Method, OtherClassesError


def find_refusals(
    method: Method, evaluations: Iterable[EvalSpec], texts_of: Callable[[EvalSpec], Sequence[Text]]
) -> tuple[Refusal, ...]:
    """The evaluations whose classes a method refuses; they are known before anything trains.

    Args:
        method: built for the training classes.
        evaluations: of the spec.
        texts_of: prompts of the classes of an evaluation.

    Raises:
        OtherClassesError: it refuses all of them, so that the run would measure nothing.
    """
    found, serves_any = [], False
    for item in evaluations:
        try:
            method.check_classes(tuple(texts_of(item)))
            serves_any = True
        except OtherClassesError as error:
            found.append(Refusal(evaluation=item.name, reason=str(error)))
    if found and not serves_any:
        raise OtherClassesError(found[0].reason)
    return tuple(found)


def served(evaluations: Iterable[EvalSpec], refusals: Iterable[Refusal]) -> list[EvalSpec]:
    """The evaluations that a method takes part in."""
    refused = {item.evaluation for item in refusals}
    return [item for item in evaluations if item.name not in refused]


def refuse_trained_teacher(method: Method) -> None:
    """Raise a UserError if weights train that the untouched CLIP, as the method's teacher, is computed with.

    What it embeds would change from epoch to epoch, and other runs share it.
    """
    towers = {"text": method.teacher, "image": method.frozen_view}
    for name, parameter in method.clip.named_parameters():
        if parameter.requires_grad and towers.get(name.partition(".")[0]):
            raise UserError(
                f"{type(method).__name__} trains '{name}', with which its teacher, the untouched CLIP, is computed: "
                "let it train parameters of its own, or a copy made in build()"
            )
