"""Where a result was computed: versions, commit, processor or GPU."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

import harness

if TYPE_CHECKING:  # torch takes seconds to import, and reading results needs none of it
    import torch

PACKAGES = ("torch", "open_clip_torch", "wandb", "numpy", "pillow", "safetensors")


class Environment(BaseModel):
    """What a reader of a result needs to know about the machine that computed it.

    Attributes:
        skipbench, python: versions.
        torch, open_clip_torch, wandb, numpy, pillow, safetensors: versions of packages; None if not installed.
        git_commit: of the code; None outside a git checkout.
        git_changed: whether the code was changed since that commit.
        platform, processor: names.
        cores: of the machine.
        threads: that torch used.
        device: name of the GPU, or `cpu`.
        cuda: version; None on a CPU.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    skipbench: str | None = None
    python: str | None = None
    torch: str | None = None
    open_clip_torch: str | None = None
    wandb: str | None = None
    numpy: str | None = None
    pillow: str | None = None
    safetensors: str | None = None
    git_commit: str | None = None
    git_changed: bool | None = None
    platform: str | None = None
    processor: str | None = None
    cores: int | None = None
    threads: int | None = None
    device: str
    cuda: str | None = None

    def versions(self) -> str:
        """SkipBench with its commit, and torch, for footnotes."""
        changed = "+changes" if self.git_changed else ""
        code = f" ({self.git_commit[:7]}{changed})" if self.git_commit else ""
        cuda = f" with CUDA {self.cuda}" if self.cuda else ""
        return f"SkipBench {self.skipbench or '?'}{code}, torch {self.torch or '?'}{cuda}"


def describe(device: "torch.device") -> Environment:
    """The environment of this process, computing on a device."""
    import torch

    on_gpu = device.type == "cuda"
    return Environment(
        skipbench=harness.__version__,
        python=platform.python_version(),
        **{package: package_version(package) for package in PACKAGES},
        **git_state(),
        platform=platform.platform(terse=True),
        processor=processor_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if on_gpu else "cpu",
        cuda=torch.version.cuda if on_gpu else None,
    )


@cache
def package_version(package: str) -> str | None:
    """Installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def git_state() -> dict[str, Any]:
    """Commit of the code and whether it was changed since then; None if the code is in no git checkout."""
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
