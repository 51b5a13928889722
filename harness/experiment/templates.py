"""The prompt templates of a run: what its method makes of them, and whether it can use them."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from harness.clip.texts import OneOrMore, as_text
from harness.data.datasets import find_dataset
from harness.data.templates import ENSEMBLES
from harness.errors import UserError
from harness.experiment.axes import text_of
from harness.experiment.descriptions import Descriptions, is_description_file, read_descriptions
from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec

if TYPE_CHECKING:
    from harness.clip.towers import Stage

TEACHER = "data.teacher_templates"


def has_own_prompts(spec: RunSpec) -> bool:
    """Whether the method replaces any template by its own."""
    cls = method_class(spec.method)
    config = cls.Config(**spec.options)
    first, second = (cls.prompt_template(config, f"{word} {{}} {word}.") for word in ("one", "other"))
    return first == second


def start_stages(spec: RunSpec) -> "tuple[Stage, Stage] | None":
    """The stages from which the method trains in both towers; None if they follow from the backbone's weights."""
    cls = method_class(spec.method)
    # The method as such needs weights; where training begins follows from its options.
    options = cast(Any, SimpleNamespace(config=cls.Config(**spec.options)))
    try:
        return cls.start_stages(options)
    except AttributeError:
        return None


def is_described(spec: RunSpec) -> bool:
    """Whether the prompts of a run come from a file of class descriptions."""
    return is_description_file(spec.data.templates) and not has_own_prompts(spec)


def templates_of(spec: RunSpec, dataset: str) -> OneOrMore:
    """The prompt template of a data set in a run, or its templates; of descriptions the name of their file."""
    which = spec.data.templates
    if is_described(spec):
        return f"descriptions of {str(which).replace(chr(92), '/').rpartition('/')[2]}"
    return adapted(spec, ("{}",) if is_description_file(which) else find_dataset(dataset).templates_of(which))


def templates_by_class(
    spec: RunSpec, dataset: str, class_names: Sequence[str], stand_ins: bool = False
) -> list[OneOrMore]:
    """The prompt template of each class, or its templates; `{}` in one is the class name.

    Args:
        spec: the run.
        dataset: whose classes they are.
        class_names: of the classes.
        stand_ins: whether these are not the real names.

    Raises:
        UserError: a file of descriptions lacks a class.
    """
    if not is_described(spec):
        return [templates_of(spec, dataset)] * len(class_names)
    found = sentences_of(read_descriptions(str(spec.data.templates)), class_names, stand_ins)
    return [adapted(spec, sentences) for sentences in found]


def sentences_of(file: Descriptions, class_names: Sequence[str], stand_ins: bool) -> list[tuple[str, ...]]:
    """The sentences of each class in a file of descriptions, or of as many of its classes if names stand in."""
    return file.stand_ins(len(class_names)) if stand_ins else file.of_classes(class_names)


def teacher_templates_by_class(
    spec: RunSpec, dataset: str, class_names: Sequence[str], stand_ins: bool = False
) -> list[tuple[str, ...]]:
    """The prompt templates of the frozen teacher for each class; empty if the method has no teacher.

    Args:
        spec: the run.
        dataset: whose classes they are.
        class_names: of the classes.
        stand_ins: whether these are not the real names.

    Raises:
        UserError: a file of descriptions cannot be read, or lacks a class.
    """
    cls = method_class(spec.method)
    if cls.teacher is None:
        return []
    which = spec.data.teacher_templates
    if is_description_file(which):
        return sentences_of(read_descriptions(str(which), TEACHER), class_names, stand_ins)
    config = cls.Config(**spec.options)
    templates = find_dataset(dataset).templates_of(cls.teacher if which is None else which)
    return [tuple(cls.teacher_template(config, template) for template in templates)] * len(class_names)


def adapted(spec: RunSpec, templates: Sequence[str]) -> OneOrMore:
    """What the method makes of templates; where it makes the same of all, there is one."""
    cls = method_class(spec.method)
    config = cls.Config(**spec.options)
    made = [cls.prompt_template(config, template) for template in templates]
    return made[0] if len(set(made)) == 1 else as_text(made)


def check_templates(spec: RunSpec) -> None:
    """Check the templates of a run, as far as that needs neither weights nor class names.

    Raises:
        UserError: a file of descriptions cannot be read; or a method that trains what encodes texts, and so takes one
            prompt a class, is to have several.
    """
    # Not at the top: importing torch takes seconds.
    from harness.clip.towers import END

    if is_description_file(spec.data.teacher_templates) and method_class(spec.method).teacher:
        read_descriptions(str(spec.data.teacher_templates), TEACHER)
    which = spec.data.templates
    if is_description_file(which):
        several = read_descriptions(str(which)).has_several
    else:
        several = isinstance(which, tuple) or which in ENSEMBLES
    if several and not has_own_prompts(spec) and (start_stages(spec) or (END, END))[1] != END:
        raise UserError(
            f"{spec.method} trains what encodes the texts, so that it takes one prompt a class, and "
            f"data.templates={text_of(which)} gives several: use one template"
        )
