"""Reads the tensors of a checkpoint file, without running code from it, under the names that open_clip gives them."""

import math
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.clip.pickled import PROMPTS, why_not_weights
from harness.clip.prefixes import places_of_clips, without_wrappers
from harness.clip.shards import is_index, shards_of
from harness.clip.torchscript import is_torchscript, read_torchscript
from harness.errors import UserError, first_line
from harness.machine.file_kinds import kind_of_file

State = dict[str, Tensor]

# Training scripts keep the weights under one of these, beside the epoch and the optimizer.
WEIGHTS_KEYS = ("state_dict", "model_state_dict", "model")
# What OpenAI's code converts to half precision: convolutions, linear layers and projections.
MATRICES = re.compile(
    r"(attn\.in_proj_(weight|bias)|\w+_proj\.(weight|bias)|mlp\..+|conv\d\.weight|downsample\.0\.weight|visual\.proj"
    r"|text_projection)$"
)
# Of the batch normalisation of ResNets.
COUNTER = ".num_batches_tracked"
SHOWN = 3
# Bytes of a file of one tensor; the text projection of the largest CLIP has some MiB.
LARGEST_TENSOR = 1 << 28


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds.

    Attributes:
        state: name -> tensor, without what wrappers add to names.
        others: names of the tensors that are no part of the CLIP, such as a loss's; they are left out.
    """

    state: State
    others: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> State:
    """The tensors of a checkpoint's CLIP; arguments and errors are those of `read_clip`."""
    return read_clip(path).state


def read_clip(path: Path) -> Checkpoint:
    """Read the tensors of a checkpoint without running code from the file.

    Args:
        path: of a safetensors file, a PyTorch file of tensors, an OpenAI TorchScript archive, or an index of several.

    Raises:
        UserError: the file is damaged, contains pickled objects other than tensors, or several CLIPs.
    """
    return only_clip(state_dict_in(read_file(path), path), path)


def read_file(path: Path) -> Any:
    """What a file holds.

    Raises:
        UserError: it cannot be read without running code.
    """
    try:
        if path.stat().st_size == 0:
            raise UserError(f"checkpoint '{path}' is empty: copy it again")
        if is_index(path):
            return read_shards(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        if is_torchscript(path):
            return read_torchscript(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"checkpoint '{path}' cannot be read: {error.strerror or first_line(error)}") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, MemoryError, zipfile.BadZipFile) as error:
        why = kind_of_file(path) or f"{first_line(error).rstrip('.')}; copy or download it again"
        raise UserError(f"checkpoint '{path}' cannot be read: {why}") from error
    except Exception as error:  # weights_only refuses other objects with pickle.UnpicklingError and other errors
        kind = kind_of_file(path)
        why = f"cannot be read: {kind}" if kind else why_not_weights(path, type(error).__name__)
        raise UserError(f"checkpoint '{path}' {why}") from error


def read_shards(index: Path) -> State:
    """The tensors of an index, from all of its files.

    Raises:
        UserError: the index or a file cannot be read, or a file does not hold what the index says.
    """
    state: State = {}
    for path, names in shards_of(index).items():
        held = state_dict_in(read_file(path), path)
        if missing := [quoted(name) for name in names if name not in held]:
            raise UserError(
                f"index '{index}' says that '{path.name}' holds {len(missing)} tensors that it does not hold "
                f"({some(missing)}): copy or download both again"
            )
        state |= {name: held[name] for name in names}
    return state


def read_tensor(path: Path) -> Tensor:
    """The only tensor of a file, without running code from the file.

    Args:
        path: of a safetensors or PyTorch file; a PyTorch file may also be the tensor itself.

    Raises:
        UserError: it is no regular file, damaged, too large, or holds anything else.
    """
    if not path.is_file():
        raise UserError(f"checkpoint '{path}' is no regular file, or does not exist")
    size = path.stat().st_size
    if size > LARGEST_TENSOR:
        raise UserError(f"checkpoint '{path}' has {size} bytes: a file of one tensor has at most {LARGEST_TENSOR}")
    content = read_file(path)
    state = state_dict_in({path.stem: content} if isinstance(content, Tensor) else content, path)
    if len(state) > 1:
        raise UserError(f"checkpoint '{path}' holds {len(state)} tensors ({some([*map(quoted, state)])}): keep one")
    (tensor,) = state.values()
    # A few numbers can be repeated to a tensor of any size.
    if not tensor.is_floating_point() or tensor.nbytes > size or not bool(tensor.isfinite().all()):
        raise UserError(
            f"checkpoint '{path}': its tensor ({shape_of(tensor)}) must be floating-point numbers, finite and "
            "stored one by one"
        )
    return tensor.detach()


def state_dict_in(content: Any, path: Path) -> State:
    """The names and tensors in what a file holds.

    Raises:
        UserError: there are none; the message names the first entry that is something else.
    """
    where = f"checkpoint '{path}'"
    key = next((key for key in WEIGHTS_KEYS if isinstance(content, dict) and isinstance(content.get(key), dict)), None)
    if key:
        content, where = content[key], f"'{key}' of {where}"
    if not isinstance(content, dict):
        raise UserError(f"{where} is not a state dict: it holds a {type(content).__name__}, not names and tensors")
    if not content:
        raise UserError(f"{where} is not a state dict: it is empty")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UserError(f"{where} is not a state dict: {quoted(name)} is a {kind}, not a name with a tensor")
        if value.device.type != "cpu" or value.layout != torch.strided or value.is_quantized:
            raise UserError(f"{where}: the tensor {quoted(name)} is sparse, quantized or without values")
    return content


