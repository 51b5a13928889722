"""Zero-shot CLIP (Radford et al., ICML 2021, arXiv:2103.00020): nothing trains."""

from methods.base import Method, Official


class ZeroShot(Method):
    """The classifier that CLIP's text embeddings of the class prompts make."""

    trains = False
    official = Official(trainers=("ZeroShotCLIP",))
