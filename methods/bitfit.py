"""BitFit (Ben-Zaken et al., ACL 2022, arXiv:2106.10199): only the biases train.

The authors tune language models and have no code for CLIP: the reference vectors are those of a plain torch
implementation of ours.
"""

from harness.clip.towers import RAW, Stage
from methods.base import Method, Official


class BitFit(Method):
    """The biases of attention, MLPs and LayerNorms of both towers train, and nothing else."""

    tower_parts = ("transformer for images",)
    official = Official(trainers=("bitfit",))

    def start_stages(self) -> tuple[Stage, Stage]:
        # The image tower has a LayerNorm before its first block.
        return RAW, RAW

    def build(self) -> None:
        for tower in (self.clip.image, self.clip.text):
            for name, parameter in tower.named_parameters():
                # `in_proj_bias` of attention has no module of its own.
                if name.endswith("bias"):
                    parameter.requires_grad_(True)
