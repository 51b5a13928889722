"""Tracks: which results may be compared, by what was chosen for them and on which pictures.

A track is computed from what a run did, its settings, its recipe file and its method's card. Nothing is claimed: what
cannot be shown to belong to a cleaner track is `as_published`, and is never ranked with others. docs/tracks.md has the
rules in full. On few-shot adaptation without a validation set: Silva-Rodríguez et al., CVPR 2024 (arXiv:2312.12730).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from harness.data.sample_file import VALIDATION_SHOTS
from harness.errors import UserError
from harness.experiment.cards import KNOWLEDGE, card_of
from harness.experiment.protocols import validation_protocols
from harness.experiment.recipe_origin import changes_of_sections, chosen_of, given_by_hand
from harness.experiment.recipes import AS_PUBLISHED, recipe_variants
from harness.experiment.spec import RunSpec
from harness.experiment.tuned import TunedSpec
from harness.report.marks import choices_of
from harness.results.record import Result
from harness.text import counted

SHOWN_SETTINGS = 4
CHOSE = "chose "
"""How the reasons begin that are choices of the run itself."""
TRANSDUCTIVE = ("unlabelled_images", "new_class_images")
STRONGER = ("teacher_model", *TRANSDUCTIVE)
"""Extra knowledge that puts a method beside the others of its track. Texts are words about class names, as prompts."""


class Track(Enum):
    """What was chosen for a result, and on which pictures; the cleanest first."""

    TRAINING_FREE = "training-free"
    VALIDATION_FREE = "validation-free"
    FEW_SHOT_VALIDATION = "few-shot validation"
    EQUAL_BUDGET = "equal budget"
    AS_PUBLISHED = "as published"

    @property
    def title(self) -> str:
        """For readers."""
        return self.value

    @property
    def about(self) -> str:
        """What belongs to it, in one sentence without a full stop."""
        return {
            Track.TRAINING_FREE: "no gradient step, and nothing is chosen on pictures",
            Track.VALIDATION_FREE: "nothing is chosen on validation or test pictures, and one setting serves all data "
            "sets and protocols",
            Track.FEW_SHOT_VALIDATION: f"chosen on at most min(shots, {VALIDATION_SHOTS}) validation pictures a class",
            Track.EQUAL_BUDGET: "settings are chosen on validation pictures, with the same budget for every method",
            Track.AS_PUBLISHED: "chosen on more than that, or nobody knows on what: not ranked",
        }[self]

    @property
    def is_ranked(self) -> bool:
        """Whether its results are ranked among each other."""
        return self is not Track.AS_PUBLISHED


@dataclass(frozen=True)
class Placement:
    """The track of a result, and why.

    Attributes:
        track: which.
        reasons: why it is not in a cleaner one, in words.
        budget: of the sweep, such as 6 trials; empty outside the equal budget.
        knowledge: what the method knows beside the shots that makes it stronger, in words.
    """

    track: Track
    reasons: tuple[str, ...] = ()
    budget: str = ""
    knowledge: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The heading under which results are ranked: those of another budget or of more knowledge stand apart."""
        return ", ".join(filter(None, [self.track.title, self.budget, *(f"with {words}" for words in self.knowledge)]))


def track_of(result: Result) -> Track:
    """The track of a result."""
    return placement_of(result).track


def placement_of(result: Result) -> Placement:
    """The track of a result, and why it is not in a cleaner one."""
    try:
        knowledge = stronger_knowledge(result.spec.method)
        found = _placed(result)
    except UserError as error:
        # A method or a recipe that is not here cannot show what was chosen.
        return Placement(Track.AS_PUBLISHED, (f"what it was made with cannot be read here: {error}",))
    return replace(found, knowledge=knowledge)


def stronger_knowledge(method: str) -> tuple[str, ...]:
    """What a method's card says it learns from, beside the shots and texts, in words; empty without a card.

    Raises:
        UserError: the card is not valid.
    """
    card = card_of(method)
    found = [name for name in STRONGER if card and name in card.extra_knowledge]
    return tuple(f"{KNOWLEDGE[name]} (transductive)" if name in TRANSDUCTIVE else KNOWLEDGE[name] for name in found)


def _placed(result: Result) -> Placement:
    spec = result.spec
    problems = [*_choices_beyond(result), *_recipe_problems(spec)]
    if problems:
        return Placement(Track.AS_PUBLISHED, tuple(problems))
    if spec.tuned:
        how = f"settings of study {spec.tuned.study}: {counted(spec.tuned.trials, 'trial')} on {spec.tuned.data}"
        if spec.tuned.budget:
            return Placement(Track.EQUAL_BUDGET, (how,), spec.tuned.budget)
        return Placement(Track.FEW_SHOT_VALIDATION, (how,))
    chosen = chosen_of(spec.method, spec.recipe)
    if chosen:
        how = f"recipe {spec.recipe} was chosen under {chosen.protocol} ({chosen.where})"
        if chosen.trials:
            return Placement(Track.EQUAL_BUDGET, (how,), counted(chosen.trials, "trial"))
        return Placement(Track.FEW_SHOT_VALIDATION, (how,))
    if choices := choices_of(result):
        return Placement(
            Track.FEW_SHOT_VALIDATION, tuple(f"{CHOSE}{', '.join(item.names)} on {item.images}" for item in choices)
        )
    changes = [words for _, words in changes_of_sections(spec.method, spec.recipe, spec.protocol)]
    if changes:
        return Placement(Track.AS_PUBLISHED, (f"no one setting for all protocols: {'; '.join(changes)}",))
    return Placement(Track.TRAINING_FREE if spec.train.epochs == 0 else Track.VALIDATION_FREE)


