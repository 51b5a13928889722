"""Our method in the place of the official one: the same backbone, prompts, options and images."""

import copy
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.prompts import Prompts
from harness.clip.texts import Taught
from harness.clip.towers import CLIP, END, Stage
from harness.errors import UserError
from harness.reference.parity.comparison import Found, worst_element
from harness.reference.parity.description import incomplete
from harness.reference.parity.naming import official_of, our_tensor, read_config
from harness.reference.parity.teacher import teacher_texts
from harness.reference.parity.tolerances import tolerance_of
from harness.reference.parity.vectors import Vectors, load_tiny_clip
from harness.training.build import move
from harness.training.fitting import fit_method
from harness.training.inference import classify_features, encode_texts, run_frozen
from harness.training.precision import autocast, store_clip, store_method
from methods.base import Method, Shots

PRECISION = "fp32"
VIEW_OPTIONS = ("VIEWS", "AUGMENT_EPOCH")
"""Official options that say how many views of each training image there are."""
ROTATIONS = 4


class Subject:
    """One of our methods in the place of the official one.

    Args:
        cls: our method.
        vectors: of the official one.
        precision: in which ours computes.

    Attributes:
        stored: the official tensors.
        clip: the backbone.
        prompts: of the classes to train on.
        prompts_new: of the new ones; the same where a method cannot be used for new classes.
        method: ours.
        drawn: official names of initial values and constants that are drawn at random.
    """

    def __init__(self, cls: type[Method], vectors: Vectors, precision: str = PRECISION) -> None:
        self.cls = cls
        self.vectors = vectors
        self.precision = precision
        self.stored = vectors.tensors
        self.config = read_config(cls, vectors)
        self.clip = move(store_clip(load_tiny_clip(vectors), precision), vectors.device)
        about = vectors.about
        self.prompts = self._tokenize(about.prompts_base, about.classnames_base)
        self.prompts_new = (
            self._tokenize(about.prompts_new, about.classnames_new) if about.prompts_new else self.prompts
        )
        initial = self.initial_names() + self._constants()
        # Two of it, to see what is drawn; their tokenizer never changes.
        shared = {id(self.clip.tokenizer): self.clip.tokenizer}
        other = self._build(copy.deepcopy(self.clip, shared)) if initial else None
        seed = vectors.about.hyper.train_rng_seed
        if seed is not None:
            # The official loop draws one permutation of the image tokens before the method draws anything.
            torch.manual_seed(seed)
            torch.randperm(1 + (self.clip.image.positional_embedding.shape[0] - 1))
        self.method = self._build(self.clip)
        self.drawn = {name for name in initial if other and not torch.equal(our_tensor(other, name), self.tensor(name))}

    def _tokenize(self, texts: list[str], class_names: list[str]) -> Prompts:
        """The prompts of some classes, beside those of the method's teacher if it has one."""
        if self.cls.teacher is None:
            return self.clip.tokenize(texts)
        taught = teacher_texts(self.cls, self.config, self.vectors, class_names)
        return self.clip.tokenize([Taught((text,), theirs) for text, theirs in zip(texts, taught, strict=True)])

    def _build(self, clip: CLIP) -> Method:
        """The method, fitted, as its own draws leave it."""
        weights = {option: self._file_of(option) for option in self.cls.weights_options() if self._is_set(option)}
        with autocast(self.precision, clip.device):
            method = self.cls(clip, self.config, self.prompts, weights=weights)
        method = move(store_method(method, self.precision), clip.device)
        if self.cls.is_fitted():
            shots = self._as_shots(self.views_at(method.image_start))
            fit_method(method, shots, self.precision, int(torch.randint(2**31, ())))
        return method

    def _is_set(self, option: str) -> bool:
        return getattr(self.config, option) is not None

    def _file_of(self, option: str) -> Tensor:
        """The tensor in the place of the file that an option of the method names."""
        name = getattr(self.config, option)
        if name not in self.stored:
            raise incomplete(self.vectors.file, f"it names a tensor '{name}', and holds none")
        return self.stored[name]

    def initial_names(self) -> list[str]:
        """Official names of the stored initial values, without those that take no part in the loss."""
        unused = {row.name for row in self.vectors.about.trainable if not row.has_gradient}
        names = [name.removeprefix("init.") for name in self.stored if name.startswith("init.")]
        return [name for name in names if name not in unused]

    def _constants(self) -> list[str]:
        """Official names of the stored constants that are tensors of the method."""
        found = official_of(self.cls).tensors
        return [name for name in found if name.startswith("const.") and self.has(name) and not is_of_new_classes(name)]

    def tensor(self, official: str) -> Tensor:
        """Our tensor of an official name."""
        return our_tensor(self.method, official)

    @cached_property
    def trained(self) -> dict[str, Tensor]:
        """Official name -> our tensor, of those that are trained and take part in the loss."""
        return {name: self.tensor(name) for name in self.vectors.trained()}

    def option(self, *names: str) -> int | None:
        """The first of some official options that is given, a positive whole number; None if none is.

        Raises:
            UserError: it is no such number.
        """
        for name in names:
            value = self.vectors.about.options.get(name)
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value != int(value):
                    raise UserError(f"{self.vectors.file}: official option {name}={value} is no positive whole number")
                return int(value)
        return None

    @cached_property
    def shots(self) -> Shots:
        """All training images at the method's stage, in the views of the vectors."""
        return self._as_shots(self.views_at(self.method.image_start))

    def _as_shots(self, x: Tensor) -> Shots:
        labels = self.vectors.shot_labels()
        return Shots(x, labels, self.option("SHOTS") or int(labels.bincount().max()))

    def views_at(self, stage: Stage) -> Tensor:
        """All training images at a stage, in the views of the vectors: (V, N, ...)."""
        images, views = self.vectors.train_images.flatten(0, 1), self.option(*VIEW_OPTIONS) or 1
        return torch.stack(
            [run_frozen(self.clip, view_of(images, view), stage, self.precision) for view in range(views)]
        )

    @cached_property
    def tested(self) -> Tensor:
        """Evaluation images at the method's stage."""
        return self.run_frozen(self.vectors.eval_images)

    def run_frozen(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) -> images at the method's stage."""
        return run_frozen(self.clip, pixels, self.method.image_start, self.precision)

    def frozen(self, batch: int) -> Tensor | None:
        """What the untouched CLIP makes of the images of a training batch, (B, E), if the method asks for that."""
        if not self.cls.frozen_view:
            return None
        other = self.cls.frozen_view == "other"
        images = self.stored["train_images2"] if other else self.vectors.train_images
        return run_frozen(self.clip, images[batch], END, self.precision)

    def logits(self) -> Tensor:
        """Logits (N, C) of the evaluation images over the classes that are set."""
        return classify_features(self.method, self.tested, encode_texts(self.method, self.precision), self.precision)

    @torch.no_grad()
    def of_images(self, function: str, x: Tensor) -> Tensor:
        """What a function of the method gives for images at its stage and the classes that are set.

        Args:
            function: its name; `.0` behind it means the first of what it gives.
            x: the images.
        """
        name, _, place = function.partition(".")
        result: Tensor = getattr(self.method, name)(x, encode_texts(self.method, self.precision))
        return result[int(place)] if place else result

    def accuracy(self) -> float:
        """Percent of the evaluation images that are classified rightly."""
        right = self.logits().argmax(dim=1) == self.stored["eval_labels"]
        return 100 * int(right.sum()) / len(right)

    def has(self, name: str) -> bool:
        """Whether a tensor is stored."""
        return name in self.stored

    def is_mapped(self, official: str) -> bool:
        """Whether the method says which of its tensors a stored one is."""
        return official in official_of(self.cls).tensors

    def compare(
        self, name: str, ours: Tensor, quantity: str | None = None, row: int | None = None, largest: float = 0.0
    ) -> Found:
        """Our value of a stored tensor beside the official one.

        Args:
            name: of the stored tensor.
            ours: our value; of another shape where numbers of classes stand for one-hot rows or a number for many.
            quantity: under which it is reported; None: its name.
            row: compare this row of the stored tensor; None: all of it.
            largest: for logits of a candidate, its largest number.
        """
        theirs = self.stored[name] if row is None else self.stored[name][row]
        allowed = tolerance_of(self.vectors, name, theirs, largest)
        if theirs.dim() == 0 and ours.numel():
            theirs = theirs.expand(ours.shape)
        elif not ours.is_floating_point() and theirs.dim() == ours.dim() + 1:
            ours = F.one_hot(ours.long(), theirs.shape[-1])
        return quantity or name, worst_element(ours, theirs, *allowed)


def is_of_new_classes(name: str) -> bool:
    """Whether a stored tensor was computed for the new classes."""
    return name.startswith("const.new_") or name.endswith("_new")


def view_of(images: Tensor, view: int) -> Tensor:
    """One of the views that stand for random ones: rotated by quarters, from the fifth on mirrored too.

    Args:
        images: (N, 3, H, W), H = W.
        view: 0, 1, ...
    """
    rotated = images.rot90(view % ROTATIONS, (2, 3))
    return rotated.flip(3) if view >= ROTATIONS else rotated
