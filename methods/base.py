"""The interface of adaptation methods: how image tokens and class prompts become logits, and which parameters train."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from harness.clip.ends import Ends
from harness.clip.ensembles import encode_classes
from harness.clip.frozen_texts import run_frozen_texts
from harness.clip.prompts import Prompts
from harness.clip.texts import Text
from harness.clip.tower_parts import TowerPart
from harness.clip.towers import CLIP, END, Stage
from methods._parts import (
    ONE_PROMPT,
    WEIGHTS_FILE,
    Candidate,
    Official,
    OtherClassesError,
    Search,
    Shots,
    TooFewShotsError,
    WeightsError,
    WeightsFile,
    check_depth,
    first_best,
)

__all__ = (
    "Candidate",
    "Method",
    "Official",
    "OtherClassesError",
    "Search",
    "Shots",
    "TooFewShotsError",
    "WeightsError",
    "WeightsFile",
    "check_depth",
    "first_best",
)


class Method(nn.Module):
    """An adaptation method. Subclasses override what their paper changes, and nothing else.

    Args:
        clip: a frozen CLIP.
        config: the method's options.
        prompts: prompts of the classes to train on.
        cache_text: False computes the frozen text stages again at every use, as the reference code does.
        weights: option -> the tensor of its file, of the options of type `WeightsFile` that are set; on the device.

    Attributes:
        image_start: the image stage from which training matters.
        text_start: the text stage from which training matters.
        training_texts: what is written of the classes to train on.
        prompts: prompts of the classes that are set.
        frozen_text: their texts at `text_start`, one for each class; None if they are not cached.
        teacher_text: what `encode_teacher` gives for them; None if the method has no teacher.
    """

    templates: ClassVar[str] = "zeroshot"
    """Which of a data set's two templates the authors use: 'zeroshot' or 'finetune'."""

    trains: ClassVar[bool] = True
    """Whether weights train by gradient steps. A method that neither trains nor is fitted is evaluated once for all
    seeds and recipes."""

    keeps_underscores: ClassVar[bool] = False
    """Whether the authors leave underscores in class names, instead of writing spaces."""

    averages_normalised: ClassVar[bool] = True
    """How the texts of a class with several prompts become one: the mean of normalised embeddings, normalised, or else
    the mean of embeddings as they are."""

    teacher: ClassVar[str | None] = None
    """Templates from which the untouched CLIP, as a teacher, encodes texts of the classes: `zeroshot` or `finetune` of
    the data set, or an ensemble such as `imagenet_80`. None: there is no teacher."""

    frozen_view: ClassVar[Literal["same", "other"] | None] = None
    """Which views of the training images the untouched CLIP embeds for `loss_beside_frozen`: the `same` as the method,
    or `other` random ones. None: the method trains by `loss`."""

    counts_image_blocks: ClassVar[bool] = False
    """Whether options count the blocks of the image tower alone: `check` gets their number, not that of both towers."""

    stays_fp32: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the names of parameters that the authors keep in float32 when they train in half precision."""

    tower_parts: ClassVar[tuple[TowerPart, ...]] = ()
    """What the method reads or changes of the parts of towers that not every backbone has."""

    official: ClassVar[Official | None] = None
    """Names in the authors' implementation; None if there is none to compare with."""

    class Config(BaseModel):
        """The method's options; on the command line `<method>.<option>=value`."""

        model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    def __init__(
        self,
        clip: CLIP,
        config: Any,
        prompts: Prompts,
        cache_text: bool = True,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.config = config
        self.cache_text = cache_text
        self.weights = dict(weights or {})
        self.training_texts = prompts.texts
        self.image_start, self.text_start = self.start_stages()
        self.set_classes(prompts)
        self.build()

    @classmethod
    def is_fitted(cls) -> bool:
        """Whether something follows from the shots without training."""
        return cls.fit is not Method.fit

    @classmethod
    def selects(cls) -> bool:
        """Whether something is chosen on validation images."""
        return cls.search is not Method.search

    @classmethod
    def weights_options(cls) -> list[str]:
        """The options of type `WeightsFile`, by the names that stand in settings."""
        return [
            info.alias or name
            for name, info in cls.Config.model_fields.items()
            if any(WEIGHTS_FILE in getattr(kind, "__metadata__", ()) for kind in get_args(info.annotation))
            or WEIGHTS_FILE in info.metadata
        ]

    @classmethod
    def check(cls, config: Any, num_blocks: int) -> None:
        """Raise ValueError, naming the option, if the options do not fit a backbone of `num_blocks` blocks."""

    @classmethod
    def needs(cls, config: Any) -> tuple[TowerPart, ...]:
        """The parts of a backbone that are needed with these options: by default `tower_parts`."""
        return cls.tower_parts

    @classmethod
    def unused(cls, config: Any) -> dict[str, str]:
        """Options that change nothing beside the others -> why; whoever sets one is told.

        A setting of runs that the method takes from elsewhere has its whole name, such as `train.lr` where
        `parameter_groups` gives all parameters rates of their own.
        """
        return {}

    @classmethod
    def prompt_template(cls, config: Any, template: str) -> str:
        """The prompt template to use instead of a data set's own; `{}` is the class name."""
        return template

    @classmethod
    def teacher_template(cls, config: Any, template: str) -> str:
        """The teacher's prompt template to use instead of a template of `teacher`; `{}` is the class name."""
        return template

    def start_stages(self) -> tuple[Stage, Stage]:
        """The stages of the image and the text tower from which training matters; before them everything is frozen."""
        return END, END

    def build(self) -> None:
        """Create or unfreeze the parameters that train. The training classes are already set."""

    def fit(self, shots: Shots) -> None:
        """Compute what follows from the shots without training: a closed form, a cache, initial weights, step sizes.

        Called once, after `build()` and before anything trains, with the training classes set. Tensors that later
        stages need become buffers, or parameters if they train.

        Raises:
            TooFewShotsError: it does not follow from so few of them.
        """

    def loaded(self) -> None:
        """Called when stored weights and buffers took the place of its own: compute again what follows from them."""

    def search(self) -> Search:
        """Choose on validation images, after the training: see `Search`. The harness calls `use` with each candidate
        before it takes its accuracy, and with the chosen one in the end.
        """
        return {}
        yield

    def candidate_logits(self, x: Tensor) -> Callable[[Candidate], Tensor]:
        """A function that gives the logits (B, C) of the same images for one candidate of `search` after another.

        The harness calls `use` with a candidate first, then this function. Override it to compute only once what
        candidates share; the logits must be those of `logits`.
        """
        return lambda candidate: self.logits(x, self.text_features())

    def use(self, candidate: Candidate) -> None:
        """Take the numbers of a candidate of `search`: by default each fills the buffer of its name."""
        for name, value in candidate.items():
            self.get_buffer(name).fill_(value)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of parameters with settings of their own instead of the recipe's, in the form of torch's optimizers.

        Parameters that are in none of them follow the recipe. The schedule moves a `lr` given here as it moves the
        recipe's.
        """
        return []

    def change_gradients(self) -> None:
        """Change `.grad` of parameters between the backward pass of a step and the step.

        With a loss scale they are multiplied by it, so that what is done must be proportional to them.
        """

    @classmethod
    def changes_gradients(cls) -> bool:
        """Whether a step needs all gradients at once, to change them."""
        return cls.change_gradients is not Method.change_gradients

    def after_epoch(self, epoch: int, epochs: int) -> None:
        """Called after the last step of epoch 0, 1, ... of a training of `epochs`, without gradients."""

    @property
    def has_training_classes(self) -> bool:
        """Whether the classes that are set are those of the training."""
        return self.prompts.texts == self.training_texts

    def check_classes(self, texts: tuple[Text, ...]) -> None:
        """Raise OtherClassesError if the method cannot be used for the classes of these texts."""

    def set_classes(self, prompts: Prompts) -> None:
        """Use these classes (training or new ones) for everything that follows.

        Raises:
            OtherClassesError: the method can be used only for its training classes, or for one prompt a class.
        """
        self.check_classes(prompts.texts)
        if prompts.counts and self.text_start != END:
            raise OtherClassesError(ONE_PROMPT)
        self.prompts = prompts
        # Several prompts of a class are one text at END, where the end of the first stands for all.
        self.text_ends = Ends(prompts.eot[prompts.first_of_each()]) if prompts.counts else prompts.ends
        self.frozen_text = self._run_frozen_text(prompts.ids, prompts.ends) if self.cache_text else None
        self.teacher_text = self._run_teacher(prompts.teacher) if prompts.teacher else None

    @torch.no_grad()
    def _run_frozen_text(self, ids: Tensor, ends: Ends) -> Tensor:
        if self.prompts.counts:
            return encode_classes(self.clip.text, self.prompts, self.averages_normalised)
        return run_frozen_texts(self.clip.text, ids, ends, self.text_start, self.prompts.shared)

    @torch.no_grad()
    def _run_teacher(self, prompts: Prompts) -> Tensor:
        return self.encode_teacher(prompts)

    def encode_teacher(self, prompts: Prompts) -> Tensor:
        """What is kept of the teacher's prompts: by default one embedding (C, E) for each class, normalised where the
        method `averages_normalised` ones.
        """
        return encode_classes(self.clip.text, prompts, self.averages_normalised)

    def text_tokens(self, classes: Tensor | None = None) -> tuple[Tensor, Ends]:
        """Texts at `text_start` (C, T, width) or, at END, (C, E), and where they end.

        Args:
            classes: indices of some of the classes, or None for all.
        """
        ids, ends, text = self.prompts.ids, self.text_ends, self.frozen_text
        if self.prompts.counts:
            text = self._run_frozen_text(ids, ends) if text is None else text
        if classes is not None:
            ids, ends, text = ids[classes], ends.of(classes), None if text is None else text[classes]
        return (self._run_frozen_text(ids, ends) if text is None else text), ends

    def text_features(self, classes: Tensor | None = None) -> Tensor:
        """Text embeddings (C, E) of all classes or of those indexed by `classes`.

        They are not normalised, unless classes have several prompts and the method `averages_normalised` ones.
        """
        tokens, eot = self.text_tokens(classes)
        return self.clip.text.run(tokens, self.text_start, END, eot, shared=self.prompts.shared)

    def image_features(self, x: Tensor) -> Tensor:
        """Image embeddings (B, E), not normalised, of images at `image_start`."""
        return self.clip.image.run(x, self.image_start, END)

    def similarity_logits(self, image: Tensor, text: Tensor) -> Tensor:
        """CLIP's logits (B, C): logit scale times cosine similarity of image and text embeddings, plus SigLIP's bias.

        Under autocast they are computed in float32, because logits reach 100 and bfloat16 has 8 significant bits.

        Args:
            image: embeddings (B, E).
            text: embeddings (C, E), or (B, C, E) if each image has its own texts.
        """
        device = image.device.type
        if torch.is_autocast_enabled(device):
            image, text = image.float(), text.float()
        with torch.autocast(device, enabled=False):
            image, text = F.normalize(image, dim=-1), F.normalize(text, dim=-1)
            cosine = image @ text.T if text.dim() == 2 else (text @ image[:, :, None]).squeeze(2)
            return self.clip.scale(cosine)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """Logits (B, C) of images at `image_start`, given the `text_features()` of the classes."""
        return self.similarity_logits(self.image_features(x), text)

    def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs of the loss: logits (B, C') over the classes that take part, and labels (B,) among these classes.

        Args:
            x: images at `image_start`.
            labels: (B,), among the training classes.
        """
        return self.logits(x, self.text_features()), labels

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy of a batch of images at `image_start` with labels (B,)."""
        return F.cross_entropy(*self.training_logits(x, labels))

    def loss_beside_frozen(self, x: Tensor, labels: Tensor, frozen: Tensor) -> Tensor:
        """The loss of a method with a `frozen_view`.

        Args:
            x: images at `image_start`.
            labels: (B,), among the training classes.
            frozen: embeddings (B, E) of the same images by the untouched CLIP, not normalised.
        """
        raise NotImplementedError

    def train_towers_from(self, start: Stage) -> None:
        """Unfreeze, in both towers, the blocks from `start` on, the final LayerNorm and the projection."""
        for tower in (self.clip.image, self.clip.text):
            for parameter in tower.parameters_from(start):
                parameter.requires_grad_(True)

    def facts(self) -> dict[str, int | float]:
        """Facts about this training for readers of the result, such as how many classes took part."""
        return {}