def _choices_beyond(result: Result) -> list[str]:
    """What a run chose on more than a few validation pictures; also what its settings ask for."""
    spec, few = result.spec, min(result.spec.data.shots, VALIDATION_SHOTS)
    found = []
    for choice in choices_of(result):
        if choice.on_test or choice.shots is None or choice.shots > few:
            found.append(f"{CHOSE}{', '.join(choice.names)} on {choice.images}")
    for key in ("pictures", "epoch_pictures"):
        # A result can leave out what it chose; its settings are hashed into its id.
        if getattr(spec.select, key) == "test" and not any("test images" in words for words in found):
            found.append(f"select.{key}=test")
    if spec.select.epoch != "last" and spec.train.epochs and result.selection is None:
        found.append(f"select.epoch={spec.select.epoch}, and the result does not say on which pictures")
    return found


def _recipe_problems(spec: RunSpec) -> list[str]:
    """Why nobody can know from the recipe of a run on what its settings were chosen."""
    if spec.recipe == AS_PUBLISHED:
        return [f"recipe {AS_PUBLISHED}"]
    if spec.tuned:
        return _tuned_problems(spec, spec.tuned)
    if spec.recipe.endswith((".yaml", ".yml")):
        return ["a recipe file from outside that names no sweep"]
    problems = [
        f"settings of single data sets: {words}"
        for kind, words in changes_of_sections(spec.method, spec.recipe, spec.protocol)
        if kind == "data set"
    ]
    if hand := given_by_hand(spec):
        more = f" and {len(hand) - SHOWN_SETTINGS} more" if len(hand) > SHOWN_SETTINGS else ""
        problems.append(f"settings given by hand: {', '.join(hand[:SHOWN_SETTINGS])}{more}")
    chosen = chosen_of(spec.method, spec.recipe)
    if chosen is None and spec.recipe == spec.backbone and spec.recipe in recipe_variants(spec.method):
        problems.append(f"recipe {spec.recipe} does not say what it was chosen on")
    if chosen:
        problems += _trial_problems(spec, chosen.protocol, None if chosen.trials else chosen.shots)
    return problems


def _tuned_problems(spec: RunSpec, tuned: TunedSpec) -> list[str]:
    """Why the sweep that a run names does not show how its settings were chosen."""
    if tuned.protocol is None or tuned.recipe is None or tuned.shots is None or tuned.dataset is None:
        return [f"study {tuned.study} does not say how its trials were judged (an earlier version)"]
    problems = _trial_problems(spec, tuned.protocol, None if tuned.budget else tuned.shots)
    if tuned.recipe == AS_PUBLISHED or tuned.recipe.endswith((".yaml", ".yml")):
        problems.append(f"study {tuned.study} began with recipe {tuned.recipe}")
    elif hand := given_by_hand(spec):
        problems.append(f"settings that study {tuned.study} did not choose: {', '.join(hand[:SHOWN_SETTINGS])}")
    if tuned.budget and chosen_of(spec.method, tuned.recipe):
        problems.append(f"study {tuned.study} began with recipe {tuned.recipe}, which was chosen before")
    if tuned.budget and spec.method not in tuned.methods:
        problems.append(f"{spec.method} is none of the methods that had {tuned.budget}")
    had = counted(tuned.trials, "trial")
    if tuned.budget and not tuned.budget.endswith(" s") and tuned.budget != had:
        problems.append(f"study {tuned.study} had {had}, not {tuned.budget}")
    return problems


def _trial_problems(spec: RunSpec, protocol: str, shots: int | None) -> list[str]:
    """What is wrong with the pictures that settings were chosen on outside of a run.

    Args:
        spec: of the run.
        protocol: of the trials.
        shots: training pictures a class of the trials, whose validation pictures are as many, at most 4; None: they
            need not be as few as those of the run.
    """
    if protocol not in validation_protocols():
        return [f"settings were chosen under {protocol}, which is no protocol for choosing"]
    looked_at = min(shots or 1, VALIDATION_SHOTS)
    if looked_at > spec.data.shots:
        own = counted(spec.data.shots, "shot")
        return [f"settings were chosen on {looked_at} validation pictures a class, the run has {own}"]
    return []


def placements(results: Iterable[Result]) -> dict[str, Placement]:
    """Id -> placement of some results."""
    return {result.id: placement_of(result) for result in results}
