"""What a pickle in a PyTorch file would build, found out without building it: for the message that refuses the file."""

import pickletools
import zipfile
from pathlib import Path

# The pickle of a CLIP's state dict has some hundred kilobytes; its values lie outside of it.
LARGEST_PICKLE = 2**24
# Classes that a file of tensors consists of.
PLAIN = ("torch._utils", "collections OrderedDict", "torch ", "torch.serialization")
# What CoOp's code keeps of a prompt learner, and what a file of a whole CLIP has besides.
PROMPTS = ("ctx", "token_prefix", "token_suffix")
OF_A_CLIP = ("conv1.weight", "patch_embedding.weight")
SHOWN = 2


def why_not_weights(path: Path, error: str) -> str:
    """Why a PyTorch file is not read, and what to do: continues a sentence that begins with the file.

    Args:
        path: of the file.
        error: the type of torch's error, for files about which nothing can be said.
    """
    classes, words = contents(path)
    if any(word.endswith(PROMPTS) for word in words) and not any(word.endswith(OF_A_CLIP) for word in words):
        return (
            "holds the prompts that CoOp's code learned (ctx, token_prefix, token_suffix), which are no CLIP: give the "
            "weights of the CLIP that they were learned for"
        )
    which = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "") or error
    return (
        f"is no file of weights, or contains more than tensors ({which}), and unpickling that could run code: save its "
        "state_dict as .safetensors and give that file"
    )


def contents(path: Path) -> tuple[list[str], set[str]]:
    """The classes other than tensors and the texts that the pickle of a file names; nothing of it is run."""
    classes: dict[str, None] = {}
    words: set[str] = set()
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(item for item in archive.infolist() if item.filename.endswith("/data.pkl"))
            if member.file_size > LARGEST_PICKLE:
                return [], set()
            content = archive.read(member)
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "GLOBAL" and not str(argument).startswith(PLAIN):
                classes[str(argument).replace(" ", ".")] = None
            elif opcode.name in ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE"):
                words.add(str(argument))
    except Exception:  # a damaged file, of which torch has said more
        return list(classes), words
    return list(classes), words
