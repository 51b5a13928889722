"""ZS-LP (Silva-Rodriguez et al., CVPR 2024, arXiv:2312.12730): a linear probe that starts at the class texts."""

import torch
from torch import Tensor, nn

from harness.clip.texts import Text
from methods.base import Method, Official, OtherClassesError


class ZSLP(Method):
    """Prototypes of the classes, at first their text embeddings, replace these and train; both towers are frozen."""

    keeps_underscores = True
    averages_normalised = False
    official = Official(trainers=("ADAPTER INIT=ZS CONSTRAINT=none",), tensors={"adapter.prototypes": "prototypes"})

    def build(self) -> None:
        with torch.no_grad():
            self.prototypes = nn.Parameter(super().text_features().to(self.clip.logit_scale.dtype).clone())

    def check_classes(self, texts: tuple[Text, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("prototypes are learned for the training classes, and other classes have none")

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        return self.prototypes if classes is None else self.prototypes[classes]
