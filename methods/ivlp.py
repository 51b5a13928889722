"""IVLP, Independent Vision-Language Prompting (Khattak et al., CVPR 2023, arXiv:2210.03117): prompts in both towers."""

from pydantic import Field, model_validator
from torch import Tensor, nn

from harness.clip.context import (
    MAX_FIRST_WORDS,
    context_template,
    context_words,
    drawn_prompts,
    first_words,
    initial_context,
    prompted_images,
    prompted_texts,
)
from harness.clip.tower_parts import TowerPart
from harness.clip.towers import END, RAW, Stage
from methods.base import Method, Official, check_depth


class IVLP(Method):
    """New prompts enter before each of the first blocks of both towers; text and image prompts do not know each other.

    Without image prompts the image tower is frozen.
    """

    official = Official(
        trainers=("IVLP",),
        options={
            "N_CTX_TEXT": "n_ctx_text",
            "N_CTX_VISION": "n_ctx_image",
            "PROMPT_DEPTH_TEXT": "depth_text",
            "PROMPT_DEPTH_VISION": "depth_image",
            "CTX_INIT": "ctx_init",
        },
        tensors={
            "prompt_learner.ctx": "ctx",
            "image_encoder.VPT": "image_prompts.0",
            **{
                f"{tower}_encoder.transformer.resblocks.{block}.VPT_shallow": name
                for block in range(1, 48)
                for tower, name in (("text", f"deep_ctx.{block - 1}"), ("image", f"image_prompts.{block}"))
            },
        },
    )

    stays_fp32 = ("deep_ctx.", "image_prompts.")

    class Config(Method.Config):
        n_ctx_text: int = Field(2, ge=1, description="number of context tokens of texts")
        n_ctx_image: int = Field(2, ge=0, description="number of prompts behind the patches of images")
        depth_text: int | None = Field(None, ge=1, description="first text blocks with prompts; null: all")
        depth_image: int | None = Field(None, ge=0, description="first image blocks with prompts; null: all, 0: none")
        ctx_init: str | None = Field("a photo of a", min_length=1, description="words if n_ctx_text <= 4; null: random")

        @model_validator(mode="after")
        def _enough_words(self) -> "IVLP.Config":
            words = first_words(self.n_ctx_text, self.ctx_init)
            if words and len(context_words(self.n_ctx_text, words)) < self.n_ctx_text:
                raise ValueError(f"ctx_init='{words}' has fewer words than n_ctx_text={self.n_ctx_text}: add some")
            return self

        @property
        def prompts_images(self) -> bool:
            """Whether there are image prompts."""
            return self.n_ctx_image > 0 and self.depth_image != 0

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        check_depth(config.depth_text, num_blocks, "depth_text")
        check_depth(config.depth_image, num_blocks, "depth_image")

    @classmethod
    def unused(cls, config: Config) -> dict[str, str]:
        found = {}
        if config.n_ctx_text > MAX_FIRST_WORDS:
            found["ctx_init"] = f"a context of n_ctx_text={config.n_ctx_text} is drawn"
        if not config.prompts_images:
            found["depth_image" if config.depth_image != 0 else "n_ctx_image"] = "images get no prompts"
        return found

    @classmethod
    def prompt_template(cls, config: Config, template: str) -> str:
        return context_template(config.n_ctx_text, first_words(config.n_ctx_text, config.ctx_init))

    @classmethod
    def needs(cls, config: Config) -> tuple[TowerPart, ...]:
        return ("transformer for images",) if config.prompts_images else ()

    def start_stages(self) -> tuple[Stage, Stage]:
        return 0 if self.config.prompts_images else END, RAW

    def build(self) -> None:
        self.build_text_prompts()
        if self.config.prompts_images:
            self.build_image_prompts()

    def build_text_prompts(self) -> None:
        """Create `ctx`, the prompts of text block 0, and `deep_ctx`, those of blocks 1, 2, ..."""
        n_ctx, depth = self.config.n_ctx_text, self.config.depth_text or self.clip.text.num_blocks
        self.ctx = nn.Parameter(initial_context(self.clip, n_ctx, first_words(n_ctx, self.config.ctx_init)))
        self.deep_ctx = drawn_prompts(depth - 1, n_ctx, self.ctx.shape[1])

    def build_image_prompts(self) -> None:
        """Create `image_prompts`, those of image blocks 0, 1, ..."""
        depth, width = self.config.depth_image or self.clip.image.num_blocks, self.clip.image.width
        self.image_prompts = drawn_prompts(depth, self.config.n_ctx_image, width)

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        ids, eot = self.text_tokens(classes)
        prompts = [self.ctx, *self.deep_ctx]
        return prompted_texts(self.clip.text, ids, eot, prompts, self.prompts.shared)

    def image_features(self, x: Tensor) -> Tensor:
        if not self.config.prompts_images:
            return super().image_features(x)
        return prompted_images(self.clip.image, x, self.image_prompts)
