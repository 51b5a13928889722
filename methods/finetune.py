"""Full fine-tuning of CLIP as a contrastive classifier (the baseline of arXiv:2412.11509)."""

from pydantic import Field

from harness.clip.towers import Stage
from methods.base import Method, Official, check_depth


class FineTune(Method):
    """Trains all blocks, final LayerNorms and projections; patch, token, position and class embeddings are frozen."""

    templates = "finetune"
    official = Official(trainers=("FinetuneCLIP",), options={"START_LAYER": "depth"})

    class Config(Method.Config):
        depth: int = Field(0, ge=0, description="number of first blocks of both towers that stay frozen")

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        check_depth(config.depth, num_blocks)

    def start_stages(self) -> tuple[Stage, Stage]:
        return self.config.depth, self.config.depth

    def build(self) -> None:
        self.train_towers_from(self.config.depth)
