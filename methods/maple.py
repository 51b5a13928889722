"""MaPLe, Multi-modal Prompt Learning (Khattak et al., CVPR 2023, arXiv:2210.03117): coupled prompts in both towers."""

import copy

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from harness.clip.context import CONTEXT_STD, context_template, context_words, initial_context, put_context
from harness.clip.towers import END, RAW, Stage
from methods.base import Method, Official, check_depth

# With more context tokens than this the context starts random: the authors' words are "a photo of a".
MAX_WORDS = 4


class MaPLe(Method):
    """New context enters before each of the first `depth` blocks; image prompts are affine maps of the text prompts."""

    official = Official(
        trainers=("MaPLe",),
        options={"N_CTX": "n_ctx", "CTX_INIT": "ctx_init", "PROMPT_DEPTH": "depth"},
        tensors={"prompt_learner.": ""},
    )

    stays_fp32 = ("compound_prompts_text.", "compound_prompt_projections.")

    class Config(Method.Config):
        n_ctx: int = Field(2, ge=1, description="number of context tokens")
        ctx_init: str | None = Field(
            "a photo of a", min_length=1, description="words to start from, if n_ctx <= 4; null: random"
        )
        depth: int = Field(9, ge=1, description="number of first blocks of both towers before which prompts enter")

        @model_validator(mode="after")
        def _enough_words(self) -> "MaPLe.Config":
            words = MaPLe.words(self)
            if words and len(context_words(self.n_ctx, words)) < self.n_ctx:
                raise ValueError(f"maple.ctx_init='{words}' has fewer words than maple.n_ctx={self.n_ctx}: add some")
            return self

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        check_depth(config.depth, num_blocks)

    @classmethod
    def words(cls, config: Config) -> str | None:
        """The words to start from; None if the context starts random."""
        return config.ctx_init if config.n_ctx <= MAX_WORDS else None

    @classmethod
    def unused(cls, config: Config) -> dict[str, str]:
        return {"ctx_init": f"a context of n_ctx={config.n_ctx} is drawn"} if config.n_ctx > MAX_WORDS else {}

    @classmethod
    def prompt_template(cls, config: Config, template: str) -> str:
        return context_template(config.n_ctx, cls.words(config))

    def start_stages(self) -> tuple[Stage, Stage]:
        return 0, RAW

    def build(self) -> None:
        n_ctx, deep = self.config.n_ctx, self.config.depth - 1
        self.ctx = nn.Parameter(initial_context(self.clip, n_ctx, self.words(self.config)))
        text_width, image_width = self.ctx.shape[1], self.clip.image.class_embedding.shape[0]
        self.proj = nn.Linear(text_width, image_width)
        drawn = [nn.Parameter(torch.randn(n_ctx, text_width) * CONTEXT_STD) for _ in range(deep)]
        self.compound_prompts_text = nn.ParameterList(drawn)
        single = nn.Linear(text_width, image_width)
        self.compound_prompt_projections = nn.ModuleList(copy.deepcopy(single) for _ in range(deep))

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        ids, eot = self.text_tokens(classes)
        words = put_context(self.clip.text.token_embedding(ids), self.ctx)

        def prompt_block(block: int, x: Tensor) -> Tensor:
            return put_context(x, self.compound_prompts_text[block - 1]) if 0 < block < self.config.depth else x

        tokens = self.clip.text.add_positions(words)
        return self.clip.text.run(tokens, 0, END, eot, before_block=prompt_block, shared=self.prompts.shared)

    def image_features(self, x: Tensor) -> Tensor:
        # LayerNorm acts on each token, so that prompts do not change the patches at stage 0.
        prompts = self.clip.image.ln_pre(self.proj(self.ctx))
        x = torch.cat([x, prompts.expand(len(x), -1, -1)], dim=1)

        def prompt_block(block: int, x: Tensor) -> Tensor:
            if not 0 < block < self.config.depth:
                return x
            deep = self.compound_prompt_projections[block - 1](self.compound_prompts_text[block - 1])
            return torch.cat([x[:, : -len(deep)], deep.to(x.dtype).expand(len(x), -1, -1)], dim=1)

        return self.clip.image.run(x, 0, END, before_block=prompt_block)
