"""Short names for runs of one method that differ in their settings: only what differs, rounded to what tells apart."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.experiment.axes import text_of
from harness.experiment.settings import Settings, flat_settings
from harness.experiment.spec import RunSpec
from harness.experiment.training_spec import MOST_CACHED

Key = TypeVar("Key", bound=Hashable)
# Longer names of columns become numbers, with a key below the table.
LONGEST_LABEL = 24
# Of numbers that no other value forces to have more.
FEWEST_DIGITS, MOST_DIGITS = 3, 17
NUMBERED = " #"
LONGEST_VALUE = 40
# What differs between runs without making them different.
NO_DIFFERENCE = ("recipe", "runtime", "tracking", "wandb")


# A number that earlier versions wrote where a run left it open, by the setting: ids do not tell the two apart either.
OPEN_BEFORE = {"train.cache_batch_size": MOST_CACHED}


def as_left_open(settings: Settings) -> Settings:
    """Flat settings in which what earlier versions wrote for what is open stands as open."""
    return {key: None if key in OPEN_BEFORE and OPEN_BEFORE[key] == value else value for key, value in settings.items()}


@dataclass(frozen=True)
class Variant:
    """What a run is called beside others of its method.

    Attributes:
        label: the method, with its settings or a number where others of the method have other settings.
        settings: the settings that tell it apart, rounded; empty if there are none.
        exact: the same, not rounded.
        place: among the variants of the method, in the order of their settings.
    """

    label: str
    settings: str = ""
    exact: str = ""
    place: int = 0


def shortened(values: Iterable[Any]) -> dict[str, str]:
    """Text of every value -> a text as short as tells it apart from the others: 0.75 for 0.7500000000000001."""
    known = {text_of(value): value for value in values}
    for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1):
        found = {text: rounded(text, value, digits) for text, value in known.items()}
        if len(set(found.values())) == len(found):
            return found
    return {text: text for text in known}


def rounded(text: str, value: Any, digits: int) -> str:
    """A number below 1000 that is not whole in some significant digits, everything else as it is."""
    return f"{value:.{digits}g}" if isinstance(value, float) and abs(value) < 1000 else text


def differing(cells: Iterable[tuple[Hashable, Settings]]) -> set[str]:
    """The settings in which runs of the same cell differ.

    Args:
        cells: of each run what it shares with others, such as data set and shots, and its settings by dotted keys.
    """
    first: dict[Hashable, Settings] = {}
    found: set[str] = set()
    for cell, settings in cells:
        other = first.setdefault(cell, settings)
        if other is not settings:
            found |= {name for name in {*other, *settings} if other.get(name) != settings.get(name)}
    return found


def told_apart(names: Sequence[str], several: Sequence[Settings]) -> list[dict[str, str]]:
    """Of each run its values of some settings as short texts, in the order of the names."""
    short = {name: shortened(settings.get(name) for settings in several) for name in names}
    return [{name: short[name][text_of(settings.get(name))] for name in names} for settings in several]


def in_words(method: str, values: Mapping[str, str], bare: Sequence[str] = ()) -> str:
    """Settings as words, those of the method without its name; of `bare` ones only the value."""
    parts = [value if name in bare else f"{name.removeprefix(f'{method}.')}={value}" for name, value in values.items()]
    return ", ".join(parts)


def label_variants(
    method: str, cells: Sequence[tuple[Hashable, Settings]], bare: Sequence[str] = (), always: Sequence[str] = ()
) -> list[Variant]:
    """Names of runs of one method, all of one table.

    Args:
        method: of the runs.
        cells: as `differing` takes them.
        bare: settings of which names show the value alone.
        always: settings that every name shows.
    """
    several = [settings for _, settings in cells]
    names = [*always, *sorted(differing(cells) - set(always))]
    short = told_apart(names, several)
    exact = [{name: text_of(settings.get(name)) for name in names} for settings in several]
    ordered = sorted(
        {tuple(values.values()): [sort_key(settings.get(name)) for name in names]
         for values, settings in zip(exact, several, strict=True)}.items(),
        key=lambda item: item[1],
    )  # fmt: skip
    places = {values: place for place, (values, _) in enumerate(ordered)}
    words = [in_words(method, values, bare) for values in short]
    too_long = any(len(named(method, text)) > LONGEST_LABEL for text in words)
    found = []
    for text, values in zip(words, exact, strict=True):
        place = places[tuple(values.values())]
        label = f"{method}{NUMBERED}{place + 1}" if too_long and len(places) > 1 else named(method, text)
        found.append(Variant(label, text, in_words(method, values, bare), place))
    return found


def settings_apart(specs: Mapping[str, RunSpec]) -> dict[str, list[str]]:
    """Id -> KEY=VALUE of the settings in which a run differs from others of its protocol and name; only where some do.

    Args:
        specs: id -> what the run is.
    """
    keys = [(spec.protocol, spec.name) for spec in specs.values()]
    ids, found = list(specs), {}
    for places in by_group(keys).values():
        if len(places) > 1:
            several = [as_left_open(flat_settings(specs[ids[place]].settings())) for place in places]
            names = [name for name in several[0] if name.partition(".")[0] not in NO_DIFFERENCE]
            names += [name for settings in several for name in settings if name not in several[0]]
            apart = [name for name in dict.fromkeys(names) if len({text_of(one.get(name)) for one in several}) > 1]
            for place, values in zip(places, told_apart(apart, several), strict=True):
                method = specs[ids[place]].method
                texts = (f"{key.removeprefix(f'{method}.')}={cut(text)}" for key, text in values.items())
                found[ids[place]] = list(texts)
    return found


def cut(text: str) -> str:
    """A value of a setting, its end left out if it is long: the settings of the run show it."""
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def named(method: str, words: str) -> str:
    """A method with settings."""
    return f"{method} ({words})" if words else method


def sort_key(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, before everything else by its text."""
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, str(value)


def is_plain(label: str) -> bool:
    """Whether a label is a method's name alone."""
    return " (" not in label and NUMBERED not in label


def by_group(keys: Sequence[Key]) -> dict[Key, list[int]]:
    """Key -> places at which it stands."""
    found: dict[Key, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        found[key].append(place)
    return found
