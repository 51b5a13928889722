"""What sets finished runs apart from what their table says, one sentence each."""

from collections.abc import Iterable

import pandas as pd

from harness.experiment.recipes import AS_PUBLISHED
from harness.machine.costs import ADAPT
from harness.report.marks import (
    LAX_MARK,
    REFUSED_MARK,
    SHARED_MARK,
    Choice,
    images_a_class,
    shared_seconds,
)
from harness.text import counted

SOURCES = {"": "drawn as usual", "data.sampling=dassl": "drawn as the official code does (data.sampling=dassl)"}
"""Where a k-shot sample comes from -> in words; an index is named as it was given."""


def run_notes(runs: pd.DataFrame) -> list[str]:
    """What sets finished runs apart from what their table says.

    What they chose on which images, evaluations that a method cannot take part in, features of another run; fewer
    shots, shared prompts, test images, threads.
    """
    return [
        *choice_notes(runs),
        *shots_note(runs),
        *samples_note(runs),
        *sources_note(runs),
        *noise_note(runs),
        *prompts_note(runs),
        *pictures_note(runs),
        *own_splits_note(runs),
        *threads_note(runs),
    ]


def choice_notes(runs: pd.DataFrame) -> list[str]:
    """What runs chose, what they cannot be evaluated on, and what they share with others: the meaning of marks."""
    return [*clean_choices_note(runs), *marks_note(runs), *refusals_note(runs), *shared_note(runs)]


def labelled_choices(runs: pd.DataFrame) -> list[tuple[str, Choice]]:
    """Label and choice, each once."""
    if "choices" not in runs:
        return []
    pairs = zip(names_of(runs), runs["choices"], strict=True)
    known = ((label, found) for label, found in pairs if isinstance(found, tuple))
    return list(dict.fromkeys((label, choice) for label, found in known for choice in found))


def names_of(runs: pd.DataFrame) -> list[str]:
    """What the runs are called in their table."""
    return list(map(str, runs["label" if "label" in runs else "method"].tolist()))


def in_groups(pairs: Iterable[tuple[str, Choice]]) -> str:
    """What was chosen, with the methods that chose it: `alpha, beta (gda, clap); epoch (clap)`."""
    labels: dict[tuple[str, ...], dict[str, None]] = {}
    for label, choice in pairs:
        labels.setdefault(choice.names, {})[label] = None
    return "; ".join(f"{', '.join(names)} ({', '.join(several)})" for names, several in labels.items())


def clean_choices_note(runs: pd.DataFrame) -> list[str]:
    """What was chosen on the few validation images that the protocol allows."""
    clean = [(label, choice) for label, choice in labelled_choices(runs) if not choice.mark]
    if not clean:
        return []
    numbers = [choice.shots or 0 for _, choice in clean]
    return [f"Chosen on {images_a_class(min(numbers), max(numbers))} a class: {in_groups(clean)}."]


def marks_note(runs: pd.DataFrame) -> list[str]:
    """What marked methods chose, and on which images, one sentence for each kind of images."""
    by_images: dict[tuple[str, str], list[tuple[str, Choice]]] = {}
    for label, choice in labelled_choices(runs):
        if choice.mark:
            by_images.setdefault((choice.mark, choice.images), []).append((label, choice))
    notes = [
        f"{mark}: chosen on {images}, so not ranked: {in_groups(pairs)}."
        for (mark, images), pairs in sorted(by_images.items())
    ]
    told = {label for pairs in by_images.values() for label, _ in pairs}
    if "mark" in runs and "track" not in runs:  # the note about a track tells the same, with reasons
        pairs = zip(names_of(runs), runs["mark"].tolist(), strict=True)
        lax = [name for name, mark in pairs if mark == LAX_MARK and name not in told]
        if lax:
            names = ", ".join(dict.fromkeys(lax))
            notes.append(f"{LAX_MARK}: the authors' own choices (recipe {AS_PUBLISHED}), so not ranked: {names}.")
    return notes


