"""What lists of pictures may get wrong: paths out of the folder, one picture under two labels or in two splits."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from harness.errors import UserError

Listed = Mapping[str, Sequence[tuple[str, int]]]
"""Split -> path and label of its pictures."""


def refuse_two_labels(pictures: Listed, class_names: Sequence[str], source: Path) -> None:
    """Raise a UserError if a picture has two labels: no accuracy on it could be right.

    Args:
        pictures: by split.
        class_names: in label order.
        source: the file that lists them, for the message.
    """
    labels: dict[str, int] = {}
    for listed in pictures.values():
        for path, label in listed:
            other = labels.setdefault(path, label)
            if other != label:
                raise UserError(
                    f"'{source}' has '{path}' as class {other} '{class_names[other]}' and as class {label} "
                    f"'{class_names[label]}': remove one"
                )


def repetitions(pictures: Listed) -> tuple[str, ...]:
    """Pictures that are listed twice in a split or are in two splits, a few words for each case.

    They are told and not refused: published split files are what results are compared on, whatever they contain.
    """
    paths = {split: {path for path, _ in listed} for split, listed in pictures.items()}
    found = []
    for split, listed in pictures.items():
        if twice := len(listed) - len(paths[split]):
            first = Counter(path for path, _ in listed).most_common(1)[0][0]
            found.append(f"{split} lists pictures more than once ({twice} rows too many, the first '{first}')")
    for one, other in combinations(pictures, 2):
        if both := paths[one] & paths[other]:
            found.append(f"{one} and {other} have {len(both)} pictures in common, such as '{min(both)}'")
    return tuple(found)


def refuse_links_outside(folder: Path, images: Path, pictures: Sequence[tuple[str, int]], source: Path) -> None:
    """Raise a UserError if a listed picture is reached by a link that leads out of the data set.

    Every folder is listed once. The folder of the data set, and that of its images, may themselves be links.

    Args:
        folder: of the data set.
        images: the folder that the paths are relative to.
        pictures: that are listed.
        source: the file that lists them, for the message.
    """
    roots = [os.path.join(os.path.realpath(root), "") for root in (folder, images)]
    firsts = {path.rpartition("/")[0]: path for path, _ in pictures}

    def check(path: str, name: str) -> None:
        target = os.path.join(os.path.realpath(path), "")
        if not any(target.startswith(root) for root in roots):
            raise UserError(
                f"'{source}' has '{name}', which is a link out of '{images}': put the pictures there, or let "
                f"'{images}' itself be the link"
            )

    listed: set[str] = set()
    for place, first in firsts.items():
        where = os.path.join(images, place)
        check(where, first)
        try:
            with os.scandir(where) as entries:
                links = [entry.name for entry in entries if entry.is_symlink()]
        except OSError:  # missing, or a zip file: reading the pictures tells
            continue
        listed = listed or ({path for path, _ in pictures} if links else listed)
        for name in links:
            path = f"{place}/{name}" if place else name
            if path in listed:
                check(os.path.join(where, name), path)
