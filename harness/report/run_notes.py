"""What sets finished runs apart from what their table says, one sentence each."""

import pandas as pd

from harness.text import counted


def run_notes(runs: pd.DataFrame) -> list[str]:
    """What sets finished runs apart from what their table says: fewer shots, shared prompts, test images, threads."""
    return [*shots_note(runs), *prompts_note(runs), *pictures_note(runs), *threads_note(runs)]


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


def threads_note(runs: pd.DataFrame) -> list[str]:
    """The number of CPU threads that results were made with; by method where it differs."""
    if "threads" not in runs or not (runs["device"] == "cpu").any():
        return []
    known = runs[runs["threads"].notna() & (runs["device"] == "cpu")]
    by_number: dict[int, list[str]] = {}
    for label, threads in zip(known["label" if "label" in known else "method"], known["threads"], strict=True):
        names = by_number.setdefault(int(threads), [])
        names += [] if label in names else [str(label)]
    if len(by_number) > 1:
        each = "; ".join(f"{number}: {', '.join(names)}" for number, names in sorted(by_number.items()))
        return [f"CPU threads differ, so compare no times ({each})."]
    return [f"CPU threads: {number}." for number in by_number]
