"""From a decoded image to the square of pixels that a CLIP expects. Normalisation follows on the device."""

import hashlib
import json
import math
import random
from dataclasses import asdict, dataclass

from PIL import Image

ASPECT_RATIOS = (3 / 4, 4 / 3)
TRIES = 10
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class TestTransform:
    """Shorter side resized to `size` (bicubic), then centre crop.

    Attributes:
        size: side of the square in pixels.
    """

    __test__ = False  # not a pytest class

    size: int

    def __call__(self, image: Image.Image, key: str) -> Image.Image:
        """The square in the centre of an image; `key` is not used."""
        width, height = image.size
        shorter = min(width, height)
        if shorter != self.size:
            sides = (self.size * width // shorter, self.size * height // shorter)
            image = image.resize(sides, Image.Resampling.BICUBIC)
        left, top = round((image.width - self.size) / 2), round((image.height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))


@dataclass(frozen=True)
class TrainTransform:
    """Random resized crop (bicubic) and horizontal flip, determined by a key.

    Attributes:
        size: side of the square in pixels.
        crop_scale: smallest and largest share of the image's area that a crop covers.
        flip: whether half of the images are mirrored.
    """

    size: int
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True

    def __call__(self, image: Image.Image, key: str) -> Image.Image:
        """A random view of an image; the same key gives the same view on every machine."""
        rng = random.Random(key)
        box = random_crop(image.width, image.height, self.crop_scale, rng)
        image = image.crop(box).resize((self.size, self.size), Image.Resampling.BICUBIC)
        if self.flip and rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image


def random_crop(width: int, height: int, crop_scale: tuple[float, float], rng: random.Random) -> Box:
    """A crop of random area and aspect ratio.

    The aspect ratio is from 3/4 to 4/3, uniform in its logarithm. If ten draws do not fit into the image, the largest
    centred crop is taken.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        crop_scale: smallest and largest share of the image's area.
        rng: source of randomness.

    Returns:
        Left, top, right, bottom in pixels.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*crop_scale)
        ratio = math.exp(rng.uniform(math.log(ASPECT_RATIOS[0]), math.log(ASPECT_RATIOS[1])))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left, top = rng.randint(0, width - crop_width), rng.randint(0, height - crop_height)
            return left, top, left + crop_width, top + crop_height
    ratio = min(max(width / height, ASPECT_RATIOS[0]), ASPECT_RATIOS[1])
    crop_width, crop_height = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def transform_hash(transforms: list[TestTransform | TrainTransform], mean: object, std: object) -> str:
    """Hash of everything that happens to an image between decoding and the image tower.

    Args:
        transforms: of training and of testing.
        mean: of the normalisation.
        std: of the normalisation.
    """
    steps = [{"step": type(transform).__name__, **asdict(transform)} for transform in transforms]
    text = json.dumps([*steps, {"mean": mean, "std": std}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
