"""What a run writes and everyone reads: `result.json`, lines of `metrics.jsonl`, predictions, facts beside tensors.

Each form is a typed record. A `Result` reads every form that earlier versions wrote; what they did not know is None or
empty. Readers of results never index plain dictionaries.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer

from harness.clip.texts import OneOrMore, prompts_of
from harness.errors import UserError, first_line
from harness.experiment.spec import RunSpec
from harness.machine.costs import CACHE, TRAIN, Batches, PhaseCosts, highest_peak
from harness.machine.environment import Environment
from harness.results.files import read_problem, read_regular
from harness.results.numbers import Amount, Count, Number, Percent, Probability, check_json

SCHEMA_VERSION = 2
"""Of `result.json`. 1: written by SkipBench 0.1, which did not write the number."""


class DamagedError(UserError):
    """A file of a run that cannot be read as what it should be."""


class Record(BaseModel):
    """A part of a record: immutable, keys of other versions ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Evaluation(Record):
    """One evaluation of a run.

    Attributes:
        name: what tables call it, such as base or new.
        dataset: that was evaluated on.
        classes: subset of its classes.
        splits: of its images.
        template: of the prompts, or several; None if unknown.
        layout: how the data set was found on disk, in words.
        broken_images: images that could not be read and were left out.
        accuracy: percent.
        ece: expected calibration error, percent.
        per_class: class name -> accuracy, percent.
        images: number of images.
        same_prompts: groups of classes whose prompts are the same tokens, so that no method can tell them apart.
        pictures_hash: of the images' paths and labels and the names of the classes; None if unknown.
    """

    name: str
    dataset: str
    classes: str = "all"
    splits: tuple[str, ...] = ("test",)
    template: OneOrMore | None = None
    layout: tuple[str, ...] = ()
    broken_images: Count = 0
    accuracy: Percent
    ece: Percent | None = None
    per_class: dict[str, Percent] = Field(default_factory=dict)
    images: Count = 0
    same_prompts: tuple[tuple[str, ...], ...] = ()
    pictures_hash: str | None = None


class Costs(Record):
    """What a run cost.

    Attributes:
        phases: phase -> its costs.
        alone: whether the run had its device to itself; None if unknown.
        together: most runs, this one included, that trained as one: the seconds of phase train, and on a GPU its
            memory, are those of all of them. None: the run trained alone.
        trainable_parameters, total_parameters: numbers of parameters.
        train_flops_per_image, cache_flops_per_image: floating point operations; None if nothing trains.
        cache_location: gpu, host or file; None without cached features.
        cache_bytes: size of the cached image features.
        checkpoint_bytes: size of the checkpoint.
    """

    phases: dict[str, PhaseCosts]
    alone: bool | None = None
    together: Count | None = None
    trainable_parameters: Count = 0
    total_parameters: Count = 0
    train_flops_per_image: Amount | None = None
    cache_flops_per_image: Amount | None = None
    cache_location: str | None = None
    cache_bytes: Count = 0
    checkpoint_bytes: Count = 0

    def seconds(self, *phases: str) -> float:
        """Wall time of some phases together, of the method alone: with what another run spent on shared features."""
        return sum(self.phases[name].whole_seconds for name in phases if name in self.phases)

    def peak_bytes(self, *phases: str) -> int | None:
        """Highest peak memory of some phases; None if none of them was measured."""
        return highest_peak(self.phases[name] for name in phases if name in self.phases)

    def training_flops(self) -> float:
        """Floating point operations of a whole training with its caching pass."""
        per_image = {CACHE: self.cache_flops_per_image or 0.0, TRAIN: self.train_flops_per_image or 0.0}
        return sum(flops * self.phases[name].images for name, flops in per_image.items() if name in self.phases)


class Prediction(Record):
    """What a run predicted for one image.

    Attributes:
        path: of the image, relative to the image folder of its data set.
        label: name of its class.
        predicted: name of the class with the highest logit.
        confidence: probability of that class.
    """

    path: str
    label: str
    predicted: str
    confidence: Probability


class SampleFacts(Record):
    """The k-shot sample of a run.

    Attributes:
        hash: of its images' paths and labels.
        train_images, val_images: numbers of images.
        broken_images: paths of images that could not be read and were left out.
        shots: fewest and most training images of a class that is trained on; None if unknown.
        noisy_labels: number of training labels that were replaced, and of how many; None without label noise.
    """

    hash: str
    train_images: Count
    val_images: Count
    broken_images: tuple[str, ...] = ()
    shots: tuple[int, int] | None = None
    noisy_labels: tuple[Count, Count] | None = None


class Selection(Record):
    """What a run chose on pictures that it did not train on.

    Attributes:
        chosen: name of a number -> its chosen value; empty if the method searches nothing.
        accuracy: of what was chosen, percent.
        candidates: number of candidates that were tried; `selection.json` has them all.
        pictures: the split that the search looked at.
        images: number of its images.
        shots: validation images a class that were asked for; None: as many as shots, at most 4.
        most: validation images of the class with the most of them; None in results of earlier versions.
        whole: whether no validation image was left out.
        epoch: the epoch that was kept, 0, 1, ...; None: the last one, whatever its accuracy.
        epoch_accuracy: of it, percent.
        epoch_pictures: the split that it was judged on.
        epoch_images: number of its images.
    """

    chosen: dict[str, Number] = Field(default_factory=dict)
    accuracy: Percent | None = None
    candidates: Count = 0
    pictures: Literal["val", "test"] = "val"
    images: Count = 0
    shots: int | Literal["shots", "all"] | None = None
    most: Count | None = None
    whole: bool = False
    epoch: Count | None = None
    epoch_accuracy: Percent | None = None
    epoch_pictures: Literal["val", "test"] = "val"
    epoch_images: Count = 0


