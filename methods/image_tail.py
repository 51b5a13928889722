"""Image tail: the image half of Skip Tuning (Wu et al., 2024, arXiv:2412.11509), with the text tower frozen.

No paper proposes it by itself, and there is no authors' code: it shows what Skip Tuning's text half contributes.
"""

from pydantic import Field

from harness.clip.towers import END, Stage
from methods.base import Method, check_depth


class ImageTail(Method):
    """Trains the image blocks from `depth` on and what follows them, on cached tokens and texts."""

    templates = "finetune"
    counts_image_blocks = True

    class Config(Method.Config):
        depth: int = Field(6, ge=0, description="number of first image blocks that are skipped")

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        check_depth(config.depth, num_blocks, where="in its image tower")

    def start_stages(self) -> tuple[Stage, Stage]:
        return self.config.depth, END

    def build(self) -> None:
        for parameter in self.clip.image.parameters_from(self.config.depth):
            parameter.requires_grad_(True)
