"""One text embedding for each class that has several prompts."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.digits import at_least_float32
from harness.clip.prompts import Prompts
from harness.clip.towers import END, RAW, TextTower

AT_ONCE = 64
"""Prompts that are encoded together: what 80 templates of 1000 classes need in memory is bounded by this."""


@torch.no_grad()
def encode_classes(tower: TextTower, prompts: Prompts, normalised: bool) -> Tensor:
    """Embeddings (C, E) of classes with several prompts each, some classes at a time.

    Args:
        tower: encodes the prompts.
        prompts: of the classes.
        normalised: as in `pool`.
    """
    counts = prompts.counts or (1,) * len(prompts)
    pooled = []
    first = 0
    for group in groups_of(counts, AT_ONCE):
        rows = slice(first, first + sum(group))
        embeddings = tower.run(prompts.ids[rows], RAW, END, prompts.eot[rows], shared=prompts.shared)
        pooled.append(pool(embeddings, group, normalised))
        first = rows.stop
    return torch.cat(pooled)


def groups_of(counts: Sequence[int], most: int) -> Iterator[list[int]]:
    """Numbers of prompts in groups of consecutive classes that have at most `most` together; a class is never split."""
    group: list[int] = []
    for count in counts:
        if group and sum(group) + count > most:
            yield group
            group = []
        group.append(count)
    yield group


def pool(embeddings: Tensor, counts: Sequence[int], normalised: bool) -> Tensor:
    """The mean (C, E) of the embeddings of each class, computed in float32 at least.

    Args:
        embeddings: (P, E), those of a class one after the other.
        counts: how many each of the C classes has.
        normalised: take the mean of normalised embeddings and normalise it; False: the mean of the embeddings as they
            are.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        x = at_least_float32(embeddings)
        x = F.normalize(x, dim=-1) if normalised else x
        means = torch.stack([part.mean(dim=0) for part in x.split(list(counts))])
        return (F.normalize(means, dim=-1) if normalised else means).to(embeddings.dtype)
