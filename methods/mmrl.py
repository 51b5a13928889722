"""MMRL, Multi-Modal Representation Learning (Guo & Gu, CVPR 2025, arXiv:2503.08497): tokens that both towers share."""

import copy

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from harness.clip.context import CONTEXT_STD, put_context
from harness.clip.digits import at_least_float32
from harness.clip.towers import END, POOLED, BlockHook, Stage
from methods.base import Method, Official, check_depth


class MMRL(Method):
    """Representation tokens enter behind the first token of both towers before each of some late blocks.

    They are affine maps of one small matrix. Images have two embeddings: of the class token, by CLIP's projection, and
    of the mean representation token, by one that is learned. loss = alpha CE(first) + (1 - alpha) CE(second) +
    reg_weight (2 - cos(first, CLIP's) - cos(text, CLIP's)). On other classes than those of training the first counts.
    """

    teacher = "zeroshot"
    frozen_view = "same"
    stays_fp32 = ("compound_rep_tokens", "proj_rep")
    tower_parts = ("class token", "image projection")
    official = Official(
        trainers=("MMRL",),
        options={name: name.lower() for name in ("REP_LAYERS", "N_REP_TOKENS", "REP_DIM", "ALPHA", "REG_WEIGHT")},
        tensors={"representation_learner.": "", "image_encoder.proj_rep": "proj_rep"}
        | {"const.teacher_text_features": "teacher_text"},
        of_images={"eval_logits_class": "both_logits.0", "eval_logits_rep": "both_logits.1"}
        | {"train_logits_rep_b": "both_logits.1", "eval_logits_new_fusion": "mixed_logits"},
    )

    class Config(Method.Config):
        rep_layers: tuple[int, ...] | None = Field(
            None, min_length=1, description="blocks that tokens enter, from 1, ascending; null: from the N/2-th of N on"
        )
        n_rep_tokens: int = Field(5, ge=1, description="number of representation tokens")
        rep_dim: int = Field(512, ge=1, description="size of the vectors that both towers' tokens are maps of")
        alpha: float = Field(0.7, ge=0, le=1, description="share of the class token in loss and mixed logits")
        reg_weight: float = Field(0.5, ge=0, description="weight of the distance to the untouched CLIP (lambda)")
        mixes: bool = Field(True, description="mix the two logits on classes of the training; false: the class token's")

    config: Config

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        layers = list(config.rep_layers or [1])
        if layers[0] < 1 or layers != sorted(set(layers)):
            raise ValueError(f"rep_layers={layers} must ascend, from 1 at least")
        check_depth(layers[-1], num_blocks, "rep_layers")

    def start_stages(self) -> tuple[Stage, Stage]:
        blocks = self.clip.num_blocks
        self.layers = self.config.rep_layers or tuple(range(max(1, blocks // 2), blocks + 1))
        return self.layers[0] - 1, self.layers[0] - 1

    def build(self) -> None:
        size, layers = self.config.rep_dim, len(self.layers)
        image_width, text_width, embed_dim = self.clip.image.width, self.clip.text.width, self.clip.embed_dim
        self.compound_rep_tokens = nn.Parameter(torch.randn(self.config.n_rep_tokens, size) * CONTEXT_STD)
        to_image, to_text = nn.Linear(size, image_width), nn.Linear(size, text_width)
        self.compound_rep_tokens_r2vproj = nn.ModuleList(copy.deepcopy(to_image) for _ in range(layers))
        self.compound_rep_tokens_r2tproj = nn.ModuleList(copy.deepcopy(to_text) for _ in range(layers))
        self.proj_rep = nn.Parameter(torch.randn(image_width, embed_dim) * image_width**-0.5)

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        (x, eot), number = self.text_tokens(classes), self.config.n_rep_tokens
        x, replace = self._insert(x, self.compound_rep_tokens_r2tproj)
        shared = self.prompts.shared and self.prompts.shared + number
        return self.clip.text.run(x, self.text_start, END, eot.moved(number), before_block=replace, shared=shared)

    def _insert(self, x: Tensor, maps: nn.ModuleList) -> tuple[Tensor, BlockHook]:
        """Tokens (B, T, width) with those of the first layer among them, and the hook that replaces these later on."""
        first, *later = maps
        inserted = first(self.compound_rep_tokens).to(x.dtype).expand(len(x), -1, -1)
        map_of = dict(zip(self.layers[1:], later, strict=True))

        def replace(block: int, x: Tensor) -> Tensor:
            layer = map_of.get(block + 1)
            return x if layer is None else put_context(x, layer(self.compound_rep_tokens))

        return torch.cat([x[:, :1], inserted, x[:, 1:]], dim=1), replace

    def both_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (B, E) of the class token and of the mean representation token, of images at `image_start`."""
        x, replace = self._insert(x, self.compound_rep_tokens_r2vproj)
        read = 1 + self.config.n_rep_tokens
        pooled = self.clip.image.run(x, self.image_start, POOLED, before_block=replace, num_read=read)
        mean = pooled[:, 1:].mean(dim=1).to(self.proj_rep.dtype)
        return self.clip.image.project(pooled[:, 0]), (mean @ self.proj_rep).to(pooled.dtype)

    def both_logits(self, x: Tensor, text: Tensor) -> Tensor:
        """Logits (2, B, C): of the class token, and of the representation tokens."""
        return torch.stack([self.similarity_logits(image, text) for image in self.both_features(x)])

    def mix(self, both: list[Tensor] | Tensor) -> Tensor:
        """Two losses or logits in the proportion of `alpha`."""
        return self.config.alpha * both[0] + (1 - self.config.alpha) * both[1]

    def mixed_logits(self, x: Tensor, text: Tensor) -> Tensor:
        return self.mix(self.both_logits(x, text))

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        known = self.config.mixes and set(self.prompts.texts) <= set(self.training_texts)
        return self.mixed_logits(x, text) if known else self.both_logits(x, text)[0]

    def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.both_logits(x, self.text_features())[0], labels

    def loss_beside_frozen(self, x: Tensor, labels: Tensor, frozen: Tensor) -> Tensor:
        assert self.teacher_text is not None
        text, images = self.text_features(), self.both_features(x)
        losses = [F.cross_entropy(self.similarity_logits(image, text), labels) for image in images]
        pairs = (images[0], frozen), (text, self.teacher_text)
        cosines = [F.cosine_similarity(at_least_float32(ours), at_least_float32(theirs)) for ours, theirs in pairs]
        return self.mix(losses) + self.config.reg_weight * sum(1 - of_pair.mean() for of_pair in cosines)