class Refusal(Record):
    """An evaluation of the spec that the method cannot take part in.

    Attributes:
        evaluation: its name, such as new.
        reason: why not, in words.
    """

    evaluation: str
    reason: str


class InputFile(Record):
    """A file that decided a result without being named in its spec.

    Attributes:
        kind: "data set" or "method".
        name: of the data set or method.
        file: path relative to the folder of the data set, or of the method's file.
        sha256: of its content.
    """

    kind: Literal["data set", "method"]
    name: str
    file: str
    sha256: str


class Header(Record):
    """What every form of `result.json` begins with.

    Attributes:
        schema_version: of the form on disk.
    """

    schema_version: int = 1


class Result(Header):
    """A finished run: the content of `result.json`.

    Attributes:
        id: of the run.
        name: for people; not unique.
        spec: what was run.
        evaluations: in the order of the spec, without those that were refused.
        refusals: evaluations of the spec that the method cannot take part in.
        costs: measured.
        method_facts: what the method reports of its training.
        sample: the k-shot sample; None if unknown.
        selection: what was chosen on validation images; None if nothing was.
        layout: how the training data set was found on disk, in words.
        transform_hash: of the image transforms.
        weights_sha256: of the backbone's checkpoint file; None for weights without a file.
        inputs: files that the spec does not name; empty if unknown.
        interruptions: how often the run was interrupted and continued.
        batches: pictures that were computed at once; None in results of earlier versions.
        recomputes: tower -> whether its cheap outputs were computed again in backward passes; empty: unknown.
        step_threads: that computed its training steps on a CPU; None: unknown, or there were none.
        environment: the machine.
    """

    id: str
    name: str = ""
    spec: RunSpec
    evaluations: tuple[Evaluation, ...]
    refusals: tuple[Refusal, ...] = ()
    costs: Costs
    method_facts: dict[str, Number] = Field(default_factory=dict)
    sample: SampleFacts | None = None
    selection: Selection | None = None
    layout: tuple[str, ...] = ()
    transform_hash: str | None = None
    weights_sha256: str | None = None
    inputs: tuple[InputFile, ...] = ()
    interruptions: Count = 0
    batches: Batches | None = None
    recomputes: dict[str, bool] = Field(default_factory=dict)
    step_threads: Count | None = None
    environment: Environment

    @field_serializer("spec")
    def _spec_settings(self, spec: RunSpec) -> dict[str, Any]:
        return spec.settings()

    @property
    def accuracies(self) -> dict[str, float]:
        """Evaluation -> accuracy in percent."""
        return {item.name: item.accuracy for item in self.evaluations}

    @property
    def template(self) -> str:
        """The prompt templates of all evaluations, an ensemble by its name if it has one."""
        which = self.spec.data.templates
        found = []
        for item in self.evaluations:
            named = isinstance(item.template, tuple) and isinstance(which, str)
            found.append(str(which) if named else " | ".join(prompts_of(item.template or "")))
        return ", ".join(dict.fromkeys(found))


class CacheFacts(Record):
    """Where the cached features of the training images are, and their size in bytes."""

    cache_location: str | None = None
    cache_bytes: int = 0


def parse_result(text: str | bytes, source: Path) -> Result:
    """A result from JSON.

    Args:
        text: of any version so far.
        source: the file, for the message.

    Raises:
        DamagedError: it is no result, or of a later version.
    """
    try:
        result = Result.model_validate_json(text)
        check_json(text)
        json.dumps(result.spec.options, allow_nan=False)
    except ValidationError as error:
        # What a later version wrote may have any form, and must not be taken for damage.
        check_version(version_of(text), source)
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            # Unlike other keys, an unknown setting cannot be ignored: it may decide the result.
            raise DamagedError(
                f"'{source}' has the setting '{where.removeprefix('spec.')}', which this version of SkipBench does "
                "not know: update SkipBench"
            ) from None
        what = f"{where}: {problem['msg']}" if where else str(problem["msg"])
        raise DamagedError(
            f"'{source}' is not the result of a run ({what}): remove its folder to compute the run again"
        ) from None
    except ValueError as error:
        raise DamagedError(
            f"'{source}' is not the result of a run ({first_line(error)}): remove its folder to compute the run again"
        ) from None
    check_version(result.schema_version, source)
    return result


def version_of(text: str | bytes) -> int:
    """The schema version of a result that may have any other form; 0 if there is none."""
    try:
        return Header.model_validate_json(text).schema_version
    except ValidationError:
        return 0


def check_version(version: int, source: Path) -> None:
    """Raise a DamagedError if a result is of a later version."""
    if version > SCHEMA_VERSION:
        raise DamagedError(
            f"'{source}' was written by a later version of SkipBench (schema {version}, this version reads up to "
            f"{SCHEMA_VERSION}): update SkipBench"
        )


def read_result(path: Path) -> Result:
    """The result in a file.

    Raises:
        DamagedError: it cannot be read, is no result, or is of a later version.
    """
    try:
        text = read_regular(path)
    except OSError as error:
        raise DamagedError(read_problem(path, error)) from error
    return parse_result(text, path)
