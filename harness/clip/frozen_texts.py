"""Texts through the frozen stages of a tower, some prompts at a time."""

import torch
from torch import Tensor

from harness.clip.ensembles import AT_ONCE
from harness.clip.towers import RAW, Stage, TextTower


@torch.no_grad()
def run_frozen_texts(tower: TextTower, ids: Tensor, eot: Tensor, stop: Stage, shared: int) -> Tensor:
    """Texts at a stage: (C, T, width), or at END (C, E).

    Args:
        tower: frozen up to that stage.
        ids: token ids (C, T).
        eot: end-of-text positions (C,).
        stop: the stage.
        shared: number of leading tokens that all texts have in common.
    """
    if stop == RAW:
        return ids
    parts = zip(ids.split(AT_ONCE), eot.split(AT_ONCE), strict=True)
    found = [tower.run(some, RAW, stop, ends, shared=shared) for some, ends in parts]
    return found[0] if len(found) == 1 else torch.cat(found)
