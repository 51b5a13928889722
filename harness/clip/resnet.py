"""The image tower of OpenAI's ResNets (Radford et al., 2021, arXiv:2103.00020, section 2.4) as a row of stages.

    pixels ──stem──▶ 0 ──bottleneck──▶ 1 … ──bottleneck──▶ N ──attention pool──▶ POOLED ──c_proj──▶ END

At stages 0..N are feature maps (B, channels, H, W), at POOLED what the attention pool mixes from the last ones, before
its output projection. A block is a bottleneck, the residual block of a ResNet, as one of attention is that of a
transformer: RN50 has 16, and its layers 1 to 4 end at the stages 3, 7, 13 and 16 (`layer_ends`).

Batch normalisation is frozen: its statistics are those of the weights, whatever the mode of the module, and its scales
and shifts never train. The few images of a batch would make poor statistics, and an affine map that is fixed keeps
nothing for the backward pass.
"""

from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.clip.ends import Ends
from harness.clip.speedups import Speedups
from harness.clip.stages import Change, Stage, Tower
from harness.clip.tower_parts import OF_RESNET, TowerPart
from harness.errors import UserError

if TYPE_CHECKING:
    from open_clip.modified_resnet import AttentionPool2d, Bottleneck, ModifiedResNet


class ResNetTower(Tower):
    """The ResNet of an open_clip CLIP; its attention pool reads the mean of the last feature maps.

    Args:
        visual: open_clip's; parameters keep its names, which are those of OpenAI's CLIP.
        speedups: the switches of its CLIP.
    """

    parts: frozenset[TowerPart] = OF_RESNET
    projection_names: ClassVar[tuple[str, ...]] = ("attnpool.c_proj.weight", "attnpool.c_proj.bias")

    def __init__(self, visual: "ModifiedResNet", speedups: Speedups) -> None:
        super().__init__(speedups)
        self.conv1, self.bn1 = visual.conv1, visual.bn1
        self.conv2, self.bn2 = visual.conv2, visual.bn2
        self.conv3, self.bn3 = visual.conv3, visual.bn3
        self.layer1 = visual.layer1
        self.layer2 = visual.layer2
        self.layer3 = visual.layer3
        self.layer4 = visual.layer4
        self.attnpool = visual.attnpool

    @property
    def layers(self) -> tuple[nn.Sequential, ...]:
        """The four layers, each of bottlenecks whose feature maps have one size."""
        return (self.layer1, self.layer2, self.layer3, self.layer4)

    @property
    def blocks(self) -> nn.ModuleList:
        """The N bottlenecks of all layers."""
        return nn.ModuleList(block for layer in self.layers for block in layer)

    @property
    def num_blocks(self) -> int:
        return sum(map(len, self.layers))

    @property
    def layer_ends(self) -> tuple[int, ...]:
        """The stages at which the layers end; the last is N."""
        return tuple(accumulate(map(len, self.layers)))

    @property
    def width(self) -> int:
        """Size of the vectors at POOLED."""
        return int(self.attnpool.c_proj.in_features)

    @property
    def embed_dim(self) -> int:
        return int(self.attnpool.c_proj.out_features)

    def bare_matrices(self) -> list[nn.Parameter]:
        return []

    def head_parameters(self) -> list[nn.Parameter]:
        # The position embedding is frozen, as those of transformers are.
        pool = self.attnpool
        return [p for part in (pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj) for p in part.parameters()]

    def parameters_from(self, start: Stage) -> list[nn.Parameter]:
        """Parameters of convolutions of the bottlenecks from `start` on, and of the attention pool's projections."""
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        frozen = {id(parameter) for norm in norms for parameter in norm.parameters()}
        return [parameter for parameter in super().parameters_from(start) if id(parameter) not in frozen]

    def embed(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> feature maps at stage 0, (B, channels, H / 4, W / 4)."""
        x = x.to(self.conv1.weight.dtype)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu_(convolve_and_normalise(conv, norm, x, self.speedups.recompute_cheap))
        return F.avg_pool2d(x, 2)

    def pool(self, x: Tensor) -> Tensor:
        """The last feature maps (B, channels, H, W) -> what the attention pool mixes from them (B, 1, width)."""
        return pool_by_attention(self.attnpool, x, self.speedups.read_one_token)

    def project(self, x: Tensor) -> Tensor:
        weight, bias = self.attnpool.c_proj.weight, self.attnpool.c_proj.bias
        # A method may train the matrix in float32 where everything else is in float16.
        return F.linear(x, weight, bias.to(weight.dtype))

    def _run_whole(self, x: Tensor, first: int, stop: int, change: Change) -> Tensor:
        if change.before_block or change.beside:
            raise UserError(NO_TOKENS)
        for block in list(self.blocks)[first:stop]:
            x = run_bottleneck(block, x, self.speedups.recompute_cheap)
        return x

    def _run_to_read(
        self, x: Tensor, first: int, ends: Ends | None, change: Change, shared: int, groups: int, num_read: int
    ) -> Tensor:
        if num_read != 1:
            raise UserError(NO_TOKENS)
        return self._run_whole(x, first, self.num_blocks, change)


NO_TOKENS = (
    "the image tower of this backbone is a ResNet, whose feature maps have no tokens: use a backbone with a ViT, or a "
    "method that leaves the blocks of the image tower as they are"
)


def run_bottleneck(block: "Bottleneck", x: Tensor, keep_less: bool) -> Tensor:
    """Output of a bottleneck, (B, channels out, H / stride, W / stride), for feature maps (B, channels in, H, W).

    Args:
        block: open_clip's.
        x: its input.
        keep_less: as of `convolve_and_normalise`.
    """
    out = F.relu_(convolve_and_normalise(block.conv1, block.bn1, x, keep_less))
    out = F.relu_(convolve_and_normalise(block.conv2, block.bn2, out, keep_less))
    out = convolve_and_normalise(block.conv3, block.bn3, pool_evenly(out, block.stride), keep_less)
    if block.downsample is not None:
        _, conv, norm = block.downsample
        x = convolve_and_normalise(conv, norm, pool_evenly(x, block.stride), keep_less)
    return F.relu_(out.add_(x))


def pool_evenly(x: Tensor, stride: int) -> Tensor:
    """Means over squares of `stride` x `stride` places of feature maps, against aliasing."""
    return F.avg_pool2d(x, stride) if stride > 1 else x


def convolve_and_normalise(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, keep_less: bool) -> Tensor:
    """A convolution and the frozen batch normalisation of what it gives, which is a fixed scale and shift per channel.

    Args:
        conv: without bias.
        norm: frozen.
        x: feature maps (B, channels in, H, W).
        keep_less: apply scale and shift to the weights of a frozen convolution, and to the output of one that trains in
            place. Then that output is not kept for the backward pass.

    Returns:
        (B, channels out, H', W'), which the caller may change in place.
    """
    # In half precision the normalisation computes in float32: scaled weights would be rounded to fewer digits.
    if not keep_less or conv.weight.dtype != norm.weight.dtype:
        statistics = norm.running_mean, norm.running_var
        return F.batch_norm(conv(x), *statistics, norm.weight, norm.bias, training=False, eps=norm.eps)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if not conv.weight.requires_grad:
        weight = conv.weight * scale[:, None, None, None]
        return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)
    out: Tensor = conv(x)
    return out.mul_(scale[:, None, None]).add_(shift[:, None, None])


def pool_by_attention(pool: "AttentionPool2d", x: Tensor, read_one: bool) -> Tensor:
    """What the mean of feature maps attends to in itself and in them, before the output projection.

    Args:
        pool: open_clip's.
        x: feature maps (B, width, H, W), of as many places as the position embedding has.
        read_one: compute the query of the mean alone, not also of all places, which nobody reads.

    Returns:
        (B, 1, width).
    """
    places = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1)
    tokens = tokens + pool.positional_embedding.to(tokens.dtype)
    query, key, value = (
        layer(some).unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
        for layer, some in (
            (pool.q_proj, tokens[:, :1] if read_one else tokens),
            (pool.k_proj, tokens),
            (pool.v_proj, tokens),
        )
    )
    mixed = F.scaled_dot_product_attention(query, key, value)
    return mixed[:, :, :1].transpose(1, 2).flatten(2)
