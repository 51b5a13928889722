"""Zero-shot CLIP (Radford et al., ICML 2021, arXiv:2103.00020): the prompts as they are, nothing trains."""

from methods.base import Method, Official


class ZeroShot(Method):
    """The classifier that the class names alone give."""

    trains = False
    official = Official(trainers=("ZeroShotCLIP",))
