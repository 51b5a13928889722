"""Where cached features are kept: on the GPU, in host memory, or in a file that is mapped into memory."""

import errno
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from harness.errors import UserError
from harness.machine.units import MIB
from harness.results.files import temporary_path

GPU, HOST, FILE = "gpu", "host", "file"


@dataclass(frozen=True)
class Place:
    """Limits on the size of features, which decide where they are kept.

    Attributes:
        device: where the run computes.
        gpu_mib: features of up to this many MiB are kept on the GPU, if the run computes on one.
        host_mib: features of up to this many MiB are kept in host memory.
        folder: the folder of the file of larger ones.
    """

    device: torch.device
    gpu_mib: int
    host_mib: int
    folder: Path

    def choose(self, num_bytes: int) -> str:
        """The place of features of this size: `gpu`, `host` or `file`."""
        if self.device.type == "cuda" and num_bytes <= self.gpu_mib * MIB:
            return GPU
        return HOST if num_bytes <= self.host_mib * MIB else FILE

    def is_on_device(self, where: str | None) -> bool:
        """Whether `where` is in the memory of the device that computes; a mapped file is in none."""
        return where == (GPU if self.device.type == "cuda" else HOST)

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, str]:
        """An uninitialised tensor, and its place (`gpu`, `host` or `file`).

        Raises:
            UserError: the file does not fit on the disk.
        """
        num_bytes = prod(shape) * dtype.itemsize
        where = self.choose(num_bytes)
        if where == FILE:
            return self._map_file(shape, dtype, num_bytes), where
        if where == GPU:
            return torch.empty(shape, dtype=dtype, device=self.device), where
        return torch.empty(shape, dtype=dtype, pin_memory=self.device.type == "cuda"), where

    def _map_file(self, shape: tuple[int, ...], dtype: torch.dtype, num_bytes: int) -> Tensor:
        path = temporary_path(self.folder / "features")
        try:
            with path.open("wb") as file:
                # Reserve the space now: a write to a sparse file on a full disk would kill the process.
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            return torch.from_file(str(path), shared=True, size=prod(shape), dtype=dtype).view(shape)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise UserError(
                f"cached features of {num_bytes / MIB:.0f} MiB do not fit on the disk of '{self.folder}': free some "
                "space, allow more memory (runtime.cache_host_mib) or use train.cache=none"
            ) from error
        finally:
            # The mapping keeps the data, and no file remains, however the process ends.
            path.unlink(missing_ok=True)
