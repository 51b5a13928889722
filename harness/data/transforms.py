"""From a decoded image to the square of pixels that a CLIP expects. Normalisation follows on the device."""

import hashlib
import json
import math
import random
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal, NamedTuple

from PIL import Image

from harness.clip.preprocessing import Interpolation, Preprocessing, ResizeMode

ASPECT_RATIOS = (3 / 4, 4 / 3)
TRIES = 10
Box = tuple[int, int, int, int]
Decode = Literal["exact", "fast"]
"""How pictures become squares: pixel for pixel as Pillow and the field's reference code do, or faster and nearly so."""
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# The preprocessing that was the only one when hashes were first written; it does not enter them.
ORIGINAL = {"interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0, "decode": "exact"}


class Cut(NamedTuple):
    """What a transform takes of a picture.

    Attributes:
        box: the part of the picture, in pixels of the whole.
        sides: width and height that this part is resized to.
        mirrored: whether left and right change places in the end.
    """

    box: Box
    sides: tuple[int, int]
    mirrored: bool = False


@dataclass(frozen=True)
class TestTransform:
    """A model's own preprocessing up to the normalisation, equal to open_clip's pixel for pixel.

    Attributes:
        size: side of the square in pixels.
        interpolation: of the resizing.
        resize_mode: shortest side to `size` and centre crop; longest side to `size` and borders; or both sides.
        fill_color: value 0..255 of the borders.
        decode: exact, or fast, which `harness.data.fast_views` computes; calling the transform is always exact.
    """

    __test__ = False  # not a pytest class
    is_fixed: ClassVar[bool] = True  # a picture has one square, whatever the key

    size: int
    interpolation: Interpolation = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0
    decode: Decode = "exact"

    @classmethod
    def of(cls, preprocessing: Preprocessing, decode: Decode = "exact") -> "TestTransform":
        """The transform of a model."""
        p = preprocessing
        return cls(p.size, p.interpolation, p.resize_mode, p.fill_color, decode)

    def cut(self, width: int, height: int, key: str) -> Cut:
        """The whole of a picture of some size, and what it is resized to; `key` is not used."""
        return Cut((0, 0, width, height), self._sides(width, height))

    def __call__(self, image: Image.Image, key: str) -> Image.Image:
        """The square that a model sees of an image; `key` is not used."""
        image = self._resize(image, *self._sides(*image.size))
        if self.resize_mode == "longest":
            return self._fill(image)
        left, top = self.corner(*image.size)
        return image.crop((left, top, left + self.size, top + self.size))

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the square in a resized picture; negative where borders are added."""
        if self.resize_mode == "longest":
            return -((self.size - width) // 2), -((self.size - height) // 2)
        return round((width - self.size) / 2), round((height - self.size) / 2)

    def _sides(self, width: int, height: int) -> tuple[int, int]:
        if self.resize_mode == "squash":
            return self.size, self.size
        if self.resize_mode == "longest":
            longer = max(width, height)
            # Rounded as open_clip does; a very long image keeps one pixel of its other side.
            across, down = (max(1, round(side / (longer / self.size))) for side in (width, height))
            return across, down
        shorter = min(width, height)
        return self.size * width // shorter, self.size * height // shorter

    def _resize(self, image: Image.Image, width: int, height: int) -> Image.Image:
        if image.size == (width, height):
            return image
        return image.resize((width, height), RESAMPLING[self.interpolation])

    def _fill(self, image: Image.Image) -> Image.Image:
        """An image in the centre of the square."""
        square = Image.new(image.mode, (self.size, self.size), (self.fill_color,) * len(image.getbands()))
        left, top = self.corner(*image.size)
        square.paste(image, (-left, -top))
        return square


@dataclass(frozen=True)
class TrainTransform:
    """Random resized crop and horizontal flip, determined by a key.

    Attributes:
        size: side of the square in pixels.
        crop_scale: smallest and largest share of the image's area that a crop covers.
        flip: whether half of the images are mirrored.
        interpolation: of the resizing.
        decode: exact, or fast, which `harness.data.fast_views` computes; calling the transform is always exact.
    """

    is_fixed: ClassVar[bool] = False

    size: int
    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    interpolation: Interpolation = "bicubic"
    decode: Decode = "exact"

    def cut(self, width: int, height: int, key: str) -> Cut:
        """The part of a picture of some size that is its random view of a key."""
        rng = random.Random(key)
        box = random_crop(width, height, self.crop_scale, rng)
        return Cut(box, (self.size, self.size), self.flip and rng.random() < 0.5)

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the square in a resized crop, which is the square itself."""
        return 0, 0

    def __call__(self, image: Image.Image, key: str) -> Image.Image:
        """A random view of an image; the same key gives the same view on every machine."""
        box, sides, mirrored = self.cut(*image.size, key)
        image = image.crop(box).resize(sides, RESAMPLING[self.interpolation])
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image


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