def refusals_note(runs: pd.DataFrame) -> list[str]:
    """The evaluations that methods cannot take part in, and why."""
    if "refusals" not in runs:
        return []
    labels: dict[tuple[str, str], dict[str, None]] = {}
    for name, pairs in zip(names_of(runs), runs["refusals"], strict=True):
        for pair in pairs if isinstance(pairs, tuple) else ():
            labels.setdefault(pair, {})[name] = None
    reasons: dict[tuple[str, str], list[str]] = {}
    for (evaluation, reason), names in labels.items():
        reasons.setdefault((", ".join(names), reason), []).append(evaluation)
    each = [f"{names} on {', '.join(several)}: {reason}" for (names, reason), several in reasons.items()]
    return [f"{REFUSED_MARK}: cannot be evaluated ({'; '.join(each)})."] if each else []


def shared_note(runs: pd.DataFrame, phases: Iterable[str] = ADAPT) -> list[str]:
    """The seconds of some phases that another run spent, and that are shown as if each run had spent them itself."""
    shared = shared_seconds(runs, phases)
    if not (shared > 0).any():
        return []
    means = shared.groupby(pd.Series(names_of(runs), index=runs.index), sort=False).mean()
    each = ", ".join(f"{label} {seconds:.1f}" for label, seconds in means.items() if seconds > 0)
    return [f"{SHARED_MARK}: as if alone; of these seconds a run, another spent on the features that both use: {each}."]


def shots_note(runs: pd.DataFrame) -> list[str]:
    """The true number of training images per class, where it is not the number of shots."""
    if "fewest_most" not in runs:
        return []
    found: dict[tuple[int, str], list[int]] = {}
    for shots, dataset, pair in zip(runs["shots"], runs["dataset"], runs["fewest_most"], strict=True):
        if isinstance(pair, tuple):
            found.setdefault((int(shots), str(dataset)), []).extend(pair)
    notes = []
    for (shots, dataset), numbers in sorted(found.items()):
        low, high = min(numbers), max(numbers)
        images = counted(high, "training image") if low == high else f"{low}-{counted(high, 'training image')}"
        notes.append(f"{shots}-shot: {dataset} has {images} a class.")
    return notes


def samples_note(runs: pd.DataFrame) -> list[str]:
    """Which data sets have fewer different k-shot samples than seeds, so that seeds differ in the training alone.

    Samples are told apart by the hash of their training images, whatever seeds they were drawn with. Methods are named
    where this is not so for all of them.
    """
    if "sample_hash" not in runs:
        return []
    learned = runs[runs["sample_hash"].notna()].assign(label=lambda known: names_of(known))
    notes = []
    for (dataset, tail, shots), group in learned.groupby(["dataset", "tail", "shots"], sort=True):
        labels: dict[str, list[str]] = {}
        for label, own in group.groupby("label", sort=False):
            labels.setdefault(samples_in_words(own), []).append(str(label))
        where = f"{dataset}, {tail or counted(int(str(shots)), 'shot')}"
        usual = labels.pop("", [])
        # What has a single seed has nothing to share.
        all_alike = (
            len(labels) == 1 and (group[group["label"].isin(usual)].groupby("label")["seed"].nunique() == 1).all()
        )
        for words, several in labels.items():
            notes.append(f"{where}: {words}{'' if all_alike else in_brackets(several)}.")
    return notes


def in_brackets(names: Iterable[str]) -> str:
    """Names that follow what is said of them."""
    return f" ({', '.join(names)})"


def samples_in_words(runs: pd.DataFrame) -> str:
    """That the runs of one method on a data set have fewer samples than seeds; empty if they have not."""
    seeds, samples = runs["seed"].nunique(), runs["sample_hash"].nunique()
    drawn = runs["sample_seed"].nunique() if "sample_seed" in runs else 0
    if samples < seeds:
        one = "one sample: all seeds share their shots" if samples == 1 else counted(samples, "sample")
        return f"{seeds} seeds, {one}"
    return f"{counted(drawn, 'seed')} of samples draw {counted(samples, 'sample')}" if samples < drawn else ""


