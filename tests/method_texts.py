"""What is written of classes for a method and its teacher."""

from collections.abc import Sequence
from typing import Any

from harness.clip.texts import Taught, Text
from methods.base import Method

DRAWING = "a drawing of a {}."


def texts_for(cls: type[Method], config: Any, names: Sequence[str], template: str = DRAWING) -> list[Text]:
    """The prompt of each class beside that of a teacher, if the method has one.

    Args:
        cls: the method.
        config: its options.
        names: of the classes.
        template: of the data set.
    """
    prompts = [cls.prompt_template(config, template).replace("{}", name) for name in names]
    if cls.teacher is None:
        return list(prompts)
    taught = [(cls.teacher_template(config, template).replace("{}", name),) for name in names]
    return [Taught((own,), theirs) for own, theirs in zip(prompts, taught, strict=True)]
