"""What official names mean here: which method a trainer is, what its options and its tensors are called."""

from operator import attrgetter
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from harness.errors import UserError, first_line
from harness.experiment.registry import method_class, method_names
from harness.reference.parity.vectors import Vectors
from methods.base import Method, Official

HARNESS_OPTIONS = {"SUBSAMPLE_CLASSES", "SHOTS", "VIEWS", "AUGMENT_EPOCH", "EPOCHS", "TRAIN_EPOCH", "BATCH_SIZE", "LR"}
"""Official options that say how to sample and train, which is for a recipe and not for a method's own options."""
WORDS_OPTION = "CTX_INIT"
"""The end of the name of official options that hold words; underscores may stand for their spaces."""


def find_method(vectors: Vectors) -> type[Method] | None:
    """Our method for the official trainer and its options; None if we have none.

    Raises:
        UserError: two methods claim the same ones.
    """
    found: dict[type[Method], int] = {}
    for name in method_names():
        cls = method_class(name)
        count = number_of_matches(cls, vectors)
        if count is not None:
            found[cls] = count
    closest = [cls for cls, count in found.items() if count == max(found.values())]
    if len(closest) > 1:
        names = " and ".join(cls.__name__ for cls in closest)
        raise UserError(f"{vectors.file}: trainer {vectors.about.official_trainer} is claimed by {names}")
    return closest[0] if closest else None


def is_replayed_by(cls: type[Method], vectors: Vectors) -> bool:
    """Whether these are vectors of this method."""
    return number_of_matches(cls, vectors) is not None


def number_of_matches(cls: type[Method], vectors: Vectors) -> int | None:
    """How many options beside the trainer's name speak for a method; None if it is another one."""
    matches = [len(told_apart) for told_apart in _claims(cls, vectors)]
    return max(matches, default=None)


def _claims(cls: type[Method], vectors: Vectors) -> list[dict[str, str]]:
    """The options (official name -> value) behind each trainer of a method that fits some vectors."""
    fitting = []
    for entry in cls.official.trainers if cls.official else ():
        trainer, *rest = entry.split()
        wanted = dict(option.split("=", 1) for option in rest)
        given = {name: str(value).lower() for name, value in vectors.about.options.items() if name in wanted}
        if trainer == vectors.about.official_trainer and given == {key: val.lower() for key, val in wanted.items()}:
            fitting.append(wanted)
    return fitting


def official_of(cls: type[Method]) -> Official:
    """The official names of a method that `find_method` returned."""
    assert cls.official
    return cls.official


def read_config(cls: type[Method], vectors: Vectors) -> Any:
    """Our options that correspond to the official ones.

    Raises:
        UserError: an official option for which we have no counterpart, or whose value we do not take.
    """
    official = official_of(cls)
    telling_apart = {name for claim in _claims(cls, vectors) for name in claim}
    ours: dict[str, Any] = dict(official.trainer_options.get(vectors.about.official_trainer, {}))
    for name, value in vectors.about.options.items():
        if name in official.options and not official.options[name]:
            continue
        if name in official.options:
            ours[official.options[name]] = our_value(cls, official.options[name], name, value)
        elif name not in HARNESS_OPTIONS | telling_apart:
            raise UserError(f"{vectors.file}: official option {name} has no counterpart in {cls.__name__}")
    try:
        return cls.Config(**ours)
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0]) if problem["loc"] else ""
        theirs = next((name for name, mine in official.options.items() if mine == field), "")
        named = f"official option {theirs} ({cls.__name__}'s {field})" if theirs else cls.__name__
        raise UserError(f"{vectors.file}: {named}: {problem['msg']}") from error


def our_value(cls: type[Method], field: str, official: str, value: Any) -> Any:
    """The value of one of our options, given the official one.

    Args:
        cls: the method.
        field: our name of the option.
        official: its official name.
        value: in the official spelling, in which '' and 'none' mean that there is nothing.
    """
    if isinstance(value, str):
        if value.lower() in ("", "none") and takes_none(cls, field):
            return None
        if official.endswith(WORDS_OPTION):
            return value.replace("_", " ")
    return value


def takes_none(cls: type[Method], field: str) -> bool:
    """Whether an option of a method may be null."""
    fields = cls.Config.model_fields
    info = fields.get(field) or next((item for item in fields.values() if item.alias == field), None)
    return info is not None and type(None) in getattr(info.annotation, "__args__", ())


def our_name(official: str, cls: type[Method]) -> str:
    """Our name of an official parameter."""
    tensors = official_of(cls).tensors
    if official in tensors:
        return tensors[official]
    prefixes = {"text_encoder.": "clip.text.", "image_encoder.": "clip.image."} | tensors
    # The longest first: a part of a tower may have a name of its own.
    for prefix, ours in sorted(prefixes.items(), key=lambda item: -len(item[0])):
        if prefix.endswith(".") and official.startswith(prefix):
            return ours + official.removeprefix(prefix)
    return official


def our_tensor(method: Method, official: str) -> Tensor:
    """Our tensor of an official name: a parameter, a buffer, or what an attribute such as `weight.T` computes.

    Raises:
        UserError: the method has none of this name.
    """
    name = our_name(official, type(method))
    named = dict(method.named_parameters()) | dict(method.named_buffers())
    if name in named:
        return named[name]
    try:
        value = attrgetter(name)(method)
        return value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{type(method).__name__} has no counterpart of the official tensor {official}: {first_line(error)}"
        ) from error
