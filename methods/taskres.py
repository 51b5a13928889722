"""TaskRes (Yu et al., CVPR 2023, arXiv:2211.10277): a learned residual is added to the text embedding of each class."""

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.clip.prompts import Prompts
from harness.clip.texts import Text
from harness.clip.tower_parts import TowerPart
from methods.base import Method, Official, OtherClassesError, WeightsError, WeightsFile


class TaskRes(Method):
    """t'_c = t_c + residual_scale * r_c, where t_c is not normalised and r_c starts at zero; the towers stay frozen."""

    keeps_underscores = True
    averages_normalised = False
    # In float16 Adam would divide by zero: its eps vanishes, and so do squares of gradients.
    stays_fp32 = ("residual",)
    official = Official(
        trainers=("TaskRes",),
        options={"RESIDUAL_SCALE": "residual_scale", "ENHANCED_BASE": "enhanced_base"},
        tensors={"prompt_learner.text_feature_residuals": "residual"},
    )

    class Config(Method.Config):
        residual_scale: float = Field(0.5, description="factor of the residuals")
        enhanced_base: WeightsFile | None = Field(
            None,
            description="file of a tuned text projection (embedding x width), in place of the backbone's own",
        )

    config: Config

    @classmethod
    def needs(cls, config: Config) -> tuple[TowerPart, ...]:
        return ("text projection without bias",) if config.enhanced_base else ()

    def build(self) -> None:
        self.residual = nn.Parameter(torch.zeros(len(self.prompts), self.clip.embed_dim))

    def check_classes(self, texts: tuple[Text, ...]) -> None:
        if texts != self.training_texts:
            raise OtherClassesError("residuals are learned for the training classes, and other classes have none")

    def set_classes(self, prompts: Prompts) -> None:
        if "enhanced_base" in self.weights:
            self.replace_projection(self.weights["enhanced_base"])
        super().set_classes(prompts)

    def replace_projection(self, weight: Tensor) -> None:
        """Let the text tower end with a tuned projection, stored as the weight (E, width) of a linear layer."""
        projection = self.clip.text.text_projection
        width, size = projection.shape
        if weight.shape != (size, width):
            found = "x".join(map(str, weight.shape)) or "a single number"
            raise WeightsError(f"enhanced_base: its tensor is {found}, and this text tower needs {size}x{width}")
        projection.data = weight.T.to(projection.dtype).contiguous()

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        residual = self.residual if classes is None else self.residual[classes]
        text = super().text_features(classes) + self.config.residual_scale * residual
        return text.to(self.clip.text.dtype)
