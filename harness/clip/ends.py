"""Where texts end: on the device that computes, and as the host knows it.

A training step must not wait for the device. So the host knows beforehand how many tokens of texts there are, also
where the device chooses which of the texts take part: then it expects the longest ones.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Ends:
    """End-of-text positions of B texts.

    Attributes:
        positions: (B,), on the device.
        largest: at least the largest of them, the second largest, and so on, one for each text; None: unknown to the
            host, which must wait for the device to learn them.
        chosen: whether the device chose the texts, so that they may end before `largest`.
    """

    positions: Tensor
    largest: tuple[int, ...] | None = None
    chosen: bool = False

    def __len__(self) -> int:
        return len(self.positions)

    def moved(self, by: int) -> "Ends":
        """Those of the same texts with `by` more tokens before their end."""
        largest = None if self.largest is None else tuple(end + by for end in self.largest)
        return Ends(self.positions + by, largest, self.chosen)

    def repeated(self, times: int) -> "Ends":
        """Those of all texts, several times in a row."""
        largest = None if self.largest is None else tuple(end for end in self.largest for _ in range(times))
        return Ends(self.positions.repeat(times), largest, self.chosen)

    def of(self, texts: Tensor) -> "Ends":
        """Those of some texts, given by their numbers (K,), all different, on the device."""
        return Ends(self.positions[texts], self.largest and self.largest[: len(texts)], chosen=True)


def as_ends(eot: Tensor | Ends) -> Ends:
    """End-of-text positions, of which the host may know nothing."""
    return eot if isinstance(eot, Ends) else Ends(eot)
