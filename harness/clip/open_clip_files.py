"""Single modules of open_clip: its vocabulary and texts without its package, which brings torchvision and timm."""

import importlib
import sys
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def package_folder() -> Path:
    """The folder of open_clip, which is not imported."""
    spec = find_spec("open_clip")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@cache
def open_clip_module(name: str) -> ModuleType:
    """A module of open_clip, executed from its file alone if it needs no other of the package; else as usual.

    Args:
        name: such as `tokenizer`.

    Raises:
        ImportError: this version of open_clip has no such module.
    """
    whole = f"open_clip.{name}"
    if whole in sys.modules:
        return sys.modules[whole]
    spec = spec_from_file_location(f"{__name__}.{name}", package_folder() / f"{name}.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError):
        # Another version of it may need its package, or be a package itself.
        return importlib.import_module(whole)
    return module


def simple_tokenizer() -> type:
    """open_clip's class of CLIP's tokenizer."""
    found: type = open_clip_module("tokenizer").SimpleTokenizer
    return found
