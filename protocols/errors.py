"""The errors of Holdfast. Each class or instance carries a Reason of the table in protocols.close.

A message says what was expected, what came and the limit; never payload bytes, never the inside.
"""

from holdfast.protocols.close import Reason


class HoldfastError(Exception):
    """Root of all. `reason` decides what a client is told; `id` refers to a log line, where there is one.

    challenge: of a 401, what WWW-Authenticate says beside the realm (RFC 6750 section 3).
    """

    reason: Reason = Reason.INTERNAL_ERROR
    challenge: str = ""

    def __init__(self, message: str, reason: Reason | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason

    @property
    def http_status(self) -> int:
        """What an HTTP client, or one that speaks in HTTP statuses, is told."""
        return self.reason.http


class ConfigError(HoldfastError):
    """Bad configuration: one line for people, exit status 2."""


class ProtocolError(HoldfastError):
    """The peer broke a rule of its protocol, or a limit. The connection ends."""

    reason = Reason.PROTOCOL_ERROR


class FrameError(HoldfastError):
    """A node sent a batch that is not a valid one. The link's session ends."""

    reason = Reason.PROTOCOL_ERROR


class StaleError(HoldfastError):
    """Something of an older epoch, attempt or session. It is refused and leaves no trace."""


class RequestError(HoldfastError):
    """A typed error in place of the reply to one request; the connection lives on.

    retry_after: seconds after which the client may try again, a hint. status: the HTTP status to say instead of the
    reason's, when a node chose one. code: the close code of a WebSocket, when a node that refuses a session chose one;
    0: none.
    """

    def __init__(
        self, message: str, reason: Reason, retry_after: float | None = None, status: int | None = None, code: int = 0
    ) -> None:
        super().__init__(message, reason)
        self.retry_after = retry_after
        self.status = status
        self.code = code

    @property
    def http_status(self) -> int:
        return self.status or self.reason.http
