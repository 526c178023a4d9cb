"""Is a node well: passive ejection by its replies, and slow start.

Owns one node's failures in a row, its ejections and its share. Refuses nothing: it gives numbers, and the caller, who
knows all nodes, acts on them. An ejected node keeps its session and what is in flight; it gets no new requests.
"""

from holdfast.balancer.settings import BalanceSettings

SLOWEST_START = 0.1  # share of a node that has just come: enough to warm it, little to lose


def ejectable(ready: int, settings: BalanceSettings) -> int:
    """How many of `ready` nodes (ejected ones included) may be ejected at a time: never the last one.

    When a node leaves, more may be ejected than this: then those whose time ends first are to be readmitted.
    """
    return max(0, min(int(ready * settings.ejection_max_share), ready - 1))


class Health:
    """One session of one node. Ejected while now < returns_at.

    failures: in a row. A success costs nothing as long as there are none; callers write
    `if health.failures: health.succeeded()`.
    """

    __slots__ = ("_duration", "_settings", "_since", "failures", "returns_at")

    def __init__(self, settings: BalanceSettings) -> None:
        self.failures = 0
        self.returns_at = float("-inf")
        self._settings = settings
        self._duration = 0.0  # of the last ejection
        self._since = float("-inf")  # when its share began to grow

    def ready(self, now: float) -> None:
        """The node takes requests from now on: slow start begins."""
        self._since = now

    def succeeded(self) -> None:
        """A reply came in time, and it is not the node's failure (5xx)."""
        self.failures = 0

    def failed(self, now: float) -> bool:
        """A 5xx, or a timeout while it answers nothing. True: it should be ejected, if `ejectable` allows one more.

        What fails while the node is ejected was sent before, and does not count again.
        """
        if now < self.returns_at:
            return False
        self.failures += 1
        return 0 < self._settings.ejection_failures <= self.failures

    def eject(self, now: float) -> None:
        """Eject until `returns_at`; then slow start again.

        Twice as long as the last time, if the node has been back for less than it was out then.
        """
        settings = self._settings
        if now - self.returns_at < self._duration:
            self._duration = min(self._duration * 2, settings.ejection_time_max)
        else:
            self._duration = settings.ejection_time
        self.failures = 0
        self.returns_at = self._since = now + self._duration

    def readmit(self, now: float) -> None:
        """End the ejection early: too few nodes are left."""
        self.returns_at = self._since = now

    def share(self, now: float) -> float:
        """From SLOWEST_START to 1.0 within slow_start seconds of getting ready, or of the end of an ejection."""
        age, slow_start = now - self._since, self._settings.slow_start
        if age >= slow_start:
            return 1.0
        if age <= 0.0:
            return SLOWEST_START
        return SLOWEST_START + (1.0 - SLOWEST_START) * age / slow_start
