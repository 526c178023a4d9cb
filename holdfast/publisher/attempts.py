"""One request until it is done: when it is tried, when again, and what it has come to. Takes time and randomness as
arguments; how something is exchanged, and slept, is its publisher's.

It is sent again after a lost connection, and after an answer that says that it may be. It bears its Idempotency-Key, so
a proxy that has done it answers again and does not do it again.
"""

import ssl
from collections.abc import Callable

import h11

from holdfast.publisher.requests import Answer, PublishError, Server, refusal

AGAIN = (409, 503)  # it is under way already, of the attempt whose connection was lost; nothing could be done
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
# For one attempt: a proxy answers within request.timeout. Another attempt finds out what has become of the one before.
ATTEMPT_TIMEOUT = 15.0
FAILURES = (OSError, h11.ProtocolError)  # of an exchange


class Attempts:
    """Of one request. For each an exchange, within `limit`: it was `answered` or has `failed`; then a `pause`.

    timeout: seconds for all of them. All but `limit` raise PublishError when there is no use in another one.
    """

    def __init__(self, server: Server, timeout: float, now: float, random: Callable[[], float]) -> None:
        self._server = server
        self._timeout = timeout
        self._until = now + timeout
        self._random = random
        self._pause = FIRST_PAUSE
        self._retry_after = 0.0
        self._is_at_once = False
        self._is_reached = False  # by the present attempt
        self.is_last = False  # the present attempt: its time is all that is left
        self._said: PublishError | None = None  # by the server, the last time that it said anything
        self._failure = PublishError(0, f"{server.url} was not asked")

    def limit(self, now: float) -> float:
        """Seconds for the attempt that begins now."""
        self._is_reached = False
        self.is_last = self._until - now <= ATTEMPT_TIMEOUT
        return ATTEMPT_TIMEOUT if not self.is_last else max(0.001, self._until - now)

    def reached(self) -> None:
        """The attempt has a connection: what is late from now on is the answer."""
        self._is_reached = True

    def answered(self, answer: Answer) -> bool:
        """Whether it is done."""
        if answer.status < 300:
            return True
        self._failure = self._said = refusal(answer, self._server)
        if answer.status not in AGAIN:
            raise self._failure
        self._retry_after, self._is_at_once = answer.retry_after, False
        return False

    def failed(self, error: Exception, *, is_kept: bool = False) -> None:
        """One of FAILURES. is_kept: on a connection of a former request, which the server may have closed by then:
        there are fewer of them now, and it is tried again at once."""
        if isinstance(error, ssl.SSLCertVerificationError):
            raise PublishError(0, f"{self._server.url}: {error.verify_message}") from error
        self._retry_after, self._is_at_once = 0.0, is_kept and isinstance(error, ConnectionError)
        if self._said is not None and isinstance(error, TimeoutError):
            self._failure = self._said  # time was up before it could be said again
        elif self._is_reached and isinstance(error, TimeoutError):  # nothing is wrong with address and firewall
            late = f"has not answered within {self._timeout:g} s: perhaps it is done"
            self._failure = PublishError(0, f"{self._server.url} was reached, and {late}")
        else:
            reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
            self._failure = PublishError(0, f"no admin server answers at {self._server.url}: {reason}")

    def pause(self, now: float) -> float:
        """Seconds until the next one."""
        if self._is_at_once:
            return 0.0
        pause = max(self._retry_after, self._pause * (0.5 + self._random() / 2))
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        if now + pause >= self._until:
            raise self._failure
        return pause
