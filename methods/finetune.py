"""Full fine-tuning of CLIP with the contrastive classifier kept (the baseline of arXiv:2412.11509)."""

from pydantic import Field

from harness.clip.towers import Stage
from methods.base import Method, Official, check_depth


class FineTune(Method):
    """All blocks, final LayerNorms and projections train; patch, token, position and class embeddings stay."""

    templates = "finetune"
    official = Official(trainers=("FinetuneCLIP",), options={"START_LAYER": "depth"})

    class Config(Method.Config):
        depth: int = Field(0, ge=0, description="how many of the first blocks of both towers stay frozen")

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        check_depth(config.depth, num_blocks)

    def start_stages(self) -> tuple[Stage, Stage]:
        return self.config.depth, self.config.depth

    def build(self) -> None:
        self.train_towers_from(self.config.depth)
