"""Where a result was computed: versions, commit, processor or GPU."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import harness

PACKAGES = ("torch", "open_clip_torch", "wandb", "numpy", "pillow", "safetensors")


def describe(device: torch.device) -> dict[str, Any]:
    """What a reader of a result needs to know about its machine."""
    return {
        "skipbench": harness.__version__,
        "python": platform.python_version(),
        **{package: package_version(package) for package in PACKAGES},
        **git_state(),
        "platform": platform.platform(terse=True),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


def package_version(package: str) -> str | None:
    """Installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def git_state() -> dict[str, Any]:
    """Commit of the code and whether it was changed since; None where it is not in a git checkout."""
    root = Path(harness.__file__).parents[1]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD") if (root / ".git").exists() else None
    changed = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"git_commit": commit, "git_changed": None if changed is None else bool(changed)}


@cache
def processor_name() -> str:
    """Model name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
