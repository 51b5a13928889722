"""What wrappers put before and into the names of a CLIP's tensors: parallel training, compiling, Lightning."""

import re
from collections.abc import Iterable

# Wrappers put these before every name: parallel training, Lightning, classes that hold a CLIP.
PREFIXES = ("module.", "model.", "clip_model.", "clip.")
# Compiling or sharding a part of a model puts these into the middle of names.
WRAPPERS = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")
# Every CLIP has one of these tensors, and only once: in the names of open_clip (twice) and of transformers.
ONE_OF_A_CLIP = re.compile(
    r"(?P<prefix>(?:.+\.)?)"
    r"(?:visual\.conv1\.weight|visual\.trunk\.patch_embed\.proj\.weight|vision_model\.embeddings\.patch_embedding\.weight)"
)


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Name -> the name that the tensor had before a wrapper of all or of a part of the model added to it."""
    plain = {name: WRAPPERS.sub("", name) for name in names}
    while found := next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in plain.values())), ""):
        plain = {old: new.removeprefix(found) for old, new in plain.items()}
    return plain


def places_of_clips(names: Iterable[str]) -> list[str]:
    """The prefixes under which the names hold a CLIP, such as 'model.' beside a loss with weights of its own."""
    return sorted({found["prefix"] for name in names if (found := ONE_OF_A_CLIP.fullmatch(name))})
