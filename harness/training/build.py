"""Builds backbones and methods, with weights in the precision of a run: for runs, measurements and tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from harness.clip.checkpoints import read_tensor
from harness.clip.load import load_backbone
from harness.clip.prompts import fill_template
from harness.clip.texts import Taught, Text, as_text, prompts_of
from harness.clip.tower_parts import refuse_missing_parts
from harness.clip.towers import CLIP
from harness.errors import UserError
from harness.experiment.registry import method_class
from harness.experiment.spec import RunSpec
from harness.experiment.templates import teacher_templates_by_class, templates_by_class
from harness.machine.meter import Meter
from harness.training.inference import set_classes
from harness.training.precision import autocast, store_clip, store_method
from methods.base import Method, OtherClassesError, WeightsError

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def build_clip(backbone: str, precision: str, device: torch.device) -> CLIP:
    """A frozen CLIP on a device, its weights as the precision stores them.

    Args:
        backbone: in the notation of `clip.backbones`.
        precision: fp32, bf16, fp16 or half.
        device: where its weights will be.

    Raises:
        UserError: the backbone cannot be loaded.
    """
    return move(store_clip(load_backbone(backbone), precision), device)


def build_method(
    clip: CLIP,
    name: str,
    options: Mapping[str, Any],
    texts: Sequence[Text],
    precision: str,
    seed: int,
    cache_text: bool = True,
) -> Method:
    """A method for its training classes, on the device of its CLIP.

    Args:
        clip: as `build_clip` returns it for this precision.
        name: of the method.
        options: the method's own.
        texts: of each of C classes its prompt, or its prompts.
        precision: fp32, bf16, fp16 or half.
        seed: of the random numbers that the method draws.
        cache_text: False computes the frozen text stages again at every use.

    Raises:
        UserError: the options or the method do not fit the backbone, or the method takes one prompt a class.
    """
    cls = method_class(name)
    config = cls.Config(**options)
    weights = read_weights(name, options, clip.device)
    try:
        cls.check(config, clip.image.num_blocks if cls.counts_image_blocks else clip.num_blocks)
    except ValueError as error:
        raise UserError(f"{name}.{error} (backbone {clip.name})") from None
    refuse_missing_parts(name, cls.needs(config), clip.image.parts | clip.text.parts, clip.name)
    prompts = clip.tokenize(texts)
    # Each source of randomness has its own seed: what the method draws does not depend on how the backbone was built.
    torch.manual_seed(seed)
    try:
        with autocast(precision, clip.device):
            method = cls(clip, config, prompts, cache_text=cache_text, weights=weights)
    except OtherClassesError as error:
        raise UserError(f"{name}: {error}") from None
    except WeightsError as error:
        raise UserError(f"{name}.{error} (backbone {clip.name})") from None
    return move(store_method(method, precision), clip.device)


def read_weights(name: str, options: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """The tensors of the files that a method's options name: option -> tensor.

    Args:
        name: of the method.
        options: its own.
        device: where the tensors will be.

    Raises:
        UserError: a file cannot be read, or does not hold exactly one tensor; names the option.
    """
    found = {}
    for option in method_class(name).weights_options():
        if (path := options.get(option)) is not None:
            try:
                found[option] = read_tensor(Path(path)).to(device)
            except UserError as error:
                raise UserError(f"{name}.{option}: {error}") from None
    return found


def prompt_texts(spec: RunSpec, dataset: str, class_names: Sequence[str], stand_ins: bool = False) -> list[Text]:
    """Of each of some classes of a data set in a run its prompt, or its prompts, beside those of a frozen teacher.

    Args:
        spec: the run.
        dataset: whose classes they are.
        class_names: of the classes.
        stand_ins: whether these are not the real names.

    Raises:
        UserError: a file of descriptions lacks a class.
    """
    keep = method_class(spec.method).keeps_underscores

    def filled(several: Sequence[str], name: str) -> tuple[str, ...]:
        return tuple(fill_template(template, name, keep) for template in several)

    templates = templates_by_class(spec, dataset, class_names, stand_ins)
    own = [filled(prompts_of(several), name) for name, several in zip(class_names, templates, strict=True)]
    teacher = teacher_templates_by_class(spec, dataset, class_names, stand_ins)
    if not teacher:
        return [as_text(prompts) for prompts in own]
    taught = [filled(several, name) for name, several in zip(class_names, teacher, strict=True)]
    return [Taught(prompts, theirs) for prompts, theirs in zip(own, taught, strict=True)]


def probe_setup(method: Method, precision: str, meter: Meter) -> None:
    """Measure the memory of running the frozen text stages for the training classes."""
    resident = [*method.parameters(), *method.buffers()]
    meter.probe("setup", lambda: set_classes(method, method.prompts, precision), resident)


def move(module: AnyModule, device: torch.device) -> AnyModule:
    """A module on a device. `Module.to` would touch every tensor, even one in place, which fake tensors refuse."""
    tensors = [*module.parameters(), *module.buffers()]
    return module if all(tensor.device == device for tensor in tensors) else module.to(device)
