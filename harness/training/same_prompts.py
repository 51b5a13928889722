"""Classes whose prompts are the same tokens: tokenizers drop case, repeated spaces and HTML, and cut long texts."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

from harness.clip.prompts import Prompts
from harness.errors import UserError
from harness.training.evaluate import distinct

Groups = tuple[tuple[str, ...], ...]
"""Names of classes that belong together."""


def same_prompts(prompts: Prompts, class_names: Sequence[str]) -> Groups:
    """Groups of classes that no method can tell apart, because their prompts are the same tokens.

    Args:
        prompts: of C classes.
        class_names: their C names; names that several classes have are told apart by their labels.
    """
    groups: dict[tuple[tuple[int, ...], ...], list[str]] = defaultdict(list)
    tokens = iter([tuple(ids[: eot + 1]) for ids, eot in zip(prompts.ids.tolist(), prompts.eot.tolist(), strict=True)])
    counts = prompts.counts or (1,) * len(prompts)
    for count, name in zip(counts, distinct(class_names), strict=True):
        groups[tuple(sorted(islice(tokens, count)))].append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def refuse_same_prompts(dataset: str, groups: Groups) -> None:
    """Raise a UserError if classes in a folder of the user's own cannot be told apart: there a name can be changed."""
    for one, other, *_ in groups:
        raise UserError(
            f"classes '{one}' and '{other}' of data set '{dataset}' are the same words for the text tower, so that no "
            "method could tell them apart: rename one of the folders, or name one differently in classnames.txt"
        )
