"""When the server pings a client, and when its silence is one.

A client ends a connection on which it has heard nothing for a ping's interval and a little more, whatever it has said
itself: so pings do not wait for its silence. Anything that it says answers one.
"""

from enum import Enum, auto
from math import ceil, inf


class Due(Enum):
    NOTHING = auto()
    PING = auto()
    SILENT = auto()  # it has not answered


class Heartbeat:
    """interval, timeout: seconds between pings, and from one to its answer; an interval of 0: there are none.

    deadline: when to look; inf: never. It may be early.
    """

    __slots__ = ("_answer_by", "_interval", "_ping_at", "_timeout", "deadline")

    def __init__(self, interval: float, timeout: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._ping_at = self._answer_by = self.deadline = inf

    @property
    def interval(self) -> int:
        """What the client is told: whole seconds, no less than there are; 0: none."""
        return ceil(self._interval)

    def start(self, now: float) -> None:
        if self._interval:
            self._ping_at = self.deadline = now + self._interval

    def heard(self) -> None:
        """Something of it has come."""
        self._answer_by = inf

    def look(self, now: float) -> Due:
        """At the deadline, which is moved on."""
        due = Due.NOTHING
        if now >= self._answer_by:
            self._answer_by = now + self._timeout
            due = Due.SILENT
        elif now >= self._ping_at:
            self._ping_at = now + self._interval
            if self._answer_by == inf:
                self._answer_by = now + self._timeout
            due = Due.PING
        self.deadline = min(self._ping_at, self._answer_by)
        return due
