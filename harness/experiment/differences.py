"""What sets a run apart from its recipe, in a few words: names of runs and lists of them show it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from harness.errors import UserError
from harness.experiment.axes import text_of
from harness.experiment.recipe_origin import MOST_KEPT, settings_of_recipe, whole_settings
from harness.experiment.recipes import OFFICIAL
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec

TASK = frozenset(("data.dataset", "data.shots", "data.classes"))
"""Settings that say what is to be learned: the name and the protocol of a run have them."""
NO_MATTER = {"seed", "wandb", "tracking", "runtime"}
"""Fields of a spec that no recipe gives."""
LONGEST_VALUE = 40
DIGITS = 4


def differences(spec: RunSpec) -> Settings:
    """The settings of a run that are not what its recipe or a default gives: dotted key -> value.

    Its recipe is among them where it is not the usual one of its backbone. A run of a method or with a recipe that is
    not there any more has none.
    """
    return dict(_differences(spec.model_dump_json(exclude=NO_MATTER)))


@lru_cache(MOST_KEPT)
def _differences(settings: str) -> Settings:
    """As `differences`, from the JSON of a spec without `NO_MATTER`: of a thousand runs most differ in that alone."""
    spec = RunSpec.model_validate_json(settings)
    try:
        expected = whole_settings(spec.method, settings_of_recipe(spec))
        own = whole_settings(spec.method, spec.settings())
    except UserError:
        return {}
    found: dict[str, Any] = {} if spec.recipe in (OFFICIAL, spec.backbone) else {"recipe": spec.recipe}
    found |= {key: value for key, value in own.items() if key not in TASK and value != expected.get(key)}
    return found


def in_short(method: str, settings: Mapping[str, Any]) -> list[str]:
    """Settings as KEY=VALUE, those of the method without its name, numbers and long values cut."""
    return [f"{key.removeprefix(f'{method}.')}={short(value)}" for key, value in settings.items()]


def short(value: Any) -> str:
    """A value in at most LONGEST_VALUE characters, and a number in a few digits."""
    text = f"{value:.{DIGITS}g}" if isinstance(value, float) else text_of(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
