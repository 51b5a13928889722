"""What a rehearsal found, kept for runs of the same shapes: those of other seeds, and those that come later."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import ValidationError

from harness.errors import UserError
from harness.experiment.registry import import_method
from harness.experiment.spec import RunSpec
from harness.machine.costs import Batches
from harness.machine.environment import package_version
from harness.results.files import read_regular, write_atomically
from harness.training.feature_identity import code_digest
from harness.training.feature_store import open_store
from harness.training.inputs import OWN_METHODS
from harness.training.store_folders import batches_folder

DECIDING = ("clip", "estimate", "experiment", "machine", "training")
"""The code of SkipBench that decides what a rehearsal finds, in harness/."""


def known_or_found(spec: RunSpec, device: str, find: Callable[[RunSpec], Batches]) -> Batches:
    """What is known of runs like this one, or else what `find` finds, which is kept.

    Args:
        spec: the run.
        device: `cpu` or `cuda`.
        find: rehearses a run. Runs that differ in their seeds alone are rehearsed as one, so that it does not matter
            which of them comes first.
    """
    alike = spec if spec.data.index else spec.model_copy(update={"seed": 1})
    store = open_store(spec.runtime)
    if store is None:
        return find(alike)
    path = batches_folder(store.folder) / f"{hashlib.sha256(name_of(alike, device).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValidationError):
        return Batches.model_validate_json(read_regular(path))
    found = find(alike)
    with suppress(OSError, UserError):  # a full disk, or a folder that cannot be written: the next run finds it anew
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, found.model_dump_json().encode())
    return found


def name_of(spec: RunSpec, device: str) -> str:
    """Everything that decides what a rehearsal finds, as text."""
    runtime = spec.runtime
    own = (spec.train.cache_batch_size, runtime.eval_batch_size, runtime.cache_gpu_mib, runtime.cache_host_mib)
    about = {
        "spec": spec.identity(),
        "sizes": own,
        "threads": runtime.threads or torch.get_num_threads(),
        "device": device,
        "code": code_digest(DECIDING),
        "methods": methods_digest(spec.method),
        "packages": {name: package_version(name) for name in ("torch", "open_clip_torch", "timm")},
    }
    return json.dumps(about, sort_keys=True)


def methods_digest(method: str) -> str:
    """Digest of the files of a method, of those beside it and of the methods that come with the project."""
    own = Path(str(import_method(method).__file__)).parent
    found = hashlib.blake2b(digest_size=16)
    for path in sorted({*OWN_METHODS.glob("*.py"), *own.glob("*.py")}):
        found.update(path.read_bytes())
    return found.hexdigest()
