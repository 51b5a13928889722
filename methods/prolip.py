"""ProLIP (Fahes et al., 2024, arXiv:2410.05270): the image projection trains, and stays near CLIP's."""

from pydantic import Field
from torch import Tensor

from harness.clip.digits import at_least_float32
from harness.clip.towers import END, POOLED, Stage
from methods.base import Method, Official, Shots


class ProLIP(Method):
    """Cross entropy + lambda |W - W0|^2, W the projection of the image tower and W0 that of CLIP.

    Of a ResNet it is the output projection of the attention pool, whose bias stays.
    """

    stays_fp32 = ("clip.image.proj", "clip.image.attnpool.c_proj.weight")
    tower_parts = ("image projection",)
    official = Official(trainers=("ProLIP",), options={"LAMBDA": "lambda"})

    class Config(Method.Config):
        lambda_: float | None = Field(
            None, ge=0, alias="lambda", description="weight of the squared distance to CLIP's projection; null: 1/shots"
        )

    config: Config
    initial: Tensor
    strength: Tensor

    def start_stages(self) -> tuple[Stage, Stage]:
        return POOLED, END

    def build(self) -> None:
        projection = self.clip.image.projection
        # The authors train it in float32 even where features are in float16: its steps of 1e-5 would be rounded away.
        projection.data = at_least_float32(projection.data)
        projection.requires_grad_(True)
        self.register_buffer("initial", projection.detach().clone())

    def fit(self, shots: Shots) -> None:
        lambda_ = 1 / shots.per_class if self.config.lambda_ is None else self.config.lambda_
        self.register_buffer("strength", self.initial.new_tensor(lambda_))

    def image_features(self, x: Tensor) -> Tensor:
        return super().image_features(x.to(self.initial.dtype))

    def similarity_logits(self, image: Tensor, text: Tensor) -> Tensor:
        return super().similarity_logits(image, text.to(self.initial.dtype))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return super().loss(x, labels) + self.strength * (self.clip.image.projection - self.initial).square().sum()
