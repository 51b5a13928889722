"""KgCoOp (Yao et al., CVPR 2023, arXiv:2303.13283): CoOp whose texts stay near those of hand-written prompts."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from methods.base import Official
from methods.coop import CoOp

TEACHER_TEMPLATES = {"{} texture.": "a photo of a {}, a type of texture."}
"""Templates of data sets of which the authors have another one."""


class KgCoOp(CoOp):
    """Cross entropy + weight * (1 - mean over classes of the cosine similarity of learned and hand-written texts)."""

    teacher = "zeroshot"
    official = Official(
        trainers=("KgCoOp",),
        # The authors' code has the place of the class name as an option, and does not read it.
        options={"N_CTX": "n_ctx", "CTX_INIT": "ctx_init", "CSC": "class_specific", "W": "weight"}
        | {"CLASS_TOKEN_POSITION": ""},
        tensors={"prompt_learner.": "", "const.teacher_text_features": "teacher_text"},
    )

    class Config(CoOp.Config):
        n_ctx: int = Field(4, ge=1, description="number of context tokens; with ctx_init the number of its words")
        ctx_init: str | None = Field(
            "a photo of a", min_length=1, description="words to start from, such as 'a photo of a'; null: random"
        )
        weight: float = Field(
            1.5, ge=0, description="weight of the distance to the hand-written texts (lambda); 8 in the paper"
        )

    config: Config

    @classmethod
    def teacher_template(cls, config: Config, template: str) -> str:
        return TEACHER_TEMPLATES.get(template, template)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        text = self.text_features()
        return F.cross_entropy(self.logits(x, text), labels) + self.config.weight * self.distance(text)

    def distance(self, text: Tensor) -> Tensor:
        """One minus the mean cosine similarity of text embeddings (C, E) and the teacher's, in float32 at least."""
        assert self.teacher_text is not None
        return text_distance(text, self.teacher_text)


def text_distance(text: Tensor, teacher: Tensor) -> Tensor:
    """One minus the mean cosine similarity of embeddings (C, E) and a teacher's (C, E), in float32 at least."""
    dtype = torch.promote_types(text.dtype, torch.float32)
    return 1 - F.cosine_similarity(text.to(dtype), teacher.to(dtype), dim=-1).mean()
