"""TCP, Textual-based Class-aware Prompt tuning (Yao et al., CVPR 2024, arXiv:2311.18231): prompts know the class."""

from functools import partial

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from harness.clip.context import context_words, initial_context, put_context
from harness.clip.towers import END, RAW, Stage
from methods.base import Method, Official
from methods.kgcoop import text_distance

PHOTO = "a photo of a "
TEACHER_TEMPLATES = {
    "{} texture.": "a photo of a {}, a type of texture.",
    "a photo of {}, a type of food.": "a photo of a {}, a type of food.",
    "a photo of a {}, a type of aircraft.": "a photo of an aircraft {}.",
}
"""Templates of data sets of which the authors have another one."""


class TCP(Method):
    """A small network makes class prompts of the teacher's text of each class; before block `layer` they replace the
    context, which all classes share until there. Loss: cross entropy + weight * the distance of KgCoOp.
    """

    teacher = "zeroshot"
    official = Official(
        trainers=("TCP",),
        # The authors' code has options for the weight and the place of the class name, and does not use them.
        options={"N_CTX": "n_ctx", "CTX_INIT": "ctx_init", "tcp_layer": "layer", "W": "", "CLASS_TOKEN_POSITION": ""},
        tensors={"prompt_learner.": "", "const.teacher_text_features": "teacher_text"},
    )

    class Config(Method.Config):
        n_ctx: int = Field(
            4, ge=1, description="number of context tokens and of class prompts; with ctx_init the number of its words"
        )
        ctx_init: str | None = Field("a photo of a", min_length=1, description="words to start from; null: random")
        layer: int = Field(8, ge=0, description="block of the text tower before which class prompts enter")
        weight: float = Field(8.0, ge=0, description="weight of the distance to the hand-written texts")

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        if config.layer >= num_blocks:
            raise ValueError(
                f"layer={config.layer} is beyond a text tower of {num_blocks} blocks: choose 0 to {num_blocks - 1}"
            )

    @classmethod
    def unused(cls, config: Config) -> dict[str, str]:
        return {"n_ctx": f"the context has the words of ctx_init='{config.ctx_init}'"} if config.ctx_init else {}

    @classmethod
    def prompt_template(cls, config: Config, template: str) -> str:
        """The context takes the places of `a photo of a`, or else of all that is before the class name."""
        rest = template.removeprefix(PHOTO) if template.startswith(PHOTO) else template[max(0, template.find("{}")) :]
        return " ".join(["X"] * len(context_words(config.n_ctx, config.ctx_init)) + [rest])

    @classmethod
    def teacher_template(cls, config: Config, template: str) -> str:
        return TEACHER_TEMPLATES.get(template, template)

    def start_stages(self) -> tuple[Stage, Stage]:
        return END, RAW

    def build(self) -> None:
        self.ctx = nn.Parameter(initial_context(self.clip, self.config.n_ctx, self.config.ctx_init))
        size, hidden = self.clip.embed_dim, max(1, self.clip.embed_dim // 4)
        self.meta_net = nn.ModuleDict(
            {"linear1": nn.Linear(size, hidden), "linear2": nn.Linear(hidden, self.ctx.numel())}
        )

    def class_prompts(self, teacher: Tensor) -> Tensor:
        """The prompts (C, n_ctx, width) of classes, of the teacher's normalised embeddings (C, E)."""
        first, second = self.meta_net["linear1"], self.meta_net["linear2"]
        hidden = first(teacher.to(self.ctx.dtype))
        prompts: Tensor = second(hidden * torch.sigmoid(1.702 * hidden))
        return prompts.unflatten(1, self.ctx.shape)

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        assert self.teacher_text is not None
        ids, eot = self.text_tokens(classes)
        text, layer, shared = self.clip.text, self.config.layer, self.prompts.shared
        teacher = self.teacher_text if classes is None else self.teacher_text[classes]
        put = partial(put_context, first=text.first_word)
        tokens = text.add_positions(put(text.token_embedding(ids), self.ctx))
        tokens = put(text.run(tokens, 0, layer, eot, shared=shared), self.class_prompts(teacher))
        # From here on classes have only the start of text in common.
        return text.run(tokens, layer, END, eot, shared=min(shared, 1))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        assert self.teacher_text is not None
        text = self.text_features()
        distance = text_distance(text, self.teacher_text)
        return F.cross_entropy(self.logits(x, text), labels) + self.config.weight * distance
