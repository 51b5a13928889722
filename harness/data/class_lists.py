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


@cache
def imagenet_names() -> dict[str, str]:
    """WordNet id -> class name of ImageNet's 1000 classes, in the order of their ids.

    The names are those of the authors of CLIP, as open_clip has them: `classnames.txt` of the CoOp layout has the same.
    """
    # Not at the top: importing these takes seconds.
    from open_clip import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    return dict(zip(ImageNetInfo().label_names(), IMAGENET_CLASSNAMES, strict=True))
