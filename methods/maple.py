"""MaPLe, Multi-modal Prompt Learning (Khattak et al., CVPR 2023, arXiv:2210.03117): coupled prompts in both towers."""

import copy

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
from harness.clip.towers import RAW, Stage
from methods.base import Method, Official, check_depth


class MaPLe(Method):
    """New context enters before each of the first `depth` blocks; image prompts are affine maps of the text prompts."""

    official = Official(
        trainers=("MaPLe",),
        options={"N_CTX": "n_ctx", "CTX_INIT": "ctx_init", "PROMPT_DEPTH": "depth"},
        tensors={"prompt_learner.": ""},
    )

    tower_parts = ("transformer for images",)
    stays_fp32 = ("compound_prompts_text.", "compound_prompt_projections.")

    class Config(Method.Config):
        n_ctx: int = Field(2, ge=1, description="number of context tokens")
        ctx_init: str | None = Field(
            "a photo of a", min_length=1, description="words to start from, if n_ctx <= 4; null: random"
        )
        depth: int = Field(9, ge=1, description="number of first blocks of both towers before which prompts enter")

        @model_validator(mode="after")
        def _enough_words(self) -> "MaPLe.Config":
            words = first_words(self.n_ctx, self.ctx_init)
            if words and len(context_words(self.n_ctx, words)) < self.n_ctx:
                raise ValueError(f"maple.ctx_init='{words}' has fewer words than maple.n_ctx={self.n_ctx}: add some")
            return self

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        check_depth(config.depth, num_blocks)

    @classmethod
    def unused(cls, config: Config) -> dict[str, str]:
        return {"ctx_init": f"a context of n_ctx={config.n_ctx} is drawn"} if config.n_ctx > MAX_FIRST_WORDS else {}

    @classmethod
    def prompt_template(cls, config: Config, template: str) -> str:
        return context_template(config.n_ctx, first_words(config.n_ctx, config.ctx_init))

    def start_stages(self) -> tuple[Stage, Stage]:
        return 0, RAW

    def build(self) -> None:
        n_ctx, deep = self.config.n_ctx, self.config.depth - 1
        self.ctx = nn.Parameter(initial_context(self.clip, n_ctx, first_words(n_ctx, self.config.ctx_init)))
        text_width, image_width = self.ctx.shape[1], self.clip.image.width
        self.proj = nn.Linear(text_width, image_width)
        self.compound_prompts_text = drawn_prompts(deep, n_ctx, text_width)
        single = nn.Linear(text_width, image_width)
        self.compound_prompt_projections = nn.ModuleList(copy.deepcopy(single) for _ in range(deep))

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        ids, eot = self.text_tokens(classes)
        prompts = [self.ctx, *self.compound_prompts_text]
        return prompted_texts(self.clip.text, ids, eot, prompts, self.prompts.shared)

    def image_features(self, x: Tensor) -> Tensor:
        prompts = [self.ctx, *self.compound_prompts_text]
        projections = [self.proj, *self.compound_prompt_projections]
        return prompted_images(self.clip.image, x, map(nn.Module.__call__, projections, prompts))
