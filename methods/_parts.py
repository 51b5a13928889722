"""What the interface of methods speaks of: official names, shots, searches, and what can go wrong."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from torch import Tensor


@dataclass(frozen=True)
class Official:
    """Names in the authors' implementation, with which `skipbench parity` reads its reference vectors.

    Attributes:
        trainers: names of the authors' trainers; vectors of any of them are read. Options that tell methods with the
            same trainer apart may follow a name: `ADAPTER CONSTRAINT=l2`.
        options: its option (last part of the name) -> field of our Config, or '' for one that its code does not use.
        tensors: its parameter or stored state -> our parameter, buffer or attribute (such as `weight.T`); a name that
            ends in a dot stands for all names that begin with it. Parameters of CLIP itself need no entry.
        trainer_options: name of a trainer -> what it means for fields of our Config, where the authors have a trainer
            of its own for what is an option here.
        of_batch: its stored quantity of training batches -> our function of (images, labels) that computes it; for a
            name that begins with `grad_` the gradient of what this function gives.
        of_images: its stored quantity of images -> our function of (images, text features) that computes it, or
            `function.0` for the first of what this gives. The images are those of evaluation, for new classes if the
            name contains `_new`; or those of a training batch if a number goes on with the name.
        of_epochs: its stored quantity of a whole training -> our function of the number of epochs that computes it.
        drawn_sentences: our function that draws which sentence (C,) of each class a teacher reads at a step; '' if none
            is drawn. Where vectors say which were drawn, these are read.
        masks: our function (path of a module, shape) -> the mask of its dropout, for which stored masks stand in.
    """

    trainers: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)
    trainer_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    of_batch: dict[str, str] = field(default_factory=dict)
    of_images: dict[str, str] = field(default_factory=dict)
    of_epochs: dict[str, str] = field(default_factory=dict)
    drawn_sentences: str = ""
    masks: str | None = None


@dataclass(frozen=True)
class Shots:
    """The training images, as `Method.fit` gets them.

    Attributes:
        x: V random views of each of N images at the method's `image_start`: (V, N, E) at END.
        labels: (N,), among the training classes.
        per_class: k, the number of shots that was asked for.
    """

    x: Tensor
    labels: Tensor
    per_class: int


Candidate = dict[str, float]
"""What a method may choose: name of a number -> its value."""
Search = Generator[Candidate, float, Candidate]
"""Yields candidates, receives the accuracy of each on validation images in percent, returns the chosen one."""


def first_best(candidates: Iterable[Candidate]) -> Search:
    """Try all candidates and choose the first of those with the highest accuracy.

    Raises:
        ValueError: there are none.
    """
    chosen, highest = None, float("-inf")
    for candidate in candidates:
        accuracy = yield candidate
        if accuracy > highest:
            chosen, highest = candidate, accuracy
    if chosen is None:
        raise ValueError("there are no candidates to choose from")
    return chosen


ONE_PROMPT = "what encodes its texts is trained, so that each class has one prompt: use one template (data.templates)"


class OtherClassesError(ValueError):
    """A trained method can be used only for the classes on which it was trained."""


WEIGHTS_FILE = "file of weights"
WeightsFile = Annotated[str, WEIGHTS_FILE]
"""Type of an option: path of a file with one tensor, which the harness reads; its content belongs to a run's id."""


class WeightsError(ValueError):
    """The tensor of a file does not fit; the message begins with the name of its option."""


class TooFewShotsError(ValueError):
    """A method cannot be fitted to so few shots or views; the message says which setting helps."""


def check_depth(depth: int | None, num_blocks: int, option: str = "depth", where: str = "in each tower") -> None:
    """Raise ValueError, naming the option, if towers of `num_blocks` blocks have no `depth` first ones; None is all."""
    if depth is not None and depth > num_blocks:
        raise ValueError(
            f"{option}={depth} is beyond a backbone of {num_blocks} blocks {where}: choose 0 to {num_blocks}"
        )