def only_clip(state: State, path: Path) -> Checkpoint:
    """The tensors of the CLIP in a file, by the names that they had before wrappers added to them.

    Raises:
        UserError: two names become one, or it holds several CLIPs.
    """
    names = without_wrappers(state)
    places = places_of_clips(names.values())
    if len(places) > 1 and "" not in places:
        raise UserError(
            f"checkpoint '{path}' holds {len(places)} CLIPs, under {' and '.join(map(quoted, places))}: save the "
            "state_dict of the one that is meant"
        )
    place = places[0] if len(places) == 1 else ""
    others = tuple(name for name in names.values() if not name.startswith(place))
    names = {old: new.removeprefix(place) for old, new in names.items() if new.startswith(place)}
    if len(set(names.values())) < len(names):
        raise UserError(f"checkpoint '{path}' holds a tensor twice, with and without what a wrapper adds to its name")
    # Constants of attention, which some formats store beside the weights; they follow from the architecture.
    return Checkpoint({new: state[old] for old, new in names.items() if not new.endswith("attn_mask")}, others)


def load_strictly(network: nn.Module, state: State, path: Path, model: str, hint: str = "") -> None:
    """Load weights into a model.

    Args:
        network: receives them.
        state: name -> tensor.
        path: their file, for messages.
        model: what the network is, for messages.
        hint: what to do, ends the message.

    Raises:
        UserError: a name, a shape or a type does not fit.
    """
    expected = network.state_dict()
    # How often statistics were updated decides nothing, and not every format keeps it.
    state = {name: tensor for name, tensor in expected.items() if name.endswith(COUNTER)} | state
    # Single numbers, such as the logit scale, are stored with and without a dimension.
    state = {
        name: tensor.reshape(expected[name].shape)
        if name in expected and tensor.numel() == expected[name].numel() == 1
        else tensor
        for name, tensor in state.items()
    }
    if problems := differences(state, expected):
        raise UserError(
            f"checkpoint '{path}' does not fit its model, {model}: {'; '.join(problems)}{format_of(state)}.{hint}"
        )
    network.load_state_dict(state, strict=True)


def differences(state: State, expected: State) -> list[str]:
    """How the names, shapes and types of a file differ from those of a model; a few of each kind."""
    missing = [quoted(name) for name in expected if name not in state]
    unexpected = [quoted(name) for name in state if name not in expected]
    common = [name for name in expected if name in state]
    misshaped = [
        f"{quoted(name)} is {shape_of(state[name])} and should be {shape_of(expected[name])}"
        for name in common
        if state[name].shape != expected[name].shape
    ]
    others = [
        f"{quoted(name)} is {str(state[name].dtype).removeprefix('torch.')}"
        for name in common
        if expected[name].dtype.is_floating_point and not state[name].dtype.is_floating_point
    ]
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": misshaped,
        "without floating-point numbers": others,
    }
    return [f"{len(found)} of its tensors are {kind} ({some(found)})" for kind, found in kinds.items() if found]


def format_of(state: State) -> str:
    """Which format the names of a file belong to, as a part of a sentence; empty if they say nothing."""
    marks = {
        "visual.trunk.attn_pool.": "a SigLIP, which its name must say (BACKBONE=ViT-B-16-SigLIP:FILE)",
        "vision_model.": "transformers' models",
        "text.transformer.": "open_clip's CustomTextCLIP",
        "text_decoder.": "open_clip's CoCa",
        "prompt_learner.": "CoOp's prompts, which are no CLIP",
        "image_encoder.": "a method's own model in CoOp's code, which keeps CLIP's parts under names of its own",
        "visual.layer1.": "a CLIP with a ResNet",
        "visual.trunk.": "a CLIP with an image tower of timm",
        "img/": "big_vision",
    }
    found = next((what for mark, what in marks.items() if any(name.startswith(mark) for name in state)), None)
    if not found and state and all(name in PROMPTS for name in state):
        found = marks["prompt_learner."]
    if any(".lora_" in name for name in state):
        found = "LoRA's matrices: merge them into the weights first"
    return f"; these are names of {found}" if found else ""


def refuse_not_finite(network: nn.Module, weights: str) -> None:
    """Raise a UserError that names the tensors of a network that hold NaN or infinity.

    Args:
        network: with its weights.
        weights: what they are, for the message.
    """
    wrong = [quoted(name) for name, tensor in network.state_dict().items() if not bool(tensor.isfinite().all())]
    if wrong:
        raise UserError(
            f"{weights}: {len(wrong)} tensors hold NaN or infinity ({some(wrong)}): the file is damaged, or the "
            "training that wrote it diverged; use another"
        )


def quoted(name: object) -> str:
    """A name for a message: printable anywhere, and short."""
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:80]}..."


def shape_of(tensor: Tensor) -> str:
    """A shape for a message, such as 512x768."""
    return "x".join(map(str, tensor.shape)) or "a single number"


def some(names: list[str]) -> str:
    """The first names of a list."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def is_exact_in_fp16(state: State) -> bool:
    """Whether the values of all matrices are exact in half precision, as those of OpenAI's checkpoints are.

    OpenAI's files keep token embeddings, positions and LayerNorms in fp32: 338 MiB of ViT-B/32 are not 289.
    """
    matrices = [tensor for name, tensor in state.items() if MATRICES.search(name) and tensor.numel()]
    return bool(matrices) and all(torch.equal(tensor.half().to(tensor.dtype), tensor) for tensor in matrices)


def has_openai_scale(state: State) -> bool:
    """Whether the logits are scaled by 100, where OpenAI's training stopped the scale."""
    scale = state.get("logit_scale")
    return scale is not None and scale.numel() == 1 and math.isclose(float(scale), math.log(100), abs_tol=1e-3)
