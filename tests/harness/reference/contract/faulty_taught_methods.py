"""Methods that train what their teacher, the untouched CLIP, is computed with."""

from tests.harness.reference.contract.faulty_methods import Fault, body

TAUGHT = '''"""What trains stays near to the untouched CLIP."""

from torch import Tensor

from harness.clip.towers import END, POOLED
from methods.base import Method


class Near(Method):
    """Cross entropy, and the distance to a teacher."""
'''

TAUGHT_FAULTS = {
    "trains what its teacher of texts is made of": Fault(
        "keeps its teacher frozen",
        "gives of texts is another after training, since 'clip.text.text_projection' trains",
        TAUGHT
        + body("""
            teacher = "zeroshot"

            def start_stages(self):
                return END, POOLED

            def build(self) -> None:
                self.clip.text.text_projection.requires_grad_(True)

            def loss(self, x: Tensor, labels: Tensor) -> Tensor:
                return super().loss(x, labels) + (self.text_features() - self.teacher_text).square().mean()
        """),
    ),
    "trains what its twin of images is made of": Fault(
        "keeps its teacher frozen",
        "gives of images is another after training, since 'clip.image.proj' trains",
        TAUGHT
        + body("""
            frozen_view = "other"

            def start_stages(self):
                return POOLED, END

            def build(self) -> None:
                self.clip.image.proj.requires_grad_(True)

            def loss_beside_frozen(self, x: Tensor, labels: Tensor, frozen: Tensor) -> Tensor:
                return self.loss(x, labels) + (self.image_features(x) - frozen).square().mean()
        """),
    ),
}
