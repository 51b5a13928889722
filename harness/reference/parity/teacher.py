"""What the teacher of a method reads: the texts of the official code."""

from typing import Any

from harness.clip.prompts import fill_template
from harness.data.catalog import DATASETS
from harness.data.datasets import find_dataset
from harness.errors import UserError, nearest
from harness.reference.parity.description import incomplete
from harness.reference.parity.vectors import Vectors
from methods.base import Method

# Official names of data sets that differ from ours in more than capitals and underscores.
OTHER_NAMES = {"DescribableTextures": "dtd"}

EMBEDDED = "const.ori_embedding"
"""The stored embeddings (S, C, E) of sentences, S of each class."""


def teacher_texts(cls: type[Method], config: Any, vectors: Vectors, class_names: list[str]) -> list[tuple[str, ...]]:
    """The texts that a method's teacher reads of each class.

    Args:
        cls: the method, which has a teacher.
        config: its options.
        vectors: of the official code.
        class_names: of the classes.

    Raises:
        UserError: the vectors do not say which texts these are.
    """
    assert cls.teacher
    if vectors.about.drawn_sentence_index is not None and class_names == vectors.about.classnames_base:
        return sentences(vectors)
    dataset = find_dataset(our_dataset(vectors))
    templates = [cls.teacher_template(config, template) for template in dataset.templates_of(cls.teacher)]
    return [tuple(fill_template(one, name, cls.keeps_underscores) for one in templates) for name in class_names]


def sentences(vectors: Vectors) -> list[tuple[str, ...]]:
    """The sentences of each class to train on, as many of each: the first of the further texts.

    Raises:
        UserError: there are not as many as their stored embeddings, or as the drawn ones.
    """
    about = vectors.about
    texts, classes, stored = about.other_strings_tokenised, len(about.classnames_base), about.tensors.get(EMBEDDED)
    number = stored.shape[0] if stored else len(texts) // classes
    if not number > max(about.drawn_sentence_index or [0]) or len(texts) < number * classes:
        raise incomplete(vectors.file, f"its {len(texts)} further texts are no sentences of {classes} classes")
    return [tuple(texts[first : first + number]) for first in range(0, number * classes, number)]


def our_dataset(vectors: Vectors) -> str:
    """Our name of the data set whose templates the official code uses.

    Raises:
        UserError: we have no such data set.
    """
    theirs = vectors.about.hyper.dataset_name_for_templates
    ours = {name.replace("_", ""): name for name in DATASETS}
    found = OTHER_NAMES.get(theirs) or ours.get(theirs.lower())
    if found is None:
        raise UserError(f"there is no data set '{theirs}' here.{nearest(theirs, ours)}")
    return found
