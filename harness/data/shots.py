"""Numbers of training images a class that are not the same for all classes: long-tailed samples."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UserError

FORM = "longtail:MOST..FEWEST, such as longtail:16..1"
WRITTEN = re.compile(r"longtail:(\d{1,9})\.\.(\d{1,9})")
LIKE = re.compile(r"\s*long([\s_-]?tail|\s*[:=])", re.IGNORECASE)


@dataclass(frozen=True)
class LongTail:
    """Shots that fall exponentially over the classes, as in long-tailed recognition (Cui et al., CVPR 2019).

    Attributes:
        most: training images of the first class, its head.
        fewest: of the last one, at least 1.
    """

    most: int
    fewest: int

    def __str__(self) -> str:
        return f"longtail:{self.most}..{self.fewest}"

    def counts(self, classes: int) -> tuple[int, ...]:
        """Training images of the classes from head to tail: most * (fewest / most) ** (place / (classes - 1)).

        Args:
            classes: C; of a single class the head is all there is.

        Returns:
            C numbers, none higher than the one before; rounded to the nearest, halves up, so both ends are exact.
        """
        ratio, last = self.fewest / self.most, max(classes - 1, 1)
        return tuple(int(self.most * ratio ** (place / last) + 0.5) for place in range(classes))

    def by_label(self, labels: Sequence[int], seed: int) -> dict[int, int]:
        """Label -> its training images. Which class is head and which is tail is drawn.

        The order follows from a hash of seed and label, so it is the same on every machine.

        Args:
            labels: of the classes that are trained on.
            seed: of the sample.
        """

        def drawn_order(label: int) -> str:
            return hashlib.sha256(f"{seed}/long tail/{label}".encode()).hexdigest()

        return dict(zip(sorted(labels, key=drawn_order), self.counts(len(labels)), strict=True))


def is_long_tail(written: object) -> bool:
    """Whether a value is meant for a long tail, however it is written."""
    return isinstance(written, str) and LIKE.match(written) is not None


def parse_long_tail(written: str) -> LongTail:
    """A long tail as it is written: longtail:16..1.

    Raises:
        UserError: another form, no image for the last class, or fewer for the first than for the last.
    """
    match = WRITTEN.fullmatch(written.strip())
    if not match:
        numbers = re.findall(r"\d+", written)[:2]
        high, low = sorted(map(int, numbers), reverse=True) if len(numbers) == 2 else (0, 0)
        meant = f" Did you mean 'longtail:{high}..{low}'?" if high > low > 0 else ""
        raise UserError(f"shots={written}: write {FORM}.{meant}")
    most, fewest = map(int, match.groups())
    if fewest < 1:
        raise UserError(f"shots={written}: every class needs at least 1 training image: write longtail:{most}..1")
    if most < fewest:
        raise UserError(f"shots={written}: write the most shots first: longtail:{fewest}..{most}")
    if most == fewest:
        raise UserError(f"shots={written}: all classes have as many: write {most}")
    return LongTail(most, fewest)


def most_shots(shots: int | str) -> int:
    """The most training images of a class, of a number or a long tail as it is written."""
    return parse_long_tail(shots).most if isinstance(shots, str) else shots
