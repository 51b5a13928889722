"""From a decoded image to the square of pixels that a CLIP expects. Normalisation follows on the device."""

import hashlib
import json
import math
import random
from dataclasses import asdict, dataclass

from PIL import Image

from harness.clip.preprocessing import Interpolation, Preprocessing, ResizeMode

ASPECT_RATIOS = (3 / 4, 4 / 3)
TRIES = 10
Box = tuple[int, int, int, int]
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# The preprocessing that was the only one when hashes were first written; it does not enter them.
ORIGINAL = {"interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}


@dataclass(frozen=True)
class TestTransform:
    """A model's own preprocessing up to the normalisation, equal to open_clip's pixel for pixel.

    Attributes:
        size: side of the square in pixels.
        interpolation: of the resizing.
        resize_mode: shortest side to `size` and centre crop; longest side to `size` and borders; or both sides.
        fill_color: value 0..255 of the borders.
    """

    __test__ = False  # not a pytest class

    size: int
    interpolation: Interpolation = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> "TestTransform":
        """The transform of a model."""
        p = preprocessing
        return cls(p.size, p.interpolation, p.resize_mode, p.fill_color)

    def __call__(self, image: Image.Image, key: str) -> Image.Image:
        """The square that a model sees of an image; `key` is not used."""
        if self.resize_mode == "squash":
            return self._resize(image, self.size, self.size)
        width, height = image.size
        if self.resize_mode == "longest":
            longer = max(width, height)
            # Rounded as open_clip does; a very long image keeps one pixel of its other side.
            sides = [max(1, round(side / (longer / self.size))) for side in (width, height)]
            return self._fill(self._resize(image, *sides))
        shorter = min(width, height)
        image = self._resize(image, self.size * width // shorter, self.size * height // shorter)
        left, top = round((image.width - self.size) / 2), round((image.height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))

    def _resize(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), RESAMPLING[self.interpolation])

    def _fill(self, image: Image.Image) -> Image.Image:
        """An image in the centre of the square."""
        square = Image.new(image.mode, (self.size, self.size), (self.fill_color,) * len(image.getbands()))
        square.paste(image, ((self.size - image.width) // 2, (self.size - image.height) // 2))
        return square


@dataclass(frozen=True)
class TrainTransform:
    """Random resized crop and horizontal flip, determined by a key.

    Attributes:
        size: side of the square in pixels.
        crop_scale: smallest and largest share of the image's area that a crop covers.
        flip: whether half of the images are mirrored.
        interpolation: of the resizing.
    """

    size: int
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    interpolation: Interpolation = "bicubic"

    def __call__(self, image: Image.Image, key: str) -> Image.Image:
        """A random view of an image; the same key gives the same view on every machine."""
        rng = random.Random(key)
        box = random_crop(image.width, image.height, self.crop_scale, rng)
        image = image.crop(box).resize((self.size, self.size), RESAMPLING[self.interpolation])
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
    steps = []
    for transform in transforms:
        fields = {key: value for key, value in asdict(transform).items() if (key, value) not in ORIGINAL.items()}
        steps.append({"step": type(transform).__name__, **fields})
    text = json.dumps([*steps, {"mean": mean, "std": std}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
