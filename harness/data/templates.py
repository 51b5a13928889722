"""Ensembles: several prompt templates under one name."""

OF_DATA_SETS = ("zeroshot", "finetune")
"""Names of the templates that every data set has."""
ENSEMBLES = {
    "imagenet_7": "7 templates chosen for ImageNet, which Tip-Adapter and its relatives use there",
    "imagenet_80": "the 80 templates of the authors of CLIP for ImageNet",
    "drawings": "4 templates for drawings, with which the embedded backbone was trained",
}
"""Name -> what it is."""
DRAWINGS = ("a drawing of {article} {}.", "an icon of {article} {}.", "a picture showing {article} {}.", "{}")


def ensemble_templates(name: str) -> tuple[str, ...]:
    """The templates of an ensemble; `{}` is the class name."""
    if name == "drawings":
        return DRAWINGS
    # Not at the top: importing open_clip takes seconds.
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

    functions = {"imagenet_7": SIMPLE_IMAGENET_TEMPLATES, "imagenet_80": OPENAI_IMAGENET_TEMPLATES}[name]
    return tuple(function("{}") for function in functions)
