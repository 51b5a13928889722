"""The templates that the authors of CLIP publish for each data set of their paper, as facts.

Paper: https://arxiv.org/abs/2103.00020; the list: `data/prompts.md` of their repository, ImageNet's in a notebook.
"""

TINY = (
    "a photo of a {}.",
    *(f"a {kind} photo of a {{}}." for kind in ("blurry", "black and white", "low contrast", "high contrast")),
    *(f"a {kind} photo of a {{}}." for kind in ("bad", "good")),
    "a photo of a small {}.",
    "a photo of a big {}.",
)
"""Of CIFAR, with `a`; the others have `the` before the class."""
OBJECTS = (
    "a photo of {article} {{}}.",
    "a painting of {article} {{}}.",
    "{article} plastic {{}}.",
    "a sculpture of {article} {{}}.",
    "a sketch of {article} {{}}.",
    "a tattoo of {article} {{}}.",
    "{article} toy {{}}.",
    "a rendition of {article} {{}}.",
    "{article} embroidered {{}}.",
    "{article} cartoon {{}}.",
    "{article} {{}} in a video game.",
    "{article} plushie {{}}.",
    "{article} origami {{}}.",
    "art of {article} {{}}.",
    "graffiti of {article} {{}}.",
    "a drawing of {article} {{}}.",
    "a doodle of {article} {{}}.",
)
CIFAR = (*TINY, *(template.replace("of a ", "of the ") for template in TINY))
AERIAL = tuple(
    f"{view} {kind} of {article}{{}}."
    for article in ("", "a ", "the ")
    for kind in ("imagery", "photo", "view")
    for view in ("satellite", "aerial")
)
MANNERS = ("", "using ", "doing ", "during ", "performing ", "practicing ")
ACTIONS = tuple(
    f"a {kind} of {article} person {manner}{{}}."
    for manner in MANNERS
    for article in ("a", "the")
    for kind in ("photo", "video", "example", "demonstration")
)
OPENAI_TEMPLATES: dict[str, tuple[str, ...]] = {
    "birdsnap": ("a photo of a {}, a type of bird.",),
    "caltech101": tuple(template.format(article=word) for word in ("a", "the") for template in OBJECTS),
    "cifar10": CIFAR,
    "cifar100": CIFAR,
    "country211": (
        "a photo i took in {}.",
        "a photo i took while visiting {}.",
        "a photo from my home country of {}.",
        "a photo from my visit to {}.",
        "a photo showing the country of {}.",
    ),
    "dtd": tuple(
        f"a photo of {article} {{}} {what}."
        for article in ("a", "the")
        for what in ("texture", "pattern", "thing", "object")
    ),
    "eurosat": tuple(f"a centered satellite photo of {article}{{}}." for article in ("", "a ", "the ")),
    "fgvc_aircraft": tuple(f"a photo of {article} {{}}, a type of aircraft." for article in ("a", "the")),
    "food101": ("a photo of {}, a type of food.",),
    "gtsrb": tuple(f'a {kind} photo of a "{{}}" traffic sign.' for kind in ("zoomed in", "centered", "close up")),
    "mnist": ('a photo of the number: "{}".',),
    "oxford_flowers": ("a photo of a {}, a type of flower.",),
    "oxford_pets": ("a photo of a {}, a type of pet.",),
    "pcam": ("this is a photo of {}",),
    "resisc45": AERIAL,
    "stanford_cars": (
        "a photo of a {}.",
        "a photo of the {}.",
        "a photo of my {}.",
        "i love my {}!",
        *(f"a photo of my {kind} {{}}." for kind in ("dirty", "clean", "new", "old")),
    ),
    "stl10": ("a photo of a {}.", "a photo of the {}."),
    "sun397": ("a photo of a {}.", "a photo of the {}."),
    "ucf101": ACTIONS,
}
"""Data set -> its templates. ImageNet and its variants have the ensemble `imagenet_80`."""
