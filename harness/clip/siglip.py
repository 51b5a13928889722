"""The towers of SigLIP and SigLIP 2.

SigLIP: Zhai et al., ICCV 2023, arXiv:2303.15343. SigLIP 2: Tschannen et al., 2025, arXiv:2502.14786.

The image tower has no class token: attention with a learned query pools all tokens, and nothing projects what it gives.
In the text tower every token sees every other, padding included, and the last place of the context is read. So texts
have their whole length in every block: nothing may be left out after end-of-text, and leading tokens that texts share
are not the same after the first block.

The blocks of timm's image tower become blocks of open_clip, which hold the same parameters. So whatever is written for
the blocks of CLIP holds for these: the speed-ups, and what methods compute beside layers.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.clip.blocks import merge_heads
from harness.clip.ends import Ends
from harness.clip.network import LayerNorm, ResidualAttentionBlock
from harness.clip.packing import Packing
from harness.clip.speedups import Speedups
from harness.clip.stages import Change, Tower
from harness.clip.tower_parts import OF_SIGLIP, TowerPart
from harness.clip.towers import ImageTower, TextTower

if TYPE_CHECKING:
    import open_clip

# timm's own classes of activations -> how torch's GELU computes the same.
ACTIVATIONS = {"GELU": "none", "GELUTanh": "tanh"}


class PooledImageTower(ImageTower):
    """A vision transformer of timm in an open_clip model, whose tokens are pooled by attention.

    Its stage POOLED is what the pooling gives (B, width), and END is the same: there is no projection.

    Args:
        visual: with a `trunk` of timm that pools by attention (`map`).
        speedups: the switches of its CLIP.

    Attributes:
        prefix: number of tokens before the patches; they are not pooled.
    """

    parts: frozenset[TowerPart] = OF_SIGLIP

    def __init__(self, visual: "open_clip.timm_model.TimmModel", speedups: Speedups) -> None:
        Tower.__init__(self, speedups)
        trunk = visual.trunk
        self.conv1 = trunk.patch_embed.proj
        self.prefix = int(trunk.num_prefix_tokens)
        if self.prefix:
            self.class_embedding = nn.Parameter(trunk.cls_token.detach()[0, 0])
        self.positional_embedding = nn.Parameter(trunk.pos_embed.detach()[0])
        self.ln_pre = nn.Identity()
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(map(block_of_open_clip, trunk.blocks))
        self.ln_post = norm_of_open_clip(trunk.norm)
        self.attn_pool = trunk.attn_pool

    @property
    def embed_dim(self) -> int:
        return self.width

    def head_parameters(self) -> list[nn.Parameter]:
        return [*self.ln_post.parameters(), *self.attn_pool.parameters()]

    def bare_matrices(self) -> list[nn.Parameter]:
        return [self.attn_pool.latent]

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.conv1(x.to(self.conv1.weight.dtype)).flatten(2).permute(0, 2, 1)
        if self.prefix:
            class_token = self.class_embedding.to(tokens.dtype).expand(len(x), 1, -1)
            tokens = torch.cat([class_token, tokens], dim=1)
        return tokens + self.positional_embedding.to(tokens.dtype)

    def _run_to_read(
        self, x: Tensor, first: int, ends: Ends | None, change: Change, shared: int, groups: int, num_read: int
    ) -> Tensor:
        """All tokens that enter block `first` -> all tokens (B, T, width) after the last block, which are pooled."""
        if num_read != 1:
            raise ValueError(f"the tokens of this image tower are pooled: {num_read} of them cannot be read")
        if not self._can_pack():
            return self._run_whole(x, first, self.num_blocks, change)
        rows = Packing(*x.shape[:2])
        return rows.unpack(self._run_packed(rows.pack(x), first, self.num_blocks, rows, change, None))

    def pool(self, x: Tensor) -> Tensor:
        """All tokens (B, T, width) after the last block -> (B, 1, width)."""
        x, pooling = self.ln_post(x)[:, self.prefix :], self.attn_pool
        # The query is the same for all images.
        query = F.linear(pooling.latent, pooling.q.weight, pooling.q.bias)
        query = query.unflatten(2, (pooling.num_heads, -1)).transpose(1, 2).expand(len(x), -1, -1, -1)
        key, value = pooling.kv(x).unflatten(2, (2, pooling.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = pooling.proj(merge_heads(F.scaled_dot_product_attention(query, key, value)))
        pooled: Tensor = mixed + pooling.mlp(pooling.norm(mixed))
        return pooled

    def project(self, x: Tensor) -> Tensor:
        return x


class BidirectionalTextTower(TextTower):
    """A text transformer without causal mask, of which the last place of the context is read, whatever is there."""

    causal = False
    first_word = 0
    parts: frozenset[TowerPart] = frozenset()

    @property
    def dtype(self) -> torch.dtype:
        block: Any = self.blocks[-1]
        dtype: torch.dtype = block.attn.out_proj.weight.dtype
        return dtype

    @property
    def embed_dim(self) -> int:
        projection = self.text_projection
        return projection.out_features if isinstance(projection, nn.Linear) else self.width

    def head_parameters(self) -> list[nn.Parameter]:
        projection = self.text_projection.parameters() if isinstance(self.text_projection, nn.Linear) else ()
        return [*self.ln_final.parameters(), *projection]

    def bare_matrices(self) -> list[nn.Parameter]:
        return []

    def attention_mask(self, length: int) -> Tensor | None:
        return None

    def end_of_text(self, x: Tensor) -> Tensor:
        """The last place of each row of ids (B, T): no other is read."""
        return torch.full((len(x),), x.shape[1] - 1, device=x.device)

    def read_positions(self, x: Tensor, eot: Tensor | None, number: int) -> Tensor:
        if number != 1:
            raise ValueError(f"of a text only the last token is read, not {number} tokens")
        return torch.full((len(x), 1), x.shape[1] - 1, device=x.device)

    def packing(self, x: Tensor, ends: Ends | None, shared: int, groups: int) -> Packing:
        """All tokens of all rows: each sees every other."""
        return Packing(*x.shape[:2])

    def project(self, x: Tensor) -> Tensor:
        if self.text_projection is None:
            return x
        projected: Tensor = self.text_projection(x)
        return projected


def block_of_open_clip(block: Any) -> nn.Module:
    """A residual attention block as open_clip has them, with the parameters of one of timm."""
    attention, mlp = block.attn, block.mlp
    gelu = mlp.act if isinstance(mlp.act, nn.GELU) else nn.GELU(ACTIVATIONS[type(mlp.act).__name__])
    with torch.device("meta"):  # only the modules are wanted
        ours = ResidualAttentionBlock(attention.proj.in_features, attention.num_heads)
    ours.ln_1, ours.ln_2 = norm_of_open_clip(block.norm1), norm_of_open_clip(block.norm2)
    ours.attn.in_proj_weight, ours.attn.in_proj_bias = attention.qkv.weight, attention.qkv.bias
    ours.attn.out_proj.weight, ours.attn.out_proj.bias = attention.proj.weight, attention.proj.bias
    ours.mlp.c_fc, ours.mlp.gelu, ours.mlp.c_proj = mlp.fc1, gelu, mlp.fc2
    return ours


def norm_of_open_clip(norm: nn.LayerNorm) -> nn.Module:
    """open_clip's LayerNorm, which keeps the type of its input under autocast, with the parameters of another."""
    with torch.device("meta"):
        ours = LayerNorm(list(norm.normalized_shape), eps=norm.eps)
    ours.weight, ours.bias = norm.weight, norm.bias
    return ours
