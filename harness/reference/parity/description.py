"""The JSON description of a file of reference vectors: what the official code was given, and how it trained."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from harness.errors import UserError, first_line


class Part(BaseModel):
    """A part of a description; keys that explain it to people are not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Files(Part):
    """Names of the files of tensors, in the folder of the description."""

    backbone: str
    inputs: str
    tensors: str


class Scheduler(Part):
    """A schedule of learning rates, with torch's names.

    Attributes:
        stepped: `per iteration`, or `per epoch` and what an epoch is.
    """

    name: str
    T_max: int = Field(1, ge=1)
    eta_min: float = 0.0
    stepped: str = "per epoch"


class Optimizer(Part):
    """How the official code trains.

    Attributes:
        name: of torch's class; None if nothing trains.
        lr: learning rate, or the name of the stored tensor that holds it.
        batch: `all ...` if every step takes all images; otherwise empty, and steps take the stored batches.
        batch_order: the stored batch of each step; None: one step on each.
        view_order: the view of the images that each step of a full batch takes; None: the images as they are.
        scheduler: None if the rate stays.
    """

    name: str | None = None
    lr: float | str = 0.0
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    batch: str = ""
    batch_order: list[NonNegativeInt] | None = None
    view_order: list[NonNegativeInt] | None = None
    scheduler: Scheduler | None = None


class Hyper(Part):
    """Hyper-parameters.

    Attributes:
        logit_scale: factor of the cosine that replaces the backbone's; None leaves it.
        method_options: official name -> value in the official spelling.
        train_rng_seed: torch's seed before the method draws; None if no draw is compared.
        dataset_name_for_templates: the official name of the data set whose templates a teacher reads.
        tcp_layer: an official constant that is no option there: the block before which class prompts enter.
    """

    logit_scale: float | None = Field(None, gt=0)
    method_options: dict[str, Any] = {}
    optimizer: Optimizer | None = None
    train_rng_seed: int | None = None
    dataset_name_for_templates: str = ""
    tcp_layer: int | None = None


class Trainable(Part):
    """A tensor that trains.

    Attributes:
        name: the official one.
        has_gradient: False if it takes no part in the loss.
    """

    name: str
    has_gradient: bool = True


class StoredTensor(Part):
    """A tensor in the file of tensors."""

    shape: list[int]


class LoaderExample(Part):
    """Batches that the official loaders drew.

    Attributes:
        batches: kind -> positions of the images of every batch.
    """

    python_random_seed: int
    labels: list[int]
    batch_size: int
    batches: dict[str, list[list[int]]]


class Description(Part):
    """What the JSON of a file of vectors says.

    Attributes:
        tensors: name -> the tensor, of all that the file of tensors holds.
        classnames_base: of the classes to train on.
        classnames_new: of the new ones.
        other_strings_tokenised: further texts that the official code reads.
        drawn_sentence_index: of each step, which sentence of each class a teacher with several of them reads.
        kernel_noise_max_abs: tensor or group of tensors -> largest difference that other CPU kernels made in the
            official code.
        kernel_noise_q99: group of tensors -> 99th percentile of these differences; None in files of the first form.
    """

    official_trainer: str
    activation: str
    files: Files
    hyper: Hyper
    prompts_base: list[str] = Field(min_length=1)
    prompts_new: list[str] = []
    classnames_base: list[str] = []
    classnames_new: list[str] = []
    other_strings_tokenised: list[str] = []
    drawn_sentence_index: list[NonNegativeInt] | None = None
    trainable: list[Trainable] = []
    tensors: dict[str, StoredTensor] = {}
    kernel_noise_max_abs: dict[str, float] = {}
    kernel_noise_q99: dict[str, float] | None = None
    feature_loader_example: LoaderExample | None = None

    @property
    def optimizer(self) -> Optimizer:
        """How it trains; the default if nothing does."""
        return self.hyper.optimizer or Optimizer()

    @property
    def epochs(self) -> int | None:
        """Of a training whose first epoch the steps are, if the official code was asked for more of the same."""
        value = self.hyper.method_options.get("OPTIM.MAX_EPOCH")
        return value if isinstance(value, int) and value > 0 else None

    @property
    def options(self) -> dict[str, Any]:
        """Last part of an option's name -> its value, without those of the optimizer."""
        named = {name.rpartition("."): value for name, value in self.hyper.method_options.items()}
        found = {name: value for (section, _, name), value in named.items() if section != "OPTIM"}
        layer = self.hyper.tcp_layer
        return found if layer is None else {**found, "tcp_layer": layer}


def read_description(file: Path) -> Description:
    """The description in a JSON file.

    Raises:
        UserError: it cannot be read, or is none.
    """
    try:
        return Description.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "it"
        raise incomplete(file, f"{key}: {problem['msg']}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise incomplete(file, f"{type(error).__name__} {first_line(error)}") from error


def incomplete(file: Path, reason: str) -> UserError:
    """The error of a vector file that cannot be used."""
    return UserError(f"{file} is not a complete vector file: {reason}")
