"""CLAP (Silva-Rodriguez et al., CVPR 2024, arXiv:2312.12730): ZS-LP whose prototypes are held near the texts."""

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import Official, Shots
from methods.zs_lp import ZSLP


class CLAP(ZSLP):
    """Loss CE + mean_c a_c |w_c - t_c|^2: the surer zero-shot CLIP is of a class, the closer it is held to its text.

    The multiplier a_c is the mean probability of the right class for all views of the shots of class c. As in the
    authors' default, it stays the same during the training.
    """

    official = Official(
        trainers=("ADAPTER INIT=ZS CONSTRAINT=l2",),
        tensors={"adapter.prototypes": "prototypes", "const.alpha_constraint": "multipliers"},
    )

    texts: Tensor
    multipliers: Tensor

    def build(self) -> None:
        super().build()
        self.register_buffer("texts", self.prototypes.detach().clone())
        self.register_buffer("multipliers", torch.zeros(len(self.prompts), device=self.clip.device))

    def fit(self, shots: Shots) -> None:
        labels = shots.labels.repeat(len(shots.x))
        # The prototypes still are the texts.
        zero_shot = self.similarity_logits(shots.x.flatten(0, 1), self.text_features()).softmax(dim=-1)
        right = zero_shot.gather(1, labels[:, None]).squeeze(1).to(self.multipliers.dtype)
        one_hot = F.one_hot(labels, len(self.prompts)).to(right.dtype)
        self.multipliers.copy_(right @ one_hot / one_hot.sum(dim=0).clamp_min(1))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        distance = (self.prototypes - self.texts).square().sum(dim=-1)
        return super().loss(x, labels) + (self.multipliers * distance).mean()
