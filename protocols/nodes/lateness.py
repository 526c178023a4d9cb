"""How late a turn may be before it says that its process stood still, at both ends of the node link.

What came meanwhile is unread then, so nobody is to be judged by it. Nothing fixed: what is long is for
node.heartbeat_timeout to say, and for node.heartbeat_interval where the timeout leaves nothing.
"""

from math import inf

LONGEST = 0.5  # seconds; what is later is worth a line in the log, however long the timeout is


def tolerated(heartbeat_interval: float, heartbeat_timeout: float) -> float:
    """In seconds. Whoever was heard in time may have been silent for two intervals when we are late by so much: half of
    what the timeout leaves above that, so the other half is for the way.

    Where that is less than a quarter of an interval, so much: whoever is in time is silent for one interval and not for
    two, and by a timeout just above two of them we would be late in every turn, for any scheduler is by a little.
    """
    return min(LONGEST, max(heartbeat_timeout / 2 - heartbeat_interval, heartbeat_interval / 4))


class Excuse:
    """Whether a turn may judge who is silent. One that is late may not: what came meanwhile is not read yet. The next
    one may, however late it is: if our turns are long, a whole one has listened since.

    tolerated: seconds. is_given: nobody is to be judged in this turn.
    """

    __slots__ = ("_tolerated", "is_given")

    def __init__(self, tolerated: float = inf) -> None:
        self._tolerated = tolerated
        self.is_given = False

    def is_late(self, seconds: float) -> bool:
        """Once each turn, which comes so much later than it should: whether that is too late."""
        is_late = seconds > self._tolerated
        self.is_given = is_late and not self.is_given
        return is_late
