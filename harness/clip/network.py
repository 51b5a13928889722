"""The parameters of a CLIP with a ViT, under open_clip's names and with its initial values.

open_clip's own classes give the same. But importing them imports torchvision, timm and torch's compiler, which takes
longer than importing torch. `tests/harness/clip/test_network.py` compares both bit for bit. What the parameters are for
says `towers.py`; only blocks and layers compute something here.

On the device `meta`, where tensors have shapes alone, nothing is drawn: there torch would import its compiler to do so.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.clip.configuration import ModelConfiguration, TextConfiguration, TowerConfiguration, VisionConfiguration

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)


class LayerNorm(nn.LayerNorm):
    """A LayerNorm whose output has the type of its input, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).to(x.dtype)


class LayerNormFp32(nn.LayerNorm):
    """A LayerNorm that computes in float32, whatever the type of its input and output."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps).to(x.dtype)


class QuickGELU(nn.Module):
    """OpenAI's activation."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class LayerScale(nn.Module):
    """Multiplies each channel by a number.

    Args:
        width: number of channels.
        initial: of all numbers.
    """

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class ResidualAttentionBlock(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and beside an identity.

    Args:
        width: of its tokens.
        heads: of the attention.
        mlp_ratio: width of the perceptron's hidden layer, in widths of the tokens.
        layer_scale: initial value of its LayerScales; None: there are none.
        make_norm: width -> LayerNorm.
        make_activation: of the perceptron.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = None,
        make_norm: Callable[[int], nn.Module] = LayerNorm,
        make_activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()

        def make_scale() -> nn.Module:
            return nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)

        hidden = int(width * mlp_ratio)
        self.ln_1 = make_norm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls_1 = make_scale()
        self.ln_2 = make_norm(width)
        layers: list[tuple[str, nn.Module]] = [
            ("c_fc", nn.Linear(width, hidden)),
            ("gelu", make_activation()),
            ("c_proj", nn.Linear(hidden, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ls_2 = make_scale()

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """The output (B, T, width) for tokens (B, T, width), with an additive mask (T, T)."""
        mask = None if attn_mask is None else attn_mask.to(x.dtype)
        normed = self.ln_1(x)
        x = x + self.ls_1(self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0])
        return x + self.ls_2(self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    """The blocks of a tower.

    Args:
        config: of the tower.
        layers: number of its blocks.
        heads: of their attention.
        quick_gelu: whether their activation is QuickGELU.
    """

    def __init__(self, config: TowerConfiguration, layers: int, heads: int, quick_gelu: bool) -> None:
        super().__init__()
        options = config.act_kwargs.model_dump(exclude_unset=True) if config.act_kwargs else {}
        activation: Callable[..., nn.Module] = partial(QuickGELU if quick_gelu else nn.GELU, **options)
        self.resblocks = nn.ModuleList(
            ResidualAttentionBlock(
                config.width, heads, config.mlp_ratio, config.ls_init_value, norms_of(config), activation
            )
            for _ in range(layers)
        )

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """The output of the last block for tokens (B, T, width), with an additive mask (T, T)."""
        for block in self.resblocks:
            x = block(x, attn_mask=attn_mask)
        return x


def drawn(scale: float, *shape: int) -> Tensor:
    """Normally distributed numbers of a scale."""
    numbers = torch.empty(shape)
    return numbers if numbers.is_meta else scale * torch.randn(shape)


def embedding(tokens: int, width: int) -> nn.Embedding:
    """An embedding of tokens with torch's initial values."""
    weight = torch.empty(tokens, width)
    return nn.Embedding.from_pretrained(weight, freeze=False) if weight.is_meta else nn.Embedding(tokens, width)


def norms_of(config: TowerConfiguration) -> Callable[[int], nn.Module]:
    """What makes the LayerNorms of a tower."""
    return partial(LayerNorm, **(config.norm_kwargs.model_dump(exclude_unset=True) if config.norm_kwargs else {}))


class VisionTransformer(nn.Module):
    """The parameters of an image tower.

    Args:
        config: of the tower; its images are square, and its positions are learned.
        embed_dim: E, the size of the embeddings.
        quick_gelu: as in `Transformer`.
    """

    def __init__(self, config: VisionConfiguration, embed_dim: int, quick_gelu: bool) -> None:
        super().__init__()
        assert isinstance(config.layers, int)
        assert config.patch_size
        assert config.side
        width, scale = config.width, config.width**-0.5
        self.image_size = config.side
        self.conv1 = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(drawn(scale, width))
        patches = (config.side // config.patch_size) ** 2
        self.positional_embedding = nn.Parameter(drawn(scale, patches + 1, width))
        make_norm = norms_of(config)
        self.ln_pre = nn.Identity() if config.no_ln_pre else make_norm(width)
        self.transformer = Transformer(config, config.layers, width // config.head_width, quick_gelu)
        self.ln_post = make_norm(width)
        self.proj = nn.Parameter(drawn(scale, width, embed_dim))


class Network(nn.Module):
    """The parameters of a CLIP with a ViT and a causal text tower.

    Args:
        config: one that `is_plain`.
    """

    attn_mask: Tensor

    def __init__(self, config: ModelConfiguration) -> None:
        super().__init__()
        text = config.text_cfg
        self.visual = VisionTransformer(config.vision_cfg, config.embed_dim, config.quick_gelu)
        self.token_embedding = embedding(text.vocab_size, text.width)
        self.positional_embedding = nn.Parameter(torch.empty(text.context_length, text.width))
        self.transformer = Transformer(text, text.layers, text.heads, config.quick_gelu)
        self.ln_final = norms_of(text)(text.width)
        mask = torch.full((text.context_length, text.context_length), float("-inf"))
        self.register_buffer("attn_mask", mask if mask.is_meta else mask.triu_(1), persistent=False)
        self.text_projection = nn.Parameter(torch.empty(text.width, config.embed_dim))
        if not self.text_projection.is_meta:
            self.draw_texts(text)
        self.logit_scale = nn.Parameter(torch.full((), INITIAL_LOGIT_SCALE))
        self.logit_bias = None

    def draw_texts(self, text: TextConfiguration) -> None:
        """Draw the initial values of the text tower, in open_clip's order."""
        wide = text.width**-0.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        deep = wide * (2 * text.layers) ** -0.5
        for block in self.transformer.resblocks:
            assert isinstance(block, ResidualAttentionBlock)
            nn.init.normal_(block.attn.in_proj_weight, std=wide)
            nn.init.normal_(block.attn.out_proj.weight, std=deep)
            for name, std in (("c_fc", (2 * text.width) ** -0.5), ("c_proj", deep)):
                nn.init.normal_(block.mlp.get_submodule(name).get_parameter("weight"), std=std)
        nn.init.normal_(self.text_projection, std=wide)


def is_plain(config: ModelConfiguration) -> bool:
    """Whether a supported configuration is of a CLIP with a ViT, all of whose parts are here."""
    vision = config.vision_cfg
    others = (config.custom_text, config.unsupported, vision.is_resnet, vision.pos_embed_type != "learnable")
    return not any(others)
