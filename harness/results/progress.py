"""`progress.safetensors`: what an interrupted run goes on from. It is believed only if it is whole and of that run."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import UserError
from harness.machine.costs import PhaseCosts
from harness.results.files import load_tensors, save_tensors
from harness.results.record import CacheFacts, DamagedError, InputFile, Record

if TYPE_CHECKING:  # torch takes a second to import, and listing runs does not need it
    from torch import Tensor


class Progress(Record):
    """What an interrupted run knows besides its tensors.

    Attributes:
        epoch: the next epoch to train.
        phases: costs so far.
        flops: floating point operations per image of the phases train and cache.
        starts: how often the run was started.
        alone: whether it had its device to itself so far; None if that is not known.
        together: most runs, this one included, that a process trained as one.
        cache: of the training images.
        inputs: files that decide the result and that the spec does not name.
        kept_epoch: the best epoch so far, if it is chosen.
        kept_accuracy: of it, percent.
    """

    epoch: int = 0
    phases: dict[str, PhaseCosts] = Field(default_factory=dict)
    flops: dict[str, float] = Field(default_factory=dict)
    starts: int = 0
    alone: bool | None = True
    together: int = Field(1, ge=1)
    cache: CacheFacts = CacheFacts()
    inputs: tuple[InputFile, ...] = ()
    kept_epoch: int | None = None
    kept_accuracy: float | None = None


class Facts(BaseModel):
    """What stands beside the tensors.

    Attributes:
        run: id of the run.
        sha256: see `digest_of`.
        progress: of the run.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    sha256: str
    progress: Progress


def digest_of(run_id: str, tensors: "dict[str, Tensor]", progress: Progress) -> str:
    """SHA-256 of a run's id, its progress, and the names, types, shapes and bytes of its tensors, in hexadecimal."""
    import torch

    forms = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in sorted(tensors.items())}
    about = {"run": run_id, "progress": progress.model_dump(mode="json"), "tensors": forms}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in forms:
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_progress(
    path: Path, run_id: str, tensors: "dict[str, Tensor]", progress: Progress, check: Callable[[], None]
) -> None:
    """Write tensors and progress into one file, so that weights, momentum, epoch and costs agree.

    Args:
        path: the file.
        run_id: of the run.
        tensors: what training needs to continue.
        progress: of the run.
        check: as in `write_atomically`.
    """
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    facts = Facts(run=run_id, sha256=digest_of(run_id, own, progress), progress=progress)
    save_tensors(path, own, facts.model_dump(mode="json"), check)


def load_progress(path: Path, run_id: str, epochs: int | None = None) -> "tuple[dict[str, Tensor], Progress] | None":
    """What `save_progress` wrote last; None if nothing is there.

    A file of an earlier version has no digest and does not say of which run it is, so it is not believed either.

    Args:
        path: the file.
        run_id: of the run that would go on from it.
        epochs: of that run's training; None if they are not known.

    Raises:
        DamagedError: it is damaged, of an earlier version, or of another run.
    """
    if not path.is_file():
        return None
    try:
        tensors, about = load_tensors(path)
    except UserError:
        raise _damaged(path, "it is no complete file of tensors") from None
    try:
        facts = Facts.model_validate(about)
    except ValidationError:
        raise _damaged(path, "it has no digest, as those of SkipBench 0.2 and earlier") from None
    if facts.run != run_id:
        raise _damaged(path, f"it is of run {facts.run}")
    if facts.sha256 != digest_of(run_id, tensors, facts.progress):
        raise _damaged(path, "its content does not match its digest")
    if not tensors or facts.progress.epoch < 1 or (epochs is not None and facts.progress.epoch > epochs):
        raise _damaged(path, f"it has {len(tensors)} tensors and is of epoch {facts.progress.epoch} of {epochs}")
    return tensors, facts.progress


def _damaged(path: Path, reason: str) -> DamagedError:
    return DamagedError(f"'{path}' is damaged ({reason})")
