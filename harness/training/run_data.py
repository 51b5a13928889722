"""What a run reads of its data sets: the few-shot sample, prompts, and the images of its evaluations."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.clip.texts import Text
from harness.clip.towers import CLIP
from harness.data.dassl import dassl_sample
from harness.data.datasets import read_dataset
from harness.data.fewshot import class_subset, few_shot_sample, hold_out, keep_classes
from harness.data.label_noise import noisy_count, with_label_noise
from harness.data.loader import PictureSet
from harness.data.pictures import Broken, missing_pictures
from harness.data.readers import SPLITS, UNTESTED, Picture, Splits
from harness.data.sample_file import VALIDATION_SHOTS, Sample, read_index, sample_index
from harness.data.transforms import TestTransform, TrainTransform
from harness.errors import UserError
from harness.experiment.data_spec import DASSL, DRAWN
from harness.experiment.needs import uses_training_pictures
from harness.experiment.spec import EvalSpec, RunSpec
from harness.training.build import prompt_texts
from harness.training.intact_pictures import check_once
from harness.training.picture_store import open_picture_store


def validation_shots(spec: RunSpec) -> int:
    """The validation images a class that a run chooses by: at most 4 of them, if `select.shots` says nothing else."""
    asked = spec.select.shots
    if asked is None:
        return min(spec.data.shots, VALIDATION_SHOTS)
    if asked == "shots":
        return spec.data.shots
    return sys.maxsize if asked == "all" else asked


@dataclass(frozen=True)
class FewShotData:
    """What a run may look at while it trains.

    Attributes:
        splits: of the data set.
        drawn: k training and min(k, 4) validation images per class, without broken ones.
        sample: the same without what is held out.
        held_out: images of the sample that are kept from training, for cross-validation.
        broken: images of the sample that cannot be read and were left out.
    """

    splits: Splits
    drawn: Sample
    sample: Sample
    held_out: tuple[Picture, ...] = ()
    broken: tuple[Broken, ...] = ()


class RunData:
    """The data sets of one run. A run that is not tested never reads test images or their labels.

    Args:
        spec: the run.
        tests: whether test images and their labels may be read; None: if the run is tested.
        tell: takes one line, once, if decoded pictures cannot be kept.
    """

    def __init__(
        self, spec: RunSpec, tests: bool | None = None, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        self.spec = spec
        self.root = spec.runtime.find_data_root()
        if tests is None:
            tests = spec.is_tested
        self.split_names = SPLITS if tests else UNTESTED
        self._tell = tell
        self._told: set[str] = set()

    def read(self, dataset: str) -> Splits:
        """A data set; without test images and their labels, if the run is not tested."""
        return read_dataset(dataset, self.root, self.split_names)

    def class_names(self, dataset: str, classes: str) -> list[str]:
        """Names of a subset of a data set's classes."""
        names = self.read(dataset).class_names
        return [names[label] for label in class_subset(len(names), classes)]

    def texts(self, dataset: str, classes: str) -> list[Text]:
        """Of each class of a subset of a data set's classes its prompt, or its prompts."""
        return prompt_texts(self.spec, dataset, self.class_names(dataset, classes))

    def picture_set(self, folder: Path, pictures: Sequence[Picture]) -> PictureSet:
        """Pictures of a folder, whose squares and decoded images are kept as the run says."""
        return PictureSet(folder, pictures, store=open_picture_store(self.spec.runtime), tell=self._tell_once)

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell(line)

    def train_transform(self, clip: CLIP) -> TrainTransform:
        """The augmentation."""
        data = self.spec.data
        return TrainTransform(
            clip.image_size, data.crop_scale, data.flip, clip.preprocessing.interpolation, data.decode
        )

    def test_transform(self, clip: CLIP) -> TestTransform:
        """The transform of evaluations."""
        return TestTransform.of(clip.preprocessing, self.spec.data.decode)

    def few_shot(self) -> FewShotData:
        """The training data set and its sample, all of whose images can be read.

        Raises:
            UserError: there is nothing to train on, or an image is broken or missing.
        """
        spec = self.spec
        splits = self.read(spec.data.dataset)
        if not splits.train and uses_training_pictures(spec):
            layout = f" ({'; '.join(splits.layout)})" if splits.layout else ""
            raise UserError(f"data set '{spec.data.dataset}' has no training images{layout}: train on another")
        sample = self._draw_sample(spec.data.dataset, splits)
        checked = [check_once(splits.folder, pictures, spec.data.skip_broken, spec.runtime) for pictures in sample]
        if not spec.data.skip_broken:
            self._refuse_missing_test_pictures()
        broken = tuple(broken for part in checked for broken in part.broken)
        usable = Sample(*(part.usable for part in checked))
        kept, held = self._hold_out(usable)
        return FewShotData(splits, usable, Sample(kept, usable.val), tuple(held), broken)

    def training_pictures(self, data: FewShotData) -> list[Picture]:
        """The images of the sample that belong to the training classes, with the labels among these to train on.

        Raises:
            UserError: labels are to be replaced, and there is no other class.
        """
        pictures, noise = self.clean_training_pictures(data), self.spec.data.label_noise
        classes = len(class_subset(len(data.splits.class_names), self.spec.data.classes))
        return with_label_noise(pictures, noise, classes, self.spec.sample_seed) if noise else pictures

    def clean_training_pictures(self, data: FewShotData) -> list[Picture]:
        """The same images with their own labels."""
        labels = class_subset(len(data.splits.class_names), self.spec.data.classes)
        return keep_classes(data.sample.train, labels)

    def noisy_labels(self, data: FewShotData) -> tuple[int, int] | None:
        """How many training labels are replaced, and of how many; None without label noise or training images."""
        if not self.spec.data.label_noise or not uses_training_pictures(self.spec):
            return None
        number = len(self.clean_training_pictures(data))
        return noisy_count(number, self.spec.data.label_noise), number

    def validation_pictures(self, data: FewShotData, split: str) -> list[Picture]:
        """The images that a run chooses by, with labels among its training classes.

        Those of an index are all that are looked at, if it has any; those that the official code draws are its few.
        Where a data set has no validation images, training images that are not in the sample take their place.

        Args:
            data: the sample of the run.
            split: val, or test to repeat what published code does.

        Raises:
            UserError: there are none.
        """
        spec, splits = self.spec, self.read(self.spec.data.dataset)
        if split == "test":
            found = list(splits.test)
        elif data.drawn.val and (spec.data.index or (spec.data.sampling == DASSL and spec.select.shots is None)):
            found = list(data.drawn.val)
        else:
            found = few_shot_sample(self._validation_pool(data, splits), validation_shots(spec), spec.sample_seed)
        labels = class_subset(len(splits.class_names), spec.data.classes)
        usable = check_once(splits.folder, found, spec.data.skip_broken, spec.runtime).usable
        chosen = keep_classes(usable, labels)
        if not chosen:
            raise UserError(
                f"method '{spec.method}' chooses on {split} images, and data set '{spec.data.dataset}' has none that "
                "are not trained on: use fewer shots, or a data set with validation images"
            )
        return chosen

    def is_all_validation(self, data: FewShotData) -> bool:
        """Whether `validation_pictures` leaves out none of the validation images."""
        pool = self._validation_pool(data, self.read(self.spec.data.dataset))
        labels = class_subset(len(data.splits.class_names), self.spec.data.classes)
        counts = Counter(picture.label for picture in keep_classes(pool, labels))
        return not self.spec.data.index and max(counts.values(), default=0) <= validation_shots(self.spec)

    @staticmethod
    def _validation_pool(data: FewShotData, splits: Splits) -> list[Picture]:
        drawn = {picture.path for picture in data.drawn.train}
        return list(splits.val) or [picture for picture in splits.train if picture.path not in drawn]

    def evaluated_pictures(self, item: EvalSpec, splits: Splits) -> tuple[list[Picture], list[Broken]]:
        """The images of an evaluation with labels among its classes, and those that were left out as broken.

        Raises:
            UserError: there is nothing to evaluate on.
        """
        labels = class_subset(len(splits.class_names), item.classes)
        chosen = keep_classes(self._pictures_of(item, splits), labels)
        if not chosen:
            where = f"{'+'.join(item.splits)} pictures of classes '{item.classes}' of data set '{item.dataset}'"
            raise UserError(f"evaluation '{item.name}' has nothing to look at: there are no {where}")
        if self.spec.data.skip_broken:
            usable, broken = check_once(splits.folder, chosen, True, self.spec.runtime)
            return usable, list(broken)
        return chosen, []

    def _pictures_of(self, item: EvalSpec, splits: Splits) -> list[Picture]:
        """Images of the splits of an evaluation: outside the test split, only those of the few-shot sample."""
        if item.splits == ("test",):
            return list(splits.test)
        sample = self._draw_sample(item.dataset, splits)
        held_out = self._held_out(sample, splits) if item.dataset == self.spec.data.dataset else []
        available = {"train": sample.train, "val": sample.val, "held_out": held_out, "test": list(splits.test)}
        return [picture for split in item.splits for picture in available[split]]

    def _draw_sample(self, dataset: str, splits: Splits) -> Sample:
        data = self.spec.data
        index = self.spec.index_file if dataset == data.dataset else None
        if index:
            return read_index(index, splits, data.shots, dataset)
        if data.sampling == DASSL:
            return dassl_sample(dataset, splits, data.shots, self.spec.sample_seed)
        train = few_shot_sample(splits.train, self._shots_by_label(splits), self.spec.sample_seed)
        val = few_shot_sample(splits.val, min(data.shots, VALIDATION_SHOTS), self.spec.sample_seed)
        return Sample(train, val)

    def _shots_by_label(self, splits: Splits) -> int | dict[int, int]:
        """Shots of each class; those that fall do so over the training classes, others have the most."""
        data, classes = self.spec.data, len(splits.class_names)
        if not data.long_tail:
            return data.shots
        falling = data.long_tail.by_label(class_subset(classes, data.classes), self.spec.sample_seed)
        return {**dict.fromkeys(range(classes), data.shots), **falling}

    def _hold_out(self, sample: Sample) -> tuple[list[Picture], list[Picture]]:
        """The images of the sample to train on, and those held out."""
        if not self.spec.data.held_out:
            return sample.train, []
        part, _, parts = self.spec.data.held_out.partition("/")
        return hold_out(sample.train, int(part), int(parts))

    def _held_out(self, sample: Sample, splits: Splits) -> list[Picture]:
        """The images that `few_shot` holds out: its parts are of those that can be read."""
        data = self.spec.data
        if data.held_out and data.skip_broken:
            usable = check_once(splits.folder, sample.train, True, self.spec.runtime).usable
            sample = sample._replace(train=usable)
        return self._hold_out(sample)[1]

    def _refuse_missing_test_pictures(self) -> None:
        """Report before training what evaluation would fail on; folders are listed, no image is opened."""
        for dataset in {item.dataset for item in self.spec.evaluate if "test" in item.splits}:
            splits = self.read(dataset)
            missing = missing_pictures(splits.folder, splits.test)
            if missing:
                raise UserError(
                    f"{len(missing)} test images of data set '{dataset}' are missing, the first is "
                    f"'{splits.folder / missing[0]}': restore them (see `skipbench data {dataset}`), "
                    "or leave out what is broken with data.skip_broken=true"
                )


def exported_sample(spec: RunSpec, data: FewShotData) -> dict[str, Any]:
    """The k-shot sample of a run as an index that others can use: before some of it is held out or cut."""
    tail, sampling = spec.data.long_tail, spec.data.sampling  # a long tail cannot be read as k shots
    about = {"dataset": spec.data.dataset, **({"long_tail": str(tail)} if tail else {"shots": spec.data.shots})}
    if sampling != DRAWN and not spec.data.index:
        about["sampling"] = sampling
    about |= {"seed": spec.sample_seed, "broken_images": [broken.path for broken in data.broken]}
    return sample_index(data.drawn, data.splits.class_names, **about)
