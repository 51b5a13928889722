"""Logits that a run keeps of its evaluations, so that more can be asked of it without computing it again.

One safetensors file for each evaluation, beside `result.json`. Of every image the highest logit is subtracted before
the others are rounded to float16, and kept by itself in float32. So no scale of logits overflows, the softmax is that
of the rounded differences, and the prediction is the same: a difference that would be rounded to nothing becomes the
smallest one that float16 has.
"""

import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from harness.errors import first_line
from harness.results.files import read_problem, remove_file
from harness.results.folder import RunFolder
from harness.results.record import DamagedError, Evaluation, Record

PREFIX, SUFFIX = "logits-", ".safetensors"
VALIDATION = "validation"
VALIDATION_FILE = f"{VALIDATION}-logits{SUFFIX}"
LONGEST_NAME = 100
# The lowest number of float16, and the one next below zero.
LOWEST, NEXT_TO_ZERO = np.float16(-65504), np.float16(-(2.0**-24))
TENSORS = {"logits": "F16", "labels": "I64", "maxima": "F32"}

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class LogitsFacts(Record):
    """What logits belong to.

    Attributes:
        run: id.
        evaluation: its name; `validation` for the images that a run may choose by.
        dataset: that the images are of.
        classes: subset of its classes.
        splits: of its images.
        class_names: C names.
        pictures_hash: of the images' paths and labels and the names of the classes.
        scale: factor of the backbone's cosines, by which most methods' logits are scaled.
    """

    run: str
    evaluation: str
    dataset: str
    classes: str
    splits: tuple[str, ...]
    class_names: tuple[str, ...]
    pictures_hash: str | None = None
    scale: float | None = None


@dataclass(frozen=True)
class KeptLogits:
    """Logits of N images among C classes.

    Attributes:
        facts: what they belong to.
        rounded: (N, C) float16: each logit minus the highest one of its image.
        labels: (N,) of the images, which index the class names.
        maxima: (N,) float32: the highest logit of each image.
    """

    facts: LogitsFacts
    rounded: npt.NDArray[np.float16]
    labels: Labels
    maxima: npt.NDArray[np.float32]

    @classmethod
    def of(cls, facts: LogitsFacts, logits: npt.NDArray[np.float32], labels: Labels) -> "KeptLogits":
        """Logits (N, C), finite, as they are kept."""
        maxima = logits.max(axis=1)
        # Two float32 may be further apart than one can tell; such a class is out of the question all the same.
        with np.errstate(over="ignore"):
            below = logits - maxima[:, None]
        rounded = np.maximum(below, np.float32(LOWEST)).astype(np.float16)
        rounded[(rounded == 0) & (below < 0)] = NEXT_TO_ZERO
        return cls(facts, rounded, labels.astype(np.int64), maxima.astype(np.float32))

    @property
    def logits(self) -> Floats:
        """(N, C) float64, the highest logit of each image zero: what softmax and predictions are taken of."""
        return self.rounded.astype(np.float64)

    @property
    def whole_logits(self) -> Floats:
        """(N, C) float64, at the level at which the method gave them."""
        return self.logits + self.maxima[:, None].astype(np.float64)

    def to_bytes(self) -> bytes:
        """As the content of a file."""
        from safetensors.numpy import save

        tensors: dict[str, npt.NDArray[Any]] = {"logits": self.rounded, "labels": self.labels, "maxima": self.maxima}
        return bytes(save(tensors, metadata={"about": json.dumps(self.facts.model_dump(mode="json"))}))


def bytes_of(images: int, classes: int) -> int:
    """Size of the tensors of a file of logits; names of classes come on top."""
    return images * (2 * classes + 8 + 4)


def logits_file(evaluation: str) -> str:
    """The name of the file that holds the logits of an evaluation."""
    name = quote(evaluation, safe="")
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(evaluation.encode()).hexdigest()[:12]}"
    return f"{PREFIX}{name}{SUFFIX}"


def is_logits_file(name: str) -> bool:
    """Whether a file of a run holds logits."""
    return name == VALIDATION_FILE or (name.startswith(PREFIX) and name.endswith(SUFFIX))


def remove_logits(folder: RunFolder) -> None:
    """With the run claimed: remove the logits that an earlier, interrupted start left, which may be of other files."""
    folder.check_claim()
    with suppress(FileNotFoundError):
        for name in filter(is_logits_file, os.listdir(folder.path)):
            remove_file(folder.path / name)


