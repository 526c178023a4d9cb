"""Many times in little memory: a count for each step of 1/32 of a power of two, so a percentile is right to 2 %.

Pure. A list of them all would grow with every message for as long as a run lasts.
"""

from math import floor, log2

STEPS = 32  # for each power of two


class Histogram:
    """Of seconds. longest and count are exact."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        step = floor(log2(seconds) * STEPS) if seconds > 0 else floor(log2(1e-9) * STEPS)
        self._counts[step] = self._counts.get(step, 0) + 1
        self.count += 1
        if seconds > self.longest:
            self.longest = seconds

    def percentile(self, share: float) -> float:
        """So long, or less, took this share of them: the middle of its step. 0.0 if there are none."""
        wanted = self.count * share
        seen = 0
        for step in sorted(self._counts):
            seen += self._counts[step]
            if seen >= wanted:
                middle: float = 2.0 ** ((step + 0.5) / STEPS)
                return min(middle, self.longest)
        return 0.0
