"""LP++ (Huang et al., CVPR 2024, arXiv:2404.02285): a linear probe plus text similarities, steps from the data."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.clip.texts import Text
from methods.base import Method, Official, OtherClassesError, Shots

ALPHA_EPOCHS = 10
"""alpha moves after every so many epochs."""


class LPPlusPlus(Method):
    """logits_c = w_c f + b_c + alpha_c <f, t_c>, with normalised f and t_c and no temperature.

    w_c starts as the sum of the shots of class c, alpha_c at 250 times the mean similarity of the shots and the texts
    of their classes. The steps of w and b, and of alpha, are bounded by Lipschitz constants of their gradients.
    """

    official = Official(
        trainers=("LinearProbe_P2",),
        tensors={"const.lr_w": "weight_step", "const.lr_alpha": "alpha_step", "const.init_alpha": "alpha"},
    )

    alpha_gradient: Tensor
    weight_step: Tensor
    alpha_step: Tensor

    @classmethod
    def unused(cls, config: Method.Config) -> dict[str, str]:
        return {"train.lr": "the step sizes follow from the shots"}

    def build(self) -> None:
        self.classifier = nn.Linear(self.clip.embed_dim, len(self.prompts))
        self.alpha = nn.Parameter(torch.zeros(1, len(self.prompts)))
        self.register_buffer("alpha_gradient", torch.zeros(1, len(self.prompts)))
        self.register_buffer("weight_step", torch.zeros(()))
        self.register_buffer("alpha_step", torch.zeros(()))

    def check_classes(self, texts: tuple[Text, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("the classifier has weights for its training classes only")

    @torch.no_grad()
    def fit(self, shots: Shots) -> None:
        views = len(shots.x)
        dtype = self.weight_step.dtype
        image = F.normalize(shots.x.flatten(0, 1).to(dtype), dim=-1)
        text = F.normalize(self.text_features().to(dtype), dim=-1)
        own = F.one_hot(shots.labels.repeat(views), len(self.prompts)).to(dtype)
        similarity = image @ text.T
        of_class = (similarity * own).sum(dim=0) / own.sum(dim=0).clamp_min(1)
        self.classifier.weight.copy_(own.T @ image / views)
        self.alpha.fill_(250 * of_class.mean())
        self.weight_step.copy_(4 * len(image) / torch.linalg.matrix_norm(image, 2).square())
        self.alpha_step.copy_(len(image) / (4 * similarity.square().sum(dim=0).max()))

    def parameter_groups(self) -> list[dict[str, Any]]:
        # alpha has a step of its own, in after_epoch.
        return [
            {"params": list(self.classifier.parameters()), "lr": self.weight_step.item()},
            {"params": [self.alpha], "lr": 0.0},
        ]

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        return self._logits_and_similarity(x, text)[0]

    def _logits_and_similarity(self, x: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        image = F.normalize(self.image_features(x), dim=-1)
        # Not under autocast, as in `similarity_logits`.
        with torch.autocast(x.device.type, enabled=False):
            image = image.to(self.classifier.weight.dtype)
            similarity = image @ F.normalize(text, dim=-1).to(image.dtype).T
            return self.classifier(image) + self.alpha * similarity, similarity

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        logits, similarity = self._logits_and_similarity(x, self.text_features())
        with torch.no_grad():
            # The gradient of the loss with respect to the logits: probabilities - labels, of a mean.
            error = logits.softmax(dim=1).scatter_add(1, labels[:, None], -torch.ones_like(logits[:, :1])) / len(labels)
            self.alpha_gradient += (error * similarity).sum(dim=0, keepdim=True)
        return F.cross_entropy(logits, labels)

    def after_epoch(self, epoch: int, epochs: int) -> None:
        # As in the authors' code, which never clears this gradient, each step is along the sum over all epochs so far.
        if (epoch + 1) % ALPHA_EPOCHS == 0:
            self.alpha.sub_(self.alpha_step * self.alpha_gradient)
