"""The weights of a checkpoint under open_clip's names, whoever wrote it."""

from dataclasses import dataclass
from pathlib import Path

from harness.clip.checkpoints import State, quoted, read_clip, some
from harness.clip.transformers_names import is_of_transformers, to_open_clip

# OpenAI's own checkpoints contain these entries besides the weights; no other format does.
OPENAI_ENTRIES = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class Weights:
    """The weights of a checkpoint.

    Attributes:
        state: name in open_clip -> tensor.
        is_openai: whether the file carries OpenAI's own entries.
        left_out: what the file holds besides the CLIP, one sentence; empty if nothing.
    """

    state: State
    is_openai: bool
    left_out: str = ""


def read_weights(path: Path) -> Weights:
    """The weights of a checkpoint under open_clip's names."""
    read = read_clip(path)
    state = to_open_clip(read.state) if is_of_transformers(read.state) else read.state
    weights = {name: value for name, value in state.items() if name not in OPENAI_ENTRIES}
    others = [quoted(name) for name in read.others]
    left_out = f"{len(others)} tensors of the file are no part of the CLIP and are left out ({some(others)})"
    return Weights(weights, len(weights) < len(state), left_out if others else "")
