"""The largest batch whose peak is within a limit, found with few estimates."""

from collections.abc import Callable, Sequence

from harness.estimate.memory_breakdown import MemoryPeak


def largest_that_fits(peak_at: Callable[[int], int], limit: int, start: int, most: int) -> int:
    """The largest n of 1..most whose peak is within a limit; 0 if there is none.

    Peaks grow nearly linearly with n, so a line through two of them predicts where to look.

    Args:
        peak_at: n -> peak in bytes.
        limit: in bytes.
        start: the first n to try.
        most: the largest possible n.
    """
    peaks: dict[int, int] = {}
    fits, too_much, guess = 0, most + 1, min(max(1, start), most)
    while fits + 1 < too_much:
        peaks[guess] = peak_at(guess)
        if peaks[guess] <= limit:
            fits = guess
        else:
            too_much = guess
        guess = min(max(next_guess(peaks, limit, fits, too_much), fits + 1), too_much - 1)
    return fits


def next_guess(peaks: dict[int, int], limit: int, fits: int, too_much: int) -> int:
    """The next n to try: usually on the line through the last two peaks, sometimes in the middle.

    Args:
        peaks: n -> peak in bytes, of those that were tried.
        limit: in bytes.
        fits: the largest n that is known to fit.
        too_much: the smallest n that is known not to fit.
    """
    middle = (fits + too_much) // 2
    if len(peaks) == 1:
        return 2 * fits if fits else middle
    (other, other_peak), (n, peak) = list(peaks.items())[-2:]
    if peak == other_peak or len(peaks) % 4 == 0:
        return middle
    return n + (limit - peak) * (n - other) // (peak - other_peak)


def largest_below(peak_at: Callable[[int], MemoryPeak], limit: int, sizes: Sequence[int]) -> tuple[int, MemoryPeak]:
    """The largest of some sizes whose peak is within a limit, and its peak; if there is none, the first.

    Args:
        peak_at: size -> its peak.
        limit: in bytes.
        sizes: in ascending order; the last is tried first.
    """
    peaks: dict[int, MemoryPeak] = {}

    def num_bytes(number: int) -> int:
        peaks[number] = peak_at(sizes[number - 1])
        return peaks[number].num_bytes

    found = max(largest_that_fits(num_bytes, limit, len(sizes), len(sizes)), 1)
    return sizes[found - 1], peaks.get(found) or peak_at(sizes[found - 1])
