"""Texts through the frozen stages of a tower, some prompts at a time."""

import torch
from torch import Tensor

from harness.clip.ends import Ends
from harness.clip.ensembles import AT_ONCE
from harness.clip.towers import RAW, Stage, TextTower


@torch.no_grad()
def run_frozen_texts(tower: TextTower, ids: Tensor, ends: Ends, stop: Stage, shared: int) -> Tensor:
    """Texts at a stage: (C, T, width), or at END (C, E). With more than `AT_ONCE` the host waits for the device.

    Args:
        tower: frozen up to that stage.
        ids: token ids (C, T).
        ends: of the C texts.
        stop: the stage.
        shared: number of leading tokens that all texts have in common.
    """
    if stop == RAW:
        return ids
    if len(ids) <= AT_ONCE:
        return tower.run(ids, RAW, stop, ends, shared=shared)
    parts = zip(ids.split(AT_ONCE), ends.positions.split(AT_ONCE), strict=True)
    return torch.cat([tower.run(some, RAW, stop, eot, shared=shared) for some, eot in parts])
