"""Print the zero-shot accuracies of the small CLIP on the shipped pictures, as a Markdown table."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from common import (
    BASE_CLASSES,
    SHIPPED,
    TEMPLATES,
    accuracy,
    build_model,
    build_tokenizer,
    class_features,
    image_features,
    load_weights,
    read_categories,
    read_index,
    read_pictures,
)
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer

GROUPS = {"faces": "0", "animals": "3", "food": "4", "travel": "5", "objects": "7"}


@dataclass
class Task:
    """Pictures of one zip file with their class names, and the names to choose from."""

    title: str
    archive: str
    files: list[str]
    labels: list[str]
    classes: list[str]


def category_task(title: str, archive: str, split: str, classes: Sequence[str]) -> Task:
    """The pictures of a split whose category is one of the classes."""
    rows = [row for row in read_index(archive) if row["split"] == split and row["category"] in classes]
    return Task(title, archive, [row["file"] for row in rows], [row["category"] for row in rows], list(classes))


def name_task(title: str, group: str) -> Task:
    """All coloured pictures of one emoji group, each labelled with its own name."""
    rows = [row for row in read_index("emoji-color") if row["group"] == group]
    names = [row["name"] for row in rows]
    return Task(title, "emoji-color", [row["file"] for row in rows], names, sorted(set(names)))


def all_tasks() -> list[Task]:
    """The rows of the table."""
    classes = read_categories()
    tasks = [
        category_task("emoji, validation", "emoji-color", "val", classes),
        category_task("emoji, test", "emoji-color", "test", classes),
        category_task("emoji, test, base", "emoji-color", "test", classes[:BASE_CLASSES]),
        category_task("emoji, test, new", "emoji-color", "test", classes[BASE_CLASSES:]),
        category_task("emoji-outline", "emoji-outline", "test", classes),
        category_task("emoji-glyph", "emoji-glyph", "test", classes),
    ]
    return tasks + [name_task(f"emoji-{name}", group) for name, group in GROUPS.items()]


def measure(model: CLIP, tokenizer: SimpleTokenizer, task: Task) -> tuple[float, float]:
    """Accuracy with the first template, and with the mean of all."""
    images = image_features(model, read_pictures(task.archive, task.files))
    labels = torch.tensor([task.classes.index(label) for label in task.labels])
    one = class_features(model, tokenizer, task.classes, TEMPLATES[:1])
    mean = class_features(model, tokenizer, task.classes, TEMPLATES)
    return accuracy(images, one, labels), accuracy(images, mean, labels)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=SHIPPED / "clip-emoji.safetensors")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, tokenizer = build_model().eval(), build_tokenizer()
    load_weights(model, options.weights)
    print("| data set | pictures | classes | chance | one template | four templates |")
    print("|---|---|---|---|---|---|")
    for task in all_tasks():
        one, mean = measure(model, tokenizer, task)
        count, chance = len(task.classes), 100 / len(task.classes)
        print(f"| {task.title} | {len(task.files)} | {count} | {chance:.1f} % | {one:.1f} % | {mean:.1f} % |")


if __name__ == "__main__":
    main()
