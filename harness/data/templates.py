"""Ensembles: several prompt templates under one name."""

from harness.clip.open_clip_files import open_clip_module
from harness.data.openai_templates import OPENAI_TEMPLATES

OPENAI = "openai"
"""Name of the ensemble that differs between data sets."""
OF_DATA_SETS = ("zeroshot", "finetune")
"""Names of the templates that every data set has."""
ENSEMBLES = {
    "imagenet_7": "7 templates chosen for ImageNet, which Tip-Adapter and its relatives use there",
    "imagenet_80": "the 80 templates of the authors of CLIP for ImageNet",
    "openai": "the templates of the authors of CLIP for the data set; where they publish none, the 80 for ImageNet",
    "drawings": "4 templates for drawings, with which the embedded backbone was trained",
}
"""Name -> what it is."""
DRAWINGS = ("a drawing of {article} {}.", "an icon of {article} {}.", "a picture showing {article} {}.", "{}")


def ensemble_templates(name: str, dataset: str = "") -> tuple[str, ...]:
    """The templates of an ensemble; `{}` is the class name.

    Args:
        name: one of `ENSEMBLES`.
        dataset: whose templates they are to be, where that makes a difference.
    """
    if name == "drawings":
        return DRAWINGS
    if name == OPENAI and dataset in OPENAI_TEMPLATES:
        return OPENAI_TEMPLATES[dataset]
    known = open_clip_module("zero_shot_metadata")
    functions = known.SIMPLE_IMAGENET_TEMPLATES if name == "imagenet_7" else known.OPENAI_IMAGENET_TEMPLATES
    return tuple(function("{}") for function in functions)
