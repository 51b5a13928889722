"""OpenAI's weights are known by what their text tower makes of a short text, which others have published.

No weights show their activation. But a text tower whose output for a text is, to four digits, what OpenAI's gives with
QuickGELU, is OpenAI's: by chance three such numbers agree once in 10^9 times. Weights whose text tower was trained
further are not recognised, nor are models of which no output is known here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.clip.network import Network, QuickGELU

if TYPE_CHECKING:
    import open_clip

# Published digits are rounded, and were computed by other kernels.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class KnownText:
    """What the text tower of a model of OpenAI's makes of a text.

    Attributes:
        ids: token ids of the text, from start to end of text; what follows changes nothing in a causal tower.
        token: which token's output it is.
        projected: whether it is the embedding, or what is projected to it.
        channels: which numbers of it are known.
        values: these numbers.
    """

    ids: tuple[int, ...]
    token: int
    projected: bool
    channels: tuple[int, ...]
    values: tuple[float, ...]


# Facts about OpenAI's downloads, from public tests and tutorials of other libraries.
KNOWN = (
    # ViT-B/16: the embedding of "a cat" in the test of transformers' CLIPSeg, which keeps that CLIP frozen.
    KnownText((49406, 320, 2368, 49407), 3, True, (0, 1, 2), (0.5601, -0.0314, 0.1980)),
    # ViT-B/32: the pooled output of "a photo of a cat" in the test of Bumblebee's ClipText.
    KnownText((49406, 320, 1125, 539, 320, 2368, 49407), 6, False, (1, 2, 3), (0.1658, 0.8876, 10.6313)),
    # ViT-L/14: the start of any text, as printed wherever Stable Diffusion 1 is explained.
    KnownText((49406,), 0, False, (0, 1, 2, -3, -2, -1), (-0.3884, 0.0229, -0.0522, -0.4899, -0.3066, 0.0675)),
)


def texts_of_openai(network: "Network | open_clip.model.CLIP") -> bool:
    """Whether the text tower of a network is one of OpenAI's, whatever activation it computes now.

    Args:
        network: a model with its weights in fp32; only a CLIP with a causal text tower of its own can be OpenAI's.
    """
    if getattr(network, "attn_mask", None) is None:
        return False
    vocabulary = network.token_embedding.num_embeddings
    return any(max(text.ids) < vocabulary and is_known(network, text) for text in KNOWN)


def is_known(network: "Network | open_clip.model.CLIP", text: KnownText) -> bool:
    """Whether a text comes out as it is known to."""
    found = with_quick_gelu(network, torch.tensor([text.ids]))[0, text.token]
    if text.projected:
        found = found @ network.text_projection
    if len(found) <= max(text.channels):
        return False
    return bool((found[list(text.channels)] - torch.tensor(text.values)).abs().max() <= TOLERANCE)


@torch.no_grad()
def with_quick_gelu(network: "Network | open_clip.model.CLIP", ids: Tensor) -> Tensor:
    """The text tower's output for every token, (1, tokens, width), computed with QuickGELU.

    Args:
        network: its activations are exchanged meanwhile.
        ids: (1, tokens).
    """
    tokens = ids.shape[1]
    perceptrons: list[Any] = [block.mlp for block in network.transformer.resblocks]
    activations = [perceptron.gelu for perceptron in perceptrons]
    try:
        for perceptron in perceptrons:
            perceptron.gelu = QuickGELU()
        x = network.token_embedding(ids) + network.positional_embedding[:tokens]
        x = network.transformer(x, attn_mask=network.attn_mask[:tokens, :tokens])
        output: Tensor = network.ln_final(x)
    finally:
        for perceptron, activation in zip(perceptrons, activations, strict=True):
            perceptron.gelu = activation
    return output
