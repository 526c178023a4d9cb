"""How fast one client may speak, where that has a limit: its messages, and all that it sends.

A flood of what is refused, or of frames that are no messages, is work as well. Above its rate a message is answered
with 429; above FRAMES_PER_MESSAGE times the rate the client is not read, so that it waits in its own kernel.
"""

FRAMES_PER_MESSAGE = 2  # of a client that keeps to its rate: pings, pongs, parts of messages
MAX_WAIT = 1.0  # it is slow, not cut off


class RateLimit:
    """GCRA: the time at which the next would be due if they came evenly; a second's worth may come early.

    eventless: how far the adapter's count of that name was taken; for `Intake`.
    """

    __slots__ = ("_frames_at", "_messages_at", "_rate", "eventless")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._messages_at = self._frames_at = 0.0
        self.eventless = 0

    def may_ask(self, now: float) -> bool:
        """Whether a message more is within the rate; then it is counted."""
        due = max(self._messages_at, now - 1.0) + 1.0 / self._rate
        if due > now:
            return False
        self._messages_at = due
        return True

    def count(self, units: int, now: float) -> float:
        """So many frames came. Until when no more is to be read."""
        due = max(self._frames_at, now - 1.0) + units / (FRAMES_PER_MESSAGE * self._rate)
        self._frames_at = min(due, now + MAX_WAIT)
        return self._frames_at
