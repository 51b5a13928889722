"""CoCoOp (Zhou et al., CVPR 2022, arXiv:2203.05557): learned context to which every image adds a vector of its own."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from harness.clip.context import context_template, context_words, initial_context, put_context
from harness.clip.towers import END, RAW, Stage
from methods.base import Method, Official


class CoCoOp(Method):
    """Adds a small network's output for the image to every context vector, so that texts depend on the image."""

    official = Official(
        trainers=("CoCoOp",), options={"N_CTX": "n_ctx", "CTX_INIT": "ctx_init"}, tensors={"prompt_learner.": ""}
    )

    class Config(Method.Config):
        n_ctx: int = Field(4, ge=1, description="number of context tokens; with ctx_init the number of its words")
        ctx_init: str | None = Field("a photo of a", min_length=1, description="words to start from; null: random")

    config: Config

    @classmethod
    def unused(cls, config: Config) -> dict[str, str]:
        return {"n_ctx": f"the context has the words of ctx_init='{config.ctx_init}'"} if config.ctx_init else {}

    @classmethod
    def prompt_template(cls, config: Config, template: str) -> str:
        return context_template(config.n_ctx, config.ctx_init)

    def start_stages(self) -> tuple[Stage, Stage]:
        return END, RAW

    def build(self) -> None:
        n_ctx = len(context_words(self.config.n_ctx, self.config.ctx_init))
        self.ctx = nn.Parameter(initial_context(self.clip, n_ctx, self.config.ctx_init))
        size, width = self.clip.embed_dim, self.ctx.shape[1]
        hidden = max(1, size // 16)
        layers = {"linear1": nn.Linear(size, hidden), "relu": nn.ReLU(), "linear2": nn.Linear(hidden, width)}
        self.meta_net = nn.Sequential(OrderedDict(layers))

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        """Word embeddings (C, T, width), the part of the texts that does not depend on the image."""
        ids, _ = self.text_tokens(classes)
        return self.clip.text.token_embedding(ids)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        image = F.normalize(self.image_features(x), dim=-1)
        chunk = max(1, self.clip.speedups.prompts_at_once // len(text))
        return torch.cat([self.logits_of_chunk(part, text) for part in image.split(chunk)])

    def logits_of_chunk(self, image: Tensor, words: Tensor) -> Tensor:
        """Logits (b, C) of some images; all pairs of image and class go through the text tower in one pass.

        Args:
            image: normalised embeddings (b, E).
            words: what `text_features` returned.
        """
        ctx = self.ctx + self.meta_net(image)[:, None]
        pairs = put_context(words.expand(len(image), *words.shape), ctx[:, None], self.clip.text.first_word)
        eot = self.text_ends.repeated(len(image))
        tokens = self.clip.text.add_positions(pairs.flatten(0, 1))
        text = self.clip.text.run(tokens, 0, END, eot, shared=self.prompts.shared, groups=len(image))
        return self.similarity_logits(image, text.view(len(image), len(words), -1))
