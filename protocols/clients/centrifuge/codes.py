"""How Centrifuge's clients are told a reason: numbers with which they do something of themselves.

Owns three tables, of the reasons of protocols.close. A client that was closed with a code below 3500, or from 4000 to
4499, comes back; with another one it stays away. One whose subscription ended with 2500 or above subscribes again. An
error is asked again by itself if it is `temporary`, or if it says that a token has expired: then with a new one.
"""

from typing import Final

from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, RequestError

# Of errors (https://centrifugal.dev/docs/server/codes). A node's own status is its own code: see error_code.
INTERNAL: Final = 100
UNAUTHORIZED: Final = 101
PERMISSION_DENIED: Final = 103
METHOD_NOT_FOUND: Final = 104
LIMIT_EXCEEDED: Final = 106
BAD_REQUEST: Final = 107
NOT_AVAILABLE: Final = 108
TOKEN_EXPIRED: Final = 109
TOO_MANY_REQUESTS: Final = 111

# Of subscriptions that end.
SERVER_UNSUBSCRIBE: Final = 2000
INSUFFICIENT_STATE: Final = 2500
SUBSCRIPTION_EXPIRED: Final = 2501

_TEMPORARY_STATUSES: Final = frozenset({429, 502, 503, 504})

# Each reason: the code of an error, and that with which a connection is closed.
_CODES: Final[dict[Reason, tuple[int, int]]] = {
    Reason.CLIENT_LEFT: (INTERNAL, 3000),  # connection closed
    Reason.PROTOCOL_ERROR: (BAD_REQUEST, 3501),  # bad request
    Reason.BAD_REQUEST: (BAD_REQUEST, 3501),
    Reason.NOT_UTF8: (BAD_REQUEST, 3501),
    Reason.MESSAGE_TOO_LARGE: (LIMIT_EXCEEDED, 1009),  # the one code of WebSocket's own that clients look at
    Reason.HEADERS_TOO_LARGE: (LIMIT_EXCEEDED, 3501),
    Reason.TARGET_TOO_LONG: (LIMIT_EXCEEDED, 3501),
    Reason.UNSUPPORTED_ENCODING: (BAD_REQUEST, 3506),  # inappropriate protocol
    Reason.NOT_IMPLEMENTED: (NOT_AVAILABLE, 3508),  # not available
    Reason.VERSION_NOT_SUPPORTED: (BAD_REQUEST, 3506),
    Reason.UPGRADE_REQUIRED: (BAD_REQUEST, 3506),
    Reason.TOO_SLOW: (INTERNAL, 3008),  # slow
    Reason.IDLE: (INTERNAL, 3012),  # no pong
    Reason.UNAUTHORIZED: (UNAUTHORIZED, 3500),  # invalid token
    Reason.REFUSED: (PERMISSION_DENIED, 3507),  # permission denied
    Reason.EXPIRED: (TOKEN_EXPIRED, 3005),  # connection expired: it comes back with a new token
    Reason.ORIGIN_REFUSED: (PERMISSION_DENIED, 3507),
    Reason.RATE_LIMITED: (TOO_MANY_REQUESTS, 3013),  # too many requests
    Reason.TOO_MANY_CONNECTIONS: (TOO_MANY_REQUESTS, 3013),
    Reason.TOO_MANY_FROM_ADDRESS: (TOO_MANY_REQUESTS, 3013),
    Reason.SLOW_CONSUMER: (INTERNAL, 3008),
    Reason.KICKED: (PERMISSION_DENIED, 3503),  # force disconnect
    Reason.NO_NODE: (INTERNAL, 3004),  # internal server error
    Reason.PARKING_FULL: (INTERNAL, 3004),
    Reason.NODE_LOST: (INTERNAL, 3004),
    Reason.QUARANTINED: (INTERNAL, 3004),
    Reason.NODE_ERROR: (INTERNAL, 3004),
    Reason.BAD_REPLY: (INTERNAL, 3004),
    Reason.DEADLINE_EXCEEDED: (INTERNAL, 3004),
    Reason.DRAINING: (INTERNAL, 3001),  # shutdown
    Reason.OVERLOADED: (INTERNAL, 3004),
    Reason.FENCED: (INTERNAL, 3011),  # force reconnect
    Reason.INTERRUPTED: (INTERNAL, 3011),
    Reason.INTERNAL_ERROR: (INTERNAL, 3004),
}


def close_code(reason: Reason) -> int:
    """With which a connection is closed."""
    return _CODES[reason][1]


def comes_back(code: int) -> bool:
    """Whether a client that was closed so connects again."""
    return code != 1009 and code % 1000 < 500


def unsubscribe_code(error: HoldfastError) -> int:
    """With which a subscription ends."""
    if error.reason is Reason.EXPIRED:
        return SUBSCRIPTION_EXPIRED
    return INSUFFICIENT_STATE if error.reason.retryable else SERVER_UNSUBSCRIBE


def error_code(error: HoldfastError) -> tuple[int, bool]:
    """The code of an error, and whether it is temporary. A status that a node has chosen, 400 or above, is the code."""
    if isinstance(error, RequestError) and error.status is not None and error.status >= 400:
        return error.status, error.retry_after is not None or error.status in _TEMPORARY_STATUSES
    reason = error.reason  # of an expired token: with a new one it is none
    return _CODES[reason][0], reason.retryable or reason is Reason.EXPIRED
