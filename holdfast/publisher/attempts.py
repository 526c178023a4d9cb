"""When a request is sent again: after a lost connection, and after an answer that says that it may be. Takes time and
randomness as arguments.

It bears its Idempotency-Key, so a proxy that has done it answers again and does not do it again.
"""

from collections.abc import Callable

AGAIN = (409, 503)  # it is under way already, of the attempt whose connection was lost; nothing could be done
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
# For one attempt: a proxy answers within request.timeout. Another attempt finds out what has become of the one before.
ATTEMPT_TIMEOUT = 15.0


class Attempts:
    """Of one request. timeout: seconds for all of them."""

    def __init__(self, timeout: float, now: float, random: Callable[[], float]) -> None:
        self._until = now + timeout
        self._random = random
        self._pause = FIRST_PAUSE

    def limit(self, now: float) -> float:
        """Seconds for the attempt that begins now."""
        return max(0.001, min(ATTEMPT_TIMEOUT, self._until - now))

    def pause(self, now: float, retry_after: float = 0.0) -> float | None:
        """Seconds until the next one; None: there is no time for another."""
        pause = max(retry_after, self._pause * (0.5 + self._random() / 2))
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        return pause if now + pause < self._until else None
