"""CLIP-Adapter (Gao et al., IJCV 2024, arXiv:2110.04544): a bottleneck MLP on the image embedding."""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from methods.base import Method, Official


class CLIPAdapter(Method):
    """v' = ratio * relu(W2 relu(W1 v)) + (1 - ratio) * v; both towers stay frozen."""

    official = Official(
        trainers=("CLIPAdapter", "OriginCLIPAdapter"),
        tensors={"adapter.fc.0.": "down.", "adapter.fc.2.": "up."},
    )

    class Config(Method.Config):
        reduction: int = Field(4, ge=1, le=64, description="size of the embedding divided by size of the bottleneck")
        residual_ratio: float = Field(0.2, ge=0, le=1, description="share of the adapter in the mixed embedding")

    config: Config

    def build(self) -> None:
        size = self.clip.embed_dim
        self.down = nn.Linear(size, size // self.config.reduction, bias=False)
        self.up = nn.Linear(size // self.config.reduction, size, bias=False)

    def image_features(self, x: Tensor) -> Tensor:
        image = super().image_features(x)
        adapted = F.relu(self.up(F.relu(self.down(image))))
        return self.config.residual_ratio * adapted + (1 - self.config.residual_ratio) * image
