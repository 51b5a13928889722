"""Squares of pictures for `data.decode=fast`: JPEGs decoded no larger than needed, resized by torch.

A JPEG can be decoded at a half, a quarter or an eighth of its size, which leaves out most of the work. What is needed
follows from the view: the part of the picture that it shows must still have as many pixels as the square that it is
resized to, so that nothing is ever enlarged that the whole picture would not enlarge. For a test picture that part is
the whole. A random crop may be so small that only the whole picture has the pixels for it; since the crop follows from
size and key alone, it is drawn before anything is decoded, and most crops of a large picture need no more than half.
The smallest crop that could be drawn would rule this out for all but pictures of several million pixels.

Whatever is decided depends on the picture and on the key of its view, never on what is already in memory or on disk.
"""

import io
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.data.transforms import Cut, TestTransform, TrainTransform
from harness.machine.torch_internals import no_dispatch

Pixels = NDArray[np.uint8]

REDUCTIONS = (8, 4, 2, 1)
"""By how much JPEGs can be reduced while they are decoded."""


def reduction(cut: Cut) -> int:
    """The largest of REDUCTIONS that leaves the part that is cut no smaller than what it is resized to."""
    left, top, right, bottom = cut.box
    width, height = cut.sides
    most = min((right - left) // width, (bottom - top) // height)
    return next((by for by in REDUCTIONS if by <= most), 1)


def whole_jpeg(image: Image.Image) -> Pixels | None:
    """The pixels of a JPEG of which only the header has been read, as Pillow would give them but for two copies.

    Returns:
        uint8 (H, W, 3); None for what only Pillow decodes: other formats and colours, and what torchvision refuses.
    """
    file = getattr(image, "fp", None)
    if image.format != "JPEG" or image.mode != "RGB" or not isinstance(file, io.BytesIO):
        return None
    decode_jpeg = _jpeg_decoder()
    if decode_jpeg is None:
        return None
    with no_dispatch(), suppress(RuntimeError):
        decoded = decode_jpeg(torch.from_numpy(np.frombuffer(bytearray(file.getbuffer()), np.uint8)))
        found: Pixels = decoded.permute(1, 2, 0).numpy()
        return found if found.shape[2] == 3 else None
    return None


@cache
def _jpeg_decoder() -> Callable[[Tensor], Tensor] | None:
    """That of torchvision, whose later releases may have none, as its documentation says."""
    # Here, since it takes long to import, and only this way of decoding needs it.
    try:
        from torchvision.io import decode_jpeg
    except ImportError:
        return None
    found: Callable[[Tensor], Tensor] = decode_jpeg
    return found


def fast_square(transform: TestTransform | TrainTransform, cut: Cut, pixels: Pixels, reduced: int = 1) -> Pixels:
    """The square that a transform makes of a picture.

    Args:
        transform: of training or testing.
        cut: what it takes of the picture at its whole size.
        pixels: uint8 (H, W, 3), of the picture divided by `reduced`, rounded up.
        reduced: one of REDUCTIONS.

    Returns:
        uint8 (3, S, S), contiguous: torch resizes to planes, and batches are planes, so that none are put together.
    """
    part = pixels
    if not transform.is_fixed:
        # Rounded to the nearest on all sides: no fewer pixels than `reduction` counted, none beyond the picture, and
        # half a pixel of the square beside the exact crop at the most.
        left, top, right, bottom = ((side + reduced // 2) // reduced for side in cut.box)
        part = pixels[top:bottom, left:right]
    width, height = cut.sides
    # Unseen by whoever counts the bytes of tensors, like all else that is decoded.
    with no_dispatch():
        planes = torch.from_numpy(part).permute(2, 0, 1)
        if planes.shape[1:] != (height, width):
            mode = transform.interpolation
            planes = F.interpolate(planes[None], (height, width), mode=mode, antialias=True, align_corners=False)[0]
        return _square(transform, planes, cut.mirrored).numpy()


def _square(transform: TestTransform | TrainTransform, planes: Tensor, mirrored: bool) -> Tensor:
    """Contiguous (3, S, S) of resized planes (3, H, W): a crop, or the whole between borders."""
    size = transform.size
    height, width = planes.shape[1:]
    left, top = transform.corner(width, height)
    # A copy in any case: what is in memory belongs to no batch.
    square = torch.empty(3, size, size, dtype=torch.uint8)
    if width < size or height < size:
        assert isinstance(transform, TestTransform)
        square.fill_(transform.fill_color)
        square[:, -top : -top + height, -left : -left + width] = planes
        return square
    square.copy_(planes[:, top : top + size, left : left + size])
    return square.flip(2) if mirrored else square
