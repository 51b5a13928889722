"""Class names that a data set's own files do not have, as the field writes them."""

from functools import cache
from importlib.resources import files

from harness.clip.open_clip_files import open_clip_module


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
    # Not at the top: importing timm takes seconds.
    from timm.data import ImageNetInfo

    names = open_clip_module("zero_shot_metadata").IMAGENET_CLASSNAMES
    return dict(zip(ImageNetInfo().label_names(), names, strict=True))
