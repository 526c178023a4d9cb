"""One request until it is done: when it is tried, when again, and what it has come to. Takes time and randomness as
arguments; how something is exchanged, and slept, is its publisher's.

It is sent again after a lost connection, and after an answer that says that it may be. It bears its Idempotency-Key, so
a proxy that has done it answers again and does not do it again.
"""

import ssl
from collections.abc import Callable

import h11

from holdfast.publisher.requests import Answer, PublishError, Server, is_for_clients, refusal

UNAVAILABLE = 503
UNDER_WAY = 409  # an attempt whose connection was lost, or whose time was up: the key is no other's
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
UNDER_WAY_PAUSE = 0.2  # at most, while it is
# For one attempt: a proxy answers within request.timeout. Another attempt finds out what has become of the one before.
ATTEMPT_TIMEOUT = 15.0
# Of the time for the last attempt, for the way of the answer, and for a server that is busy and looks now and then
# whose time is up: a share, within so many seconds, and half of it at most.
WAY_SHARE, LEAST_WAY, LONGEST_WAY = 0.1, 0.15, 0.5
FAILURES = (OSError, h11.ProtocolError)  # of an exchange


class Attempts:
    """Of one request. For each `begin`, and an exchange, in which it is `reached`; it was `answered` or has `failed`;
    then a `pause`.

    timeout: seconds for all of them. The last three raise PublishError when there is no use in another one.
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
        self._said: PublishError | None = None  # by the server, the last time that it said anything
        self._failure = PublishError(0, f"{server.url} was not asked")

    def begin(self, now: float) -> float:
        """The next one. Returns the seconds that it has."""
        self._is_reached = False
        return max(0.001, min(self._until - now, ATTEMPT_TIMEOUT))

    def reached(self, now: float) -> float:
        """The attempt has a connection: what is late from now on is the answer. Returns the seconds that the server is
        told to take at most, until the end of all attempts: what has not begun by then never does, whichever of them
        had it, and that there was no node, for one, is said in time."""
        self._is_reached = True
        seconds = max(0.002, self._until - now)
        way = min(max(LEAST_WAY, WAY_SHARE * seconds), LONGEST_WAY, seconds / 2)
        return seconds - way

    def answered(self, answer: Answer) -> bool:
        """Whether it is done."""
        if answer.status < 300:
            return True
        self._retry_after, self._is_at_once = answer.retry_after, False
        if answer.status == UNDER_WAY and answer.is_of_admin:
            self._pause = min(UNDER_WAY_PAUSE, self._pause)
            self._failure, self._said = self._late(), None
            return False
        self._failure = self._said = refusal(answer, self._server)
        if answer.status != UNAVAILABLE or is_for_clients(answer):
            raise self._failure
        return False

    def failed(self, error: Exception, *, is_kept: bool = False) -> None:
        """One of FAILURES. is_kept: on a connection of a former request, which the server may have closed by then:
        there are fewer of them now, and it is tried again at once."""
        if isinstance(error, ssl.SSLCertVerificationError):
            raise PublishError(0, f"{self._server.url}: {error.verify_message}") from error
        self._retry_after, self._is_at_once = 0.0, is_kept and isinstance(error, ConnectionError)
        if self._is_reached and isinstance(error, TimeoutError):  # nothing is wrong with address and firewall
            self._failure = self._late()
        elif self._said is not None and isinstance(error, TimeoutError):
            self._failure = self._said  # time was up before it could be asked again
        else:
            reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
            self._failure = PublishError(0, f"no admin server answers at {self._server.url}: {reason}")

    def _late(self) -> PublishError:
        late = f"has not answered within {self._timeout:g} s: perhaps it is done"
        return PublishError(0, f"{self._server.url} was reached, and {late}")

    def pause(self, now: float) -> float:
        """Seconds until the next one."""
        if self._is_at_once:
            return 0.0
        pause = max(self._retry_after, self._pause * (0.5 + self._random() / 2))
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        if now + pause >= self._until:
            raise self._failure
        return pause
