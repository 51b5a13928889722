"""Class names that a data set's own files do not have, as the field writes them."""

from functools import cache
from importlib.resources import files


@cache
def named_classes(dataset: str) -> tuple[str, ...]:
    """The class names of a data set in label order; empty if this project keeps none of it.

    Those of the benchmarks in the paper about CLIP are as its authors publish them, those of the Oxford Flowers as
    their split file has them.
    """
    path = files("harness.data") / "class_names" / f"{dataset}.txt"
    return tuple(path.read_text(encoding="utf-8").split("\n")[:-1]) if path.is_file() else ()
