"""Learned context: vectors that take the places of the words before a class name."""

import torch
from torch import Tensor

from harness.clip.towers import CLIP

CONTEXT_STD = 0.02


def context_words(n_ctx: int, ctx_init: str | None) -> list[str]:
    """The words whose places the context takes: those of `ctx_init`, otherwise `n_ctx` placeholders."""
    return ctx_init.replace("_", " ").split(" ") if ctx_init else ["X"] * n_ctx


def context_template(n_ctx: int, ctx_init: str | None) -> str:
    """Prompt template of a learned context, such as `X X X X {}.`"""
    return " ".join([*context_words(n_ctx, ctx_init), "{}."])


@torch.no_grad()
def initial_context(clip: CLIP, n_ctx: int, ctx_init: str | None) -> Tensor:
    """Initial value (n_ctx, text width) of a context.

    Args:
        clip: provides the word embeddings.
        n_ctx: number of vectors; as many words of `ctx_init` are used.
        ctx_init: words to start from; None draws from N(0, 0.02^2).
    """
    width = clip.text.positional_embedding.shape[1]
    if ctx_init is None:
        return (torch.randn(n_ctx, width) * CONTEXT_STD).to(clip.device)
    ids = clip.tokenize([" ".join(context_words(n_ctx, ctx_init))]).ids
    return clip.text.token_embedding(ids)[0, 1 : 1 + n_ctx].clone()


def put_context(words: Tensor, ctx: Tensor) -> Tensor:
    """Replace the word embeddings that follow the start of text.

    Args:
        words: word embeddings (..., T, width).
        ctx: the vectors (..., n, width) to put there.
    """
    ctx = ctx.to(words.dtype).expand(*words.shape[:-2], *ctx.shape[-2:])
    return torch.cat([words[..., :1, :], ctx, words[..., 1 + ctx.shape[-2] :, :]], dim=-2)
