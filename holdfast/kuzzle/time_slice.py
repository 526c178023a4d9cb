"""Long work of requests in short pieces, so that a node goes on hearing and saying that it lives.

A node's library gives each request a turn; what a handler does after it has waited, and for long, is its own matter.
256 handlers that have waited for the same frame would each take their time before a heartbeat has its own.
"""

import time
from collections.abc import Callable

import trio

SLICE = 0.005  # seconds for all such work together, between two turns of everything else; a proxy's patience is 2 s


class TimeSlice:
    """One for each node. clock: seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._since = 0.0
        self._turns = trio.Lock()  # first come, first served
        self._whose: trio.lowlevel.Task | None = None  # the slice: this one goes on with it, though others wait

    async def turn(self) -> None:
        """Call it before each piece of work. A checkpoint if the slice is over, or is another's and more wait."""
        is_young = self._clock() - self._since < SLICE
        if is_young and (not self._turns.locked() or self._whose is trio.lowlevel.current_task()):
            return
        async with self._turns:
            self._since = self._clock()
            self._whose = trio.lowlevel.current_task()
