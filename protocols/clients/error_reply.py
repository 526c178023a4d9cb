"""A typed error as the JSON reply that a client of a message protocol waits for.

It looks into the request for one thing, the client's own request id, so that the SDK can match the reply.
A request that is not JSON, or has no such id, gets an error with a null id. Nothing else of it is echoed, and the id
only up to MAX_ID: an error must not be as large as what it refuses, or twice that.
"""

import json
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from holdfast.protocols.errors import HoldfastError

MAX_ID = 1024  # characters. SDKs take 36. A number has 4,300 digits at most: neither decoder takes more


class _Asked(Struct, gc=False):
    """The part of a request that says which one it is."""

    requestId: Annotated[str, Meta(max_length=MAX_ID)] | int | None = None


# JavaScript writes half of a surrogate pair as it stands ("\\ud83d"). msgspec refuses all of such a message; Python's
# own decoder takes it, at a fifth of the speed.
_MAX_ODD_BYTES = 64 << 10

_decoder = msgspec.json.Decoder(_Asked)
_encoder = msgspec.json.Encoder()


def error_reply(request_payload: bytes, error: HoldfastError) -> bytes:
    """The reply, as JSON text. `retryAfter` (seconds) is there if the error has an attribute `retry_after`."""
    reason = error.reason
    told: dict[str, object] = {
        "id": f"holdfast.{reason.value}",
        "status": error.http_status,
        "message": str(error),
        "retryable": reason.retryable,
    }
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        told["retryAfter"] = retry_after
    request_id = _request_id(request_payload)
    # `room`: kuzzle-sdk matches a reply by room == requestId.
    return _encoder.encode(
        {"requestId": request_id, "room": request_id, "status": error.http_status, "error": told, "result": None}
    )


def _request_id(payload: bytes) -> str | int | None:
    try:
        return _decoder.decode(payload).requestId
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        is_odd = len(payload) <= _MAX_ODD_BYTES and b"\\ud" in payload.lower()
        return _odd_request_id(payload) if is_odd else None


def _odd_request_id(payload: bytes) -> str | int | None:
    try:
        request_id = msgspec.convert(json.loads(payload), _Asked).requestId
        str(request_id).encode()  # half a character in the id itself can't be said
        return request_id
    except (ValueError, RecursionError):  # of which msgspec's errors and UnicodeError are
        return None