def read_logits(folder: RunFolder, evaluation: Evaluation) -> KeptLogits | None:
    """The logits that a run kept of an evaluation; None if it kept none.

    Raises:
        DamagedError: the file cannot be read, or is of another run, evaluation or set of images.
    """
    path = folder.path / logits_file(evaluation.name)
    kept = _read(path, folder.path.name, evaluation.name)
    if kept is None:
        return None
    if evaluation.images and len(kept.labels) != evaluation.images:
        raise _damaged(path, f"it has {len(kept.labels)} images, and the evaluation {evaluation.images}")
    if evaluation.pictures_hash and kept.facts.pictures_hash != evaluation.pictures_hash:
        raise _damaged(path, "it is of other images than the evaluation")
    return kept


def read_validation_logits(folder: RunFolder) -> KeptLogits | None:
    """The logits of validation images that a run kept; None if it kept none.

    Raises:
        DamagedError: the file cannot be read, is of another run, or of test images.
    """
    path = folder.path / VALIDATION_FILE
    kept = _read(path, folder.path.name, VALIDATION)
    if kept is not None and "test" in kept.facts.splits:
        raise _damaged(path, "it is of test images, on which nothing is fitted")
    return kept


def _read(path: Path, run: str, evaluation: str) -> KeptLogits | None:
    """The logits in a file that is to belong to a run and an evaluation; None if there is no file."""
    from safetensors import SafetensorError, safe_open

    try:
        # A named pipe would keep us waiting for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _damaged(path, "it is no regular file")
    except FileNotFoundError:
        if path.is_symlink():
            raise _damaged(path, "it is a link that leads nowhere") from None
        return None
    except OSError as error:
        raise DamagedError(read_problem(path, error)) from None
    try:
        with safe_open(path, "np") as file:
            facts = LogitsFacts.model_validate_json((file.metadata() or {})["about"])
            shapes = {name: _shape(file, name) for name in file.keys()}  # noqa: SIM118
            _check_facts(path, facts, run, evaluation)
            _check_shapes(path, shapes, len(facts.class_names))
            found = {name: file.get_tensor(name) for name in TENSORS}
    except PermissionError as error:
        raise DamagedError(read_problem(path, error)) from None
    except ValidationError as error:
        raise _damaged(path, str(error.errors()[0]["msg"])) from None
    except KeyError as error:
        raise _damaged(path, f"{error} is missing") from None
    except (SafetensorError, OSError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, first_line(error)) from None
    kept = KeptLogits(facts, found["logits"], found["labels"], found["maxima"])
    _check_numbers(path, kept)
    return kept


def _shape(file: Any, name: str) -> tuple[str, tuple[int, ...]]:
    """Type and shape of a tensor, which is not read."""
    part = file.get_slice(name)
    return part.get_dtype(), tuple(part.get_shape())


def _check_facts(path: Path, facts: LogitsFacts, run: str, evaluation: str) -> None:
    if facts.run != run:
        raise _damaged(path, f"it is of run {facts.run}")
    if facts.evaluation != evaluation:
        raise _damaged(path, f"it is of evaluation '{facts.evaluation}'")


def _check_shapes(path: Path, shapes: dict[str, tuple[str, tuple[int, ...]]], classes: int) -> None:
    for name, dtype in TENSORS.items():
        if name not in shapes:
            raise _damaged(path, f"it has no {name}")
        if shapes[name][0] != dtype:
            raise _damaged(path, f"its {name} are {shapes[name][0]} instead of {dtype}")
    shape = shapes["logits"][1]
    images = shape[0] if shape else 0
    expected = {"logits": (images, classes), "labels": (images,), "maxima": (images,)}
    for name, wanted in expected.items():
        if shapes[name][1] != wanted or not images or not classes:
            raise _damaged(path, f"its {name} have the shape {list(shapes[name][1])}, not {list(wanted)}")


def _check_numbers(path: Path, kept: KeptLogits) -> None:
    if not (np.isfinite(kept.rounded).all() and np.isfinite(kept.maxima).all()):
        raise _damaged(path, "its logits are not finite")
    if (kept.rounded.max(axis=1) != 0).any():
        raise _damaged(path, "the highest logit of an image is not zero")
    if kept.labels.min() < 0 or kept.labels.max() >= kept.rounded.shape[1]:
        raise _damaged(path, "a label is none of its classes")


def _damaged(path: Path, reason: str) -> DamagedError:
    return DamagedError(f"'{path}' is damaged ({reason}): remove it, or compute its run again with `skipbench rerun`")
