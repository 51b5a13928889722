"""BitFit (Ben-Zaken et al., ACL 2022, arXiv:2106.10199): only the biases train.

The authors tune language models and have no code for CLIP: the reference vectors are those of a plain torch
implementation of ours.
"""

from harness.clip.tower_parts import TowerPart
from harness.clip.towers import RAW, Stage
from methods.base import Method, Official


class BitFit(Method):
    """The biases of attention, MLPs and LayerNorms of both towers train, and nothing else."""

    official = Official(trainers=("bitfit",))

    @classmethod
    def needs(cls, config: Method.Config) -> tuple[TowerPart, ...]:
        return ("transformer for images",)

    def start_stages(self) -> tuple[Stage, Stage]:
        # The image tower has a LayerNorm before its first block.
        return RAW, RAW

    def build(self) -> None:
        for tower in (self.clip.image, self.clip.text):
            for name, parameter in tower.named_parameters():
                # `in_proj_bias` of attention has no module of its own.
                if name.endswith("bias"):
                    parameter.requires_grad_(True)
