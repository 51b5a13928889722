"""The two towers of CLIP, and CLIP itself; `stages.py` says what their stages are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from harness.clip.ends import Ends
from harness.clip.packing import Packing, pack_texts
from harness.clip.preprocessing import Channels, Preprocessing
from harness.clip.prompts import Prompts, Tokenizer, end_id_of, end_of_text, tokenize
from harness.clip.speedups import Speedups
from harness.clip.stages import END, POOLED, RAW, BlockHook, Stage, Tower
from harness.clip.texts import Text
from harness.clip.tower_parts import OF_TEXT, OF_VIT, TowerPart

if TYPE_CHECKING:
    import open_clip

__all__ = ("CLIP", "END", "POOLED", "RAW", "BlockHook", "ImageTower", "Stage", "TextTower", "Tower")


class ImageTower(Tower):
    """The vision transformer of an open_clip CLIP; its class token is read.

    Attributes:
        parts: what it has of the parts that not every backbone has.
    """

    parts: frozenset[TowerPart] = OF_VIT
    projection_names: ClassVar[tuple[str, ...]] = ("proj",)

    def __init__(self, visual: "open_clip.transformer.VisionTransformer", speedups: Speedups) -> None:
        super().__init__(speedups)
        self.conv1 = visual.conv1
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.ln_pre = visual.ln_pre
        self.transformer = visual.transformer
        self.ln_post = visual.ln_post
        self.proj = visual.proj

    def head_parameters(self) -> list[nn.Parameter]:
        return [*self.ln_post.parameters(), self.proj]

    def bare_matrices(self) -> list[nn.Parameter]:
        return [self.proj]

    @property
    def embed_dim(self) -> int:
        return int(self.proj.shape[1])

    def embed(self, x: Tensor) -> Tensor:
        patches = self.conv1(x.to(self.conv1.weight.dtype)).flatten(2).permute(0, 2, 1)
        class_token = self.class_embedding.to(patches.dtype).expand(len(x), 1, -1)
        tokens = torch.cat([class_token, patches], dim=1) + self.positional_embedding.to(patches.dtype)
        return self.ln_pre(tokens)

    def read_positions(self, x: Tensor, eot: Tensor | None, number: int) -> Tensor:
        return torch.arange(number, device=x.device).expand(len(x), number)

    def pool(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.ln_post(x)
        return pooled

    def project(self, x: Tensor) -> Tensor:
        return x @ self.proj


class TextTower(Tower):
    """The causal text transformer of an open_clip CLIP; its end-of-text token is read.

    Args:
        model: an open_clip `CLIP`, or its text transformer where that is a module of its own.
        speedups: the switches of its CLIP.

    Attributes:
        causal: whether tokens see only those before them, so that what follows end-of-text does not matter.
        first_word: place of the first word in the ids of a text: 1 behind a start of text, 0 without one.
        parts: what it has of the parts that not every backbone has.
    """

    attn_mask: Tensor
    parts: frozenset[TowerPart] = OF_TEXT
    projection_names: ClassVar[tuple[str, ...]] = ("text_projection",)
    causal: bool = True
    first_word: int = 1

    def __init__(self, model: "open_clip.model.CLIP", speedups: Speedups) -> None:
        super().__init__(speedups)
        self.token_embedding = model.token_embedding
        self.positional_embedding = model.positional_embedding
        self.transformer = model.transformer
        self.ln_final = model.ln_final
        self.text_projection = model.text_projection
        self.register_buffer("attn_mask", model.attn_mask, persistent=False)

    def head_parameters(self) -> list[nn.Parameter]:
        return [*self.ln_final.parameters(), self.text_projection]

    def bare_matrices(self) -> list[nn.Parameter]:
        return [self.text_projection]

    @property
    def dtype(self) -> torch.dtype:
        """The type of its tokens and embeddings, outside of autocast."""
        dtype: torch.dtype = self.text_projection.dtype
        return dtype

    @property
    def embed_dim(self) -> int:
        return int(self.text_projection.shape[1])

    def attention_mask(self, length: int) -> Tensor | None:
        if length > len(self.attn_mask):
            # Tokens that a method inserts make texts longer than the context of the positions.
            return torch.full_like(self.attn_mask[:1, :1], float("-inf")).expand(length, length).triu(1)
        return self.attn_mask[:length, :length]

    def add_positions(self, words: Tensor) -> Tensor:
        """Word embeddings (B, T, width) -> tokens at stage 0."""
        return words.to(self.dtype) + self.positional_embedding[: words.shape[1]].to(self.dtype)

    def embed(self, x: Tensor) -> Tensor:
        return self.add_positions(self.token_embedding(x))

    def end_of_text(self, x: Tensor) -> Tensor:
        return end_of_text(x)

    def read_positions(self, x: Tensor, eot: Tensor | None, number: int) -> Tensor:
        if eot is None:
            raise ValueError("a text that starts after RAW needs its end-of-text positions")
        if number != 1:
            raise ValueError(f"of a text only its end-of-text token is read, not {number} tokens")
        return eot[:, None]

    def packing(self, x: Tensor, ends: Ends | None, shared: int, groups: int) -> Packing:
        assert ends is not None
        return pack_texts(x, ends, shared, groups, self.speedups.cut_prompts)

    def pool(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.ln_final(x)
        return pooled

    def project(self, x: Tensor) -> Tensor:
        return x @ self.text_projection


class CLIP(nn.Module):
    """Two towers, the logit scale and perhaps a logit bias, the tokenizer, and the preprocessing of images.

    Args:
        image: the image tower.
        text: the text tower, with the same speed-ups.
        model: the open_clip model that they are of.
        tokenizer: texts -> ids (C, context length).
        name: its name in results.
        preprocessing: of its images.

    Attributes:
        logit_bias: what is added to all logits, as SigLIP's are trained with; None: nothing.
        end_id: id of the tokenizer's end-of-text token; None: it is the highest one of every text.
        notices: what the user should know about its weights, one sentence each.
    """

    def __init__(
        self,
        image: Tower,
        text: TextTower,
        model: "open_clip.model.CLIP",
        tokenizer: Tokenizer,
        name: str,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__()
        self.speedups = image.speedups
        self.image = image
        self.text = text
        self.logit_scale = model.logit_scale
        self.logit_bias: nn.Parameter | None = model.logit_bias
        self.end_id = end_id_of(tokenizer)
        self.name = name
        self.preprocessing = preprocessing
        self.notices: tuple[str, ...] = ()
        self.tokenizer = tokenizer

    @property
    def image_size(self) -> int:
        """Side of its images in pixels."""
        return self.preprocessing.size

    @property
    def mean(self) -> Channels:
        """Mean of the normalisation, per channel, for images scaled to 0..1."""
        return self.preprocessing.mean

    @property
    def std(self) -> Channels:
        """Standard deviation of the normalisation, per channel."""
        return self.preprocessing.std

    @property
    def num_blocks(self) -> int:
        """Number of blocks that both towers have: the last stage from which both can start."""
        return min(self.image.num_blocks, self.text.num_blocks)

    @property
    def is_narrow(self) -> bool:
        """Whether both towers are narrow."""
        return self.image.is_narrow and self.text.is_narrow

    @property
    def embed_dim(self) -> int:
        """E, the size of the embeddings."""
        return self.text.embed_dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.logit_scale.device

    def scale(self, cosine: Tensor) -> Tensor:
        """Logits of cosine similarities, of the same shape: scaled, plus the bias if there is one."""
        logits = self.logit_scale.exp() * cosine
        return logits if self.logit_bias is None else logits + self.logit_bias

    def tokenize(self, texts: Sequence[Text | Sequence[str]]) -> Prompts:
        """Prompts on the device of the weights, cut after the largest end-of-text position unless that is switched off.

        If the text tower is not causal, nothing is cut and nothing is shared.

        Args:
            texts: of each class its prompt, or its prompts, those of a teacher beside them.

        Raises:
            UserError: as `prompts.tokenize`.
        """
        causal = self.text.causal
        prompts = tokenize(texts, self.tokenizer, cut=self.speedups.cut_prompts and causal, end_id=self.end_id)
        return (prompts if self.speedups.share_prefix and causal else prompts.unshared()).to(self.device)
