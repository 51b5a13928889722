"""VPT, Visual Prompt Tuning (Jia et al., ECCV 2022, arXiv:2203.12119): learned vectors among the patches of images.

For CLIP as the authors of MaPLe (arXiv:2210.03117) run it: the text tower is frozen and its embeddings classify.
"""

from pydantic import Field
from torch import Tensor

from harness.clip.context import drawn_prompts, prompted_images
from harness.clip.towers import END, Stage
from methods.base import Method, Official, check_depth


class VPT(Method):
    """Prompts stand behind the patches, new ones before each of the first `depth` blocks; depth 1 is VPT shallow."""

    official = Official(
        trainers=("VPT",),
        options={"N_CTX_VISION": "n_ctx", "PROMPT_DEPTH_VISION": "depth"},
        tensors={
            "image_encoder.VPT": "image_prompts.0",
            **{
                f"image_encoder.transformer.resblocks.{block}.VPT_shallow": f"image_prompts.{block}"
                for block in range(1, 48)
            },
        },
    )

    tower_parts = ("transformer for images",)
    stays_fp32 = ("image_prompts.",)

    class Config(Method.Config):
        n_ctx: int = Field(8, ge=1, description="number of prompts behind the patches")
        depth: int | None = Field(
            None, ge=1, description="number of first image blocks before which prompts enter; null: all, 1: VPT shallow"
        )

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        check_depth(config.depth, num_blocks)

    def start_stages(self) -> tuple[Stage, Stage]:
        return 0, END

    def build(self) -> None:
        depth, width = self.config.depth or self.clip.image.num_blocks, self.clip.image.width
        self.image_prompts = drawn_prompts(depth, self.config.n_ctx, width)

    def image_features(self, x: Tensor) -> Tensor:
        return prompted_images(self.clip.image, x, self.image_prompts)
