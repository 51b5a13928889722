"""LayerNorm tuning (Zhao et al., ICLR 2024, arXiv:2312.11420; for CLIP Kim et al., 2021): all LayerNorms train.

Kim et al. is "How to Adapt Your Large-Scale Vision-and-Language Model" (OpenReview, EhwEUb2ynIa). There is no authors'
code for CLIP: the reference vectors are those of a plain torch implementation of ours.
"""

from torch import nn

from harness.clip.towers import RAW, Stage
from methods.base import Method, Official


class LayerNormTuning(Method):
    """Scale and shift of every LayerNorm of both towers train, and nothing else."""

    tower_parts = ("transformer for images",)
    official = Official(trainers=("layernorm",))

    def start_stages(self) -> tuple[Stage, Stage]:
        # The image tower has a LayerNorm before its first block.
        return RAW, RAW

    def build(self) -> None:
        for tower in (self.clip.image, self.clip.text):
            for module in tower.modules():
                if isinstance(module, nn.LayerNorm):
                    module.requires_grad_(True)
