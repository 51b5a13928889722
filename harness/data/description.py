"""What is known about a data set before it is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.data.readers import Splits
from harness.data.templates import ENSEMBLES, ensemble_templates


class Counts(NamedTuple):
    """How many classes a data set has, and how many images each split."""

    classes: int
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class DataSet:
    """What is known about a data set before it is read: one row of the catalog.

    Attributes:
        name: its name on the command line, in YAML and in tables.
        folder: its folder under the data root (an absolute folder needs no data root).
        read: reads it: given its folder and, by keyword, the wanted `splits`, returns `Splits`.
        template: prompt template of zero-shot CLIP and CLIP-Adapter; `{}` is the class name, `{article}` a or an.
        finetune_template: prompt template of full fine-tuning and Skip Tuning, if their authors use another.
        aliases: other names of its folder; differences in case, hyphens and underscores need not be listed.
        settings: settings of a run that this data set calls for; any recipe overrides them.
        about: a few words for `skipbench list`.
        expected: what the complete data set contains, if that is known.
        source: where to get it, for people.
    """

    name: str
    folder: str
    read: Callable[..., Splits]
    template: str
    finetune_template: str | None = None
    aliases: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    about: str = ""
    expected: Counts | None = None
    source: str = ""

    def template_of(self, which: str) -> str:
        """The template that `which` asks for: 'zeroshot', 'finetune', or a template itself (it contains `{}`)."""
        if "{}" in which:
            return which
        return (self.finetune_template or self.template) if which == "finetune" else self.template

    def templates_of(self, which: str | tuple[str, ...]) -> tuple[str, ...]:
        """The templates that `which` asks for: those of a list or an ensemble, or the one of `template_of`."""
        if isinstance(which, tuple):
            return which
        return ensemble_templates(which, self.name) if which in ENSEMBLES else (self.template_of(which),)
