"""Learned prompts: vectors in the places of the words before a class name, and vectors behind the patches of images."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from harness.clip.ends import Ends
from harness.clip.resnet import NO_TOKENS
from harness.clip.towers import CLIP, END, BlockHook, ImageTower, TextTower, Tower
from harness.errors import UserError

CONTEXT_STD = 0.02
MAX_FIRST_WORDS = 4
"""With more vectors than this, MaPLe's authors start them at random: their words are "a photo of a"."""


def context_words(n_ctx: int, ctx_init: str | None) -> list[str]:
    """The words whose places the context takes: those of `ctx_init`, otherwise `n_ctx` placeholders."""
    return ctx_init.replace("_", " ").split(" ") if ctx_init else ["X"] * n_ctx


def context_template(n_ctx: int, ctx_init: str | None) -> str:
    """Prompt template of a learned context, such as `X X X X {}.`"""
    return " ".join([*context_words(n_ctx, ctx_init), "{}."])


def first_words(n_ctx: int, ctx_init: str | None) -> str | None:
    """The words from the first of which `n_ctx` vectors start, as MaPLe's authors do it; None if they start random."""
    return ctx_init if n_ctx <= MAX_FIRST_WORDS else None


def drawn_prompts(blocks: int, n_ctx: int, width: int) -> nn.ParameterList:
    """Prompts (n_ctx, width) of a number of blocks, each from N(0, 0.02^2)."""
    return nn.ParameterList(nn.Parameter(torch.randn(n_ctx, width) * CONTEXT_STD) for _ in range(blocks))


@torch.no_grad()
def initial_context(clip: CLIP, n_ctx: int, ctx_init: str | None) -> Tensor:
    """Initial value (n_ctx, text width) of a context.

    Args:
        clip: provides the word embeddings.
        n_ctx: number of vectors; as many words of `ctx_init` are used.
        ctx_init: words to start from; None draws from N(0, 0.02^2).
    """
    width, first = clip.text.positional_embedding.shape[1], clip.text.first_word
    if ctx_init is None:
        refuse_split_placeholders(clip)
        return (torch.randn(n_ctx, width) * CONTEXT_STD).to(clip.device)
    ids = clip.tokenize([" ".join(context_words(n_ctx, ctx_init))]).ids
    return clip.text.token_embedding(ids)[0, first : first + n_ctx].clone()


def refuse_split_placeholders(clip: CLIP) -> None:
    """Raise a UserError if the tokenizer does not make one token of each placeholder."""
    placeholders = context_words(2, None)
    found = int(clip.tokenize([" ".join(placeholders)]).eot[0]) - clip.text.first_word
    if found != len(placeholders):
        raise UserError(
            f"the tokenizer of backbone '{clip.name}' makes {found} tokens of '{' '.join(placeholders)}', the "
            f"{len(placeholders)} placeholders of a learned context: use another method or another backbone"
        )


def put_context(words: Tensor, ctx: Tensor, first: int = 1) -> Tensor:
    """Replace the first word embeddings, which follow the start of text if there is one.

    Args:
        words: word embeddings (..., T, width).
        ctx: the vectors (..., n, width) to put there.
        first: place of the first word, `TextTower.first_word`.
    """
    ctx = ctx.to(words.dtype).expand(*words.shape[:-2], *ctx.shape[-2:])
    return torch.cat([words[..., :first, :], ctx, words[..., first + ctx.shape[-2] :, :]], dim=-2)


def prompted_texts(tower: TextTower, ids: Tensor, eot: Ends, prompts: Iterable[Tensor], shared: int) -> Tensor:
    """Embeddings (C, E) of texts with learned vectors behind their start, new ones before each of the first blocks.

    Args:
        tower: the text tower.
        ids: token ids (C, T), with placeholders in these places.
        eot: where they end.
        prompts: (n, width) for block 0, which are word embeddings, then for blocks 1, 2, ...
        shared: number of leading tokens that are the same for all texts.
    """
    words, *deep = prompts
    put = partial(put_context, first=tower.first_word)
    tokens = tower.add_positions(put(tower.token_embedding(ids), words))
    return tower.run(tokens, 0, END, eot, before_block=prompt_blocks(deep, put), shared=shared)


def prompted_images(tower: Tower, x: Tensor, prompts: Iterable[Tensor]) -> Tensor:
    """Embeddings (B, E) of images with learned vectors behind their patches, new ones before each of the first blocks.

    Args:
        tower: the image tower, a transformer.
        x: images at stage 0.
        prompts: (n, width) for block 0, which have no positions and pass the first LayerNorm, then for blocks 1, 2, ...
            Each is taken when its block is reached.

    Raises:
        UserError: the image tower is no transformer.
    """
    if not isinstance(tower, ImageTower):
        raise UserError(NO_TOKENS)
    rest = iter(prompts)
    # LayerNorm acts on each token, so that prompts do not change the patches at stage 0.
    first = tower.ln_pre(next(rest).to(x.dtype))
    tokens = torch.cat([x, first.expand(len(x), -1, -1)], dim=1)

    def replace_last(x: Tensor, prompts: Tensor) -> Tensor:
        return torch.cat([x[:, : -len(prompts)], prompts.to(x.dtype).expand(len(x), -1, -1)], dim=1)

    return tower.run(tokens, 0, END, before_block=prompt_blocks(rest, replace_last))


def prompt_blocks(deep: Iterable[Tensor], put: Callable[[Tensor, Tensor], Tensor]) -> BlockHook:
    """A hook for one pass through a tower, which puts prompts among the tokens that enter blocks 1, 2, ...

    Args:
        deep: prompts of these blocks, as many as have some.
        put: (tokens, prompts) -> tokens.
    """
    rest = iter(deep)

    def before_block(block: int, x: Tensor) -> Tensor:
        prompts = next(rest, None) if block else None
        return x if prompts is None else put(x, prompts)

    return before_block