def sources_note(runs: pd.DataFrame) -> list[str]:
    """Where k-shot samples come from that were not drawn as usual."""
    if "sample_source" not in runs:
        return []
    labels: dict[str, dict[str, None]] = {}
    for name, source in zip(names_of(runs), runs["sample_source"].fillna(""), strict=True):
        labels.setdefault(str(source), {})[name] = None
    if not any(labels):
        return []
    several = len(labels) > 1
    each = [SOURCES.get(one, one) + (in_brackets(names) if several else "") for one, names in labels.items()]
    return [f"k-shot samples: {'; '.join(each)}."]


def noise_note(runs: pd.DataFrame) -> list[str]:
    """How many training labels were replaced by another class, exactly; those of evaluations never are."""
    found: dict[str, dict[tuple[int, int], None]] = {}
    for dataset, pair in zip(runs["dataset"], runs.get("noisy_labels", []), strict=False):
        if isinstance(pair, tuple):
            found.setdefault(str(dataset), {})[pair] = None
    each = [
        f"{' or '.join(f'{noisy} of {labels}' for noisy, labels in sorted(pairs))} of {dataset}"
        for dataset, pairs in sorted(found.items())
    ]
    return [f"Training labels replaced by another class, in runs with label noise: {'; '.join(each)}."] if each else []


def prompts_note(runs: pd.DataFrame) -> list[str]:
    """Classes that no method can tell apart, since their prompts are the same."""
    groups = [pair for several in runs.get("same_prompts", []) if isinstance(several, tuple) for pair in several]
    by_dataset: dict[str, list[str]] = {}
    for dataset, names in dict.fromkeys(groups):
        by_dataset.setdefault(dataset, []).append(" = ".join(names))
    return [f"{dataset}: classes {', '.join(several)} share a prompt." for dataset, several in by_dataset.items()]


def pictures_note(runs: pd.DataFrame) -> list[str]:
    """The data sets of which not all runs were tested on the same images."""
    tested = [pair for several in runs.get("tested_on", []) if isinstance(several, tuple) for pair in several]
    hashes: dict[str, set[str]] = {}
    for dataset, pictures_hash in tested:
        hashes.setdefault(dataset, set()).add(pictures_hash)
    differing = sorted(dataset for dataset, found in hashes.items() if len(found) > 1)
    if not differing:
        return []
    return [f"Not all runs were tested on the same images of {', '.join(differing)}: compare no accuracies there."]


def own_splits_note(runs: pd.DataFrame) -> list[str]:
    """The data sets that were not split as published, so that no published number stands beside them."""
    pairs = [pair for several in runs.get("own_splits", []) if isinstance(several, tuple) for pair in several]
    found: dict[str, list[str]] = {}
    for dataset, remark in sorted(set(pairs)):
        found.setdefault(remark, []).append(dataset)
    each = "; ".join(f"{', '.join(datasets)}: {remark}" for remark, datasets in found.items())
    return [f"Not split as published, so not comparable with published numbers: {each}."] if each else []


def threads_note(runs: pd.DataFrame) -> list[str]:
    """The number of CPU threads that results were made with; by method where it differs."""
    if "threads" not in runs or not (runs["device"] == "cpu").any():
        return []
    known = runs[runs["threads"].notna() & (runs["device"] == "cpu")]
    by_number: dict[int, list[str]] = {}
    for label, threads in zip(names_of(known), known["threads"], strict=True):
        names = by_number.setdefault(int(threads), [])
        names += [] if label in names else [label]
    if len(by_number) > 1:
        each = "; ".join(f"{number}: {', '.join(names)}" for number, names in sorted(by_number.items()))
        return [f"CPU threads differ, so compare no times ({each})."]
    return [f"CPU threads: {number}." for number in by_number]
