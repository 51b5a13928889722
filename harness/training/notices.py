"""What a user should know of a run's data before it trains, in one line each."""

from collections import Counter
from collections.abc import Iterator, Sequence

from harness.data.fewshot import class_subset, hold_out, keep_classes
from harness.data.image_folder import HASHED
from harness.data.own_names import is_own
from harness.data.readers import Picture
from harness.data.sample_file import VALIDATION_SHOTS
from harness.experiment.needs import uses_training_pictures
from harness.experiment.spec import RunSpec
from harness.training.inputs import datasets_of
from harness.training.run_data import FewShotData, RunData


def fewest_and_most(pictures: Sequence[Picture], classes: int) -> tuple[int, int]:
    """The fewest and the most pictures of a class, of a number of classes with the labels 0, 1, ..."""
    counts = Counter(picture.label for picture in pictures)
    numbers = [counts[label] for label in range(classes)]
    return min(numbers), max(numbers)


def training_shots(spec: RunSpec, data: RunData, few_shot: FewShotData) -> tuple[int, int] | None:
    """The fewest and the most training pictures of a class that is trained on; None where none is looked at."""
    if not uses_training_pictures(spec):
        return None
    classes = len(class_subset(len(few_shot.splits.class_names), spec.data.classes))
    return fewest_and_most(data.clean_training_pictures(few_shot), classes)


def data_notices(spec: RunSpec, data: RunData, few_shot: FewShotData) -> Iterator[str]:
    """Lines on what a run reads: what is left out or odd, too few shots, evaluations that cannot fail."""
    for dataset in datasets_of(spec):
        splits = data.read(dataset)
        if HASHED in splits.layout:
            counts = f"{len(splits.train)} training, {len(splits.val)} validation"
            tested = f", {len(splits.test)} test" if splits.test else ""
            yield f"{dataset} has no train/ and test/, so it is {HASHED}: {counts}{tested} images"
        for remark in splits.remarks:
            yield f"{dataset}: {remark}"
    yield from shots_notices(spec, data, few_shot)
    if noise := data.noisy_labels(few_shot):
        yield f"{spec.data.dataset}: {noise[0]} of {noise[1]} training labels are replaced by another class"
    for item in spec.evaluate:
        names = data.class_names(item.dataset, item.classes)
        if len(names) == 1:
            what = f"evaluation '{item.name}' of {item.dataset} has one class, '{names[0]}'"
            yield f"{what}: its accuracy is 100 % whatever a method does"


def shots_notices(spec: RunSpec, data: RunData, few_shot: FewShotData) -> Iterator[str]:
    """Lines on classes with fewer training or validation images than asked for."""
    name, shots = spec.data.dataset, spec.data.shots
    trained = training_shots(spec, data, few_shot)
    lost = f", {len(few_shot.broken)} broken ones left out" if few_shot.broken else ""
    if trained and spec.data.long_tail:
        number = len(data.clean_training_pictures(few_shot))
        yield f"{name}: {spec.data.shots_text}, {in_words(trained)} training images a class, {number} in all{lost}"
    elif trained and trained[0] < kept_of(spec, shots):
        held = f", of which part {spec.data.held_out} is held out" if spec.data.held_out else ""
        why = " (half of each class's images are for training)" if HASHED in few_shot.splits.layout else ""
        labels = class_subset(len(few_shot.splits.class_names), spec.data.classes)
        here = in_words(fewest_and_most(keep_classes(few_shot.drawn.train, labels), len(labels)))
        yield (
            f"{name} has {here} training images a class{why}{lost}, {shots} were asked for{held}: "
            f"the run trains on {in_words(trained)}"
        )
    if any("val" in item.splits and item.dataset == name for item in spec.evaluate) and few_shot.sample.val:
        wanted = min(shots, VALIDATION_SHOTS)
        found_val = fewest_and_most(few_shot.sample.val, len(few_shot.splits.class_names))
        if found_val[0] < wanted:
            yield f"{name} has {in_words(found_val)} validation images a class{lost}, {wanted} were asked for"


def kept_of(spec: RunSpec, shots: int) -> int:
    """How many of k shots are trained on when a part of them is held out."""
    if not spec.data.held_out:
        return shots
    part, _, parts = spec.data.held_out.partition("/")
    return len(hold_out([Picture("", 0)] * shots, int(part), int(parts))[0])


def prompt_notice(dataset: str, groups: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line on classes of a data set that no method can tell apart."""
    if groups and not is_own(dataset):
        pairs = "; ".join(" and ".join(f"'{name}'" for name in names) for names in groups)
        yield f"{dataset} has classes with the same prompt, which no method can tell apart: {pairs}"


def in_words(numbers: tuple[int, int]) -> str:
    """Fewest and most as words: `16`, or `7 to 16`."""
    fewest, most = numbers
    return str(fewest) if fewest == most else f"{fewest} to {most}"
