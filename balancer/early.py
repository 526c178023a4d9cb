"""Deadlines before the time at which their requests are looked at anyway: a heap. Most have their reply long before."""

from collections.abc import Container, Iterator
from heapq import heapify, heappop, heappush

MIN_COUNT = 1_000  # not worth looking which ones have their reply


class Early:
    """open: the ids of requests that have none yet."""

    def __init__(self, open: Container[int]) -> None:
        self._open = open
        self._heap: list[tuple[float, int]] = []
        self._max = MIN_COUNT

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, deadline: float, id: int) -> None:
        if len(self._heap) >= self._max:  # those that have it only take room
            self._heap = [each for each in self._heap if each[1] in self._open]
            heapify(self._heap)
            self._max = max(MIN_COUNT, 2 * len(self._heap))
        heappush(self._heap, (deadline, id))

    def due(self, now: float) -> Iterator[int]:
        """Take out ids whose deadline has come. It may be a later one by now, or the request has its reply."""
        while self._heap and self._heap[0][0] <= now:
            yield heappop(self._heap)[1]
