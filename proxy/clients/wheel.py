"""The timers of connections: a wheel of slots of a quarter of a second.

A connection is in at most one slot that counts, the one of time `connection.timer`; what it left behind in another is
ignored when that slot comes. Slots hold ids, so that a closed connection is not kept alive by its timer, and the one
object that all of them have for their time. Costs nothing per message: a deadline that only moves on is seen when the
old one comes.
"""

from collections.abc import Callable, Iterator
from math import inf
from typing import Protocol

SLOTS_PER_SECOND = 4
# Then others have their turn: those who came at one moment are due at one moment, and a ping costs 7 us.
TIMERS_PER_TURN = 256
_NONE: tuple[float, list[int]] = (inf, [])


class Timed(Protocol):
    id: int
    timer: float

    def on_timer(self, now: float) -> None: ...


class Wheel:
    """find: the connection of an id, or None when it is gone."""

    def __init__(self, find: Callable[[int], Timed | None], now: float) -> None:
        self._find = find
        self._slots: dict[int, tuple[float, list[int]]] = {}
        self._current = int(now * SLOTS_PER_SECOND)
        self._due = inf  # the time of the slot that is run
        self._left: Iterator[int] = iter(())  # of it

    def schedule(self, timed: Timed, when: float) -> None:
        """Call `on_timer` at the first turn of the wheel after `when`; inf: never. Replaces what was scheduled."""
        if when == inf:
            timed.timer = inf
            return
        slot = max(int(when * SLOTS_PER_SECOND), self._current) + 1
        found = self._slots.get(slot)
        if found is None:
            found = self._slots[slot] = (slot / SLOTS_PER_SECOND, [])  # exact: a binary fraction
        due, ids = found
        if due != timed.timer:
            timed.timer = due
            ids.append(timed.id)

    def turn(self, now: float) -> bool:
        """Run what is due, of so many connections. True: there may be more."""
        due = int(now * SLOTS_PER_SECOND)
        count = 0
        while True:
            for id in self._left:
                timed = self._find(id)
                if timed is not None and timed.timer == self._due:
                    timed.on_timer(now)
                count += 1
                if count == TIMERS_PER_TURN:
                    return True
            if self._current >= due:
                return False
            if not self._slots:
                self._current = due
                return False
            self._current += 1
            self._due, ids = self._slots.pop(self._current, _NONE)
            self._left = iter(ids)
