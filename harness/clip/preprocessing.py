"""What happens to an image before the image tower: a part of the model, since its weights were trained with it."""

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["bicubic", "bilinear"]
ResizeMode = Literal["shortest", "longest", "squash"]
Channels = tuple[float, float, float]

# OpenAI's normalisation, which open_clip assumes where a model names no other.
OPENAI_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD: Channels = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """open_clip's preprocessing of a model.

    Attributes:
        size: side of the square that the image tower takes, in pixels.
        mean: of the normalisation, per channel, for images scaled to 0..1.
        std: of the normalisation, per channel.
        interpolation: of every resizing.
        resize_mode: what is resized to `size`: the shortest side, then the centre is cropped; the longest side, then
            the borders are filled; or both sides, whatever the aspect ratio (squash).
        fill_color: value 0..255 of the filled borders.
    """

    size: int
    mean: Channels = OPENAI_MEAN
    std: Channels = OPENAI_STD
    interpolation: Interpolation = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0
