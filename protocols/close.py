"""Why a connection ends or a request fails, and how each protocol says so.

This is the only table: adapters, metrics, logs and docs/reference/errors.md all read it. A WebSocket
close code is never 1000: SDKs take that for the user's own wish and stay away (kuzzle-sdk does).
"""

from enum import Enum

MAX_TEXT_BYTES = 123  # of what a client is told beside the code: what fits into a close frame (RFC 6455 section 5.5)


class Reason(Enum):
    """One reason: its name in metrics and logs, and what each protocol is told.

    websocket: close code (RFC 6455 section 7.4, IANA registry); http: status (RFC 9110);
    mqtt: reason code of MQTT 5; retryable: whether the same thing may work in a moment.
    """

    websocket: int
    http: int
    mqtt: int
    retryable: bool

    def __new__(cls, name: str, websocket: int, http: int, mqtt: int, retryable: bool) -> "Reason":
        self = object.__new__(cls)
        self._value_ = name
        self.websocket, self.http, self.mqtt, self.retryable = websocket, http, mqtt, retryable
        return self

    # the client's doing                     WebSocket HTTP  MQTT  retryable
    CLIENT_LEFT = "client_left", 1005, 499, 0x00, False
    PROTOCOL_ERROR = "protocol_error", 1002, 400, 0x82, False
    BAD_REQUEST = "bad_request", 1008, 400, 0x82, False
    NOT_UTF8 = "not_utf8", 1007, 400, 0x99, False
    MESSAGE_TOO_LARGE = "message_too_large", 1009, 413, 0x95, False
    HEADERS_TOO_LARGE = "headers_too_large", 1008, 431, 0x95, False
    TARGET_TOO_LONG = "target_too_long", 1008, 414, 0x95, False
    UNSUPPORTED_ENCODING = "unsupported_encoding", 1003, 415, 0x83, False
    NOT_IMPLEMENTED = "not_implemented", 1003, 501, 0x83, False
    VERSION_NOT_SUPPORTED = "version_not_supported", 1002, 505, 0x84, False
    UPGRADE_REQUIRED = "upgrade_required", 1002, 426, 0x84, False
    TOO_SLOW = "too_slow", 1008, 408, 0x8D, True
    IDLE = "idle", 1001, 408, 0x8D, True
    UNAUTHORIZED = "unauthorized", 1008, 401, 0x87, False
    REFUSED = "refused", 1008, 403, 0x87, False
    EXPIRED = "expired", 3000, 401, 0xA0, False
    ORIGIN_REFUSED = "origin_refused", 1008, 403, 0x87, False
    RATE_LIMITED = "rate_limited", 1013, 429, 0x96, True
    TOO_MANY_CONNECTIONS = "too_many_connections", 1013, 503, 0x97, True
    TOO_MANY_FROM_ADDRESS = "too_many_from_address", 1013, 429, 0x9F, True
    SLOW_CONSUMER = "slow_consumer", 1013, 503, 0x97, True
    # the node's doing, or the lack of one
    KICKED = "kicked", 1008, 403, 0x98, False
    NO_NODE = "no_node", 1013, 503, 0x88, True
    PARKING_FULL = "parking_full", 1013, 503, 0x97, True
    NODE_LOST = "node_lost", 1013, 502, 0x83, True
    QUARANTINED = "quarantined", 1011, 502, 0x83, False
    NODE_ERROR = "node_error", 1011, 500, 0x83, False
    BAD_REPLY = "bad_reply", 1011, 502, 0x83, False
    DEADLINE_EXCEEDED = "deadline_exceeded", 1013, 504, 0x83, True
    # ours
    DRAINING = "draining", 1012, 503, 0x8B, True
    OVERLOADED = "overloaded", 1013, 503, 0x89, True
    FENCED = "fenced", 1012, 503, 0x8B, True
    INTERRUPTED = "interrupted", 1012, 503, 0x8B, True
    INTERNAL_ERROR = "internal_error", 1011, 500, 0x83, False


def shown(text: str) -> str:
    """What a client is told of a text: whole characters of it, MAX_TEXT_BYTES in UTF-8 at most."""
    return text.encode(errors="replace")[:MAX_TEXT_BYTES].decode(errors="ignore")
