"""All settings by their dotted keys, and the one that a key without its section or in other words means."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from harness.errors import letters_of, nearest
from harness.experiment.axes import atoms_of, is_section
from harness.experiment.spec import RunSpec, ScheduleSpec


def known_settings(methods: Iterable[str]) -> dict[str, str]:
    """Key -> description of every setting of runs of some methods and of their schedule; what is no setting of one
    section, such as evaluations, is left out."""
    from harness.experiment.registry import method_class

    sections: dict[str, Any] = {method: method_class(method).Config for method in methods}
    for name, info in RunSpec.model_fields.items():
        atoms = [atom for atom in atoms_of(info.annotation) if is_section(atom)]
        if atoms and atoms == [info.annotation]:
            sections[name] = atoms[0]
    sections["schedule"] = ScheduleSpec
    return {key: about for name, model in sections.items() for key, about in keys_of(name, model)}


def keys_of(section: str, model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """The keys of a section with their descriptions."""
    for name, info in model.model_fields.items():
        yield f"{section}.{info.alias or name}", info.description or ""


def meant_settings(key: str, methods: Iterable[str]) -> list[str]:
    """The settings of some methods' runs that a key means: in another spelling, without its section, or in the words of
    the description, such as lr, batch-size and learning_rate."""
    known = known_settings(methods)
    word, last = letters_of(key), letters_of(key.rpartition(".")[2])
    for alike in (
        [name for name in known if letters_of(name) == word],
        [name for name in known if letters_of(name.partition(".")[2]) == last],
        [name for name, about in known.items() if letters_of(re.split(r"[;,:(]", about)[0]) == last],
    ):
        if alike:
            return alike
    return []


def setting_hint(key: str, methods: Iterable[str], sections: Iterable[str]) -> str:
    """A hint that ends an error line about an unknown key of a run: what it means, else the nearest section or setting.

    Args:
        key: the dotted key.
        methods: those that are run.
        sections: what may stand before the first point.
    """
    from harness.experiment.registry import method_names

    for names in (methods, method_names()):
        if found := meant_settings(key, names):
            return f" Did you mean {' or '.join(map(repr, found))}?"
    hint = nearest(key.partition(".")[0], sections)
    if hint.startswith(" Did you mean"):
        return hint
    known = known_settings(methods)
    options = [letters_of(name.partition(".")[2]) for name in known]
    close = difflib.get_close_matches(letters_of(key), options, n=1, cutoff=0.75)
    alike = [name for name in known if close and letters_of(name.partition(".")[2]) == close[0]]
    return f" Did you mean {' or '.join(map(repr, alike))}?" if alike else hint
