"""Lines of the log that others can cause at will: of a mass of them, some and a count.

Owns how many are told, and that the rest are counted. What a line says is its place's own.
"""

from collections import Counter
from collections.abc import Callable

import structlog

log = structlog.get_logger("holdfast.masses")

INTERVAL = 1.0
MOST = 10  # lines of one event within an interval; then one more tells how many there were

# Told of an event, after an interval with more than MOST of it: how many more there were of each kind.
Tell = Callable[[str, Counter[str]], object]


def aloud(event: str, kinds: Counter[str]) -> None:
    log.warning("lines_left_out", of=event, count=kinds.total())


def quietly(event: str, kinds: Counter[str]) -> None:
    """Of events that are debug."""
    log.debug("lines_left_out", of=event, count=kinds.total())


class Masses:
    """The events of one part of the process. Call `tick` now and then."""

    def __init__(self, tell: Tell = aloud) -> None:
        self._tell = tell
        self._since = float("-inf")
        self._said: Counter[str] = Counter()
        self._unsaid: dict[str, Counter[str]] = {}

    @property
    def has_unsaid(self) -> bool:
        """A `tick` has something to tell, now or later."""
        return bool(self._unsaid)

    def admits(self, event: str, now: float, kind: str = "") -> bool:
        """Whether this one gets its line. event and kind: words of ours, of which there are few."""
        self.tick(now)
        if self._said[event] < MOST:
            self._said[event] += 1
            return True
        self._unsaid.setdefault(event, Counter())[kind] += 1
        return False

    def tick(self, now: float) -> None:
        if now - self._since < INTERVAL:
            return
        self._since = now
        self._said.clear()
        if self._unsaid:
            unsaid, self._unsaid = self._unsaid, {}
            for event, kinds in unsaid.items():
                self._tell(event, kinds)
