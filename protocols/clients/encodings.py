"""Content-Encoding of request bodies: which are known, and taking them off within a limit.

Owns gzip, deflate and identity, stacked in any order. Refuses others (415), damaged data (400), and a body that is
larger than the limit when decoded (413), having inflated no more than the limit in any layer.
"""

import zlib
from collections.abc import Sequence

from protocols.clients.base import Limits
from protocols.close import Reason
from protocols.errors import ProtocolError

ACCEPTED = "gzip, deflate"  # for the Accept-Encoding of a 415

_KNOWN = frozenset({"gzip", "x-gzip", "deflate", "identity"})  # x-gzip is gzip: RFC 9110 section 8.4.1.3
_ZLIB, _RAW, _GZIP = 15, -15, 31  # window bits: format and largest window

# RFC 1952 lets gzip members follow one another. Each one costs a copy of all that comes after it, so that a body of
# empty ones would cost minutes; encoders that make several make few.
_MAX_MEMBERS = 16


def check(encodings: Sequence[str], limits: Limits) -> None:
    """Raises ProtocolError (UNSUPPORTED_ENCODING) for what `decode` can't take off. Names in lower case, in order."""
    if len(encodings) > limits.max_encoding_layers:
        raise ProtocolError(
            f"{len(encodings)} content encodings, limit {limits.max_encoding_layers}", Reason.UNSUPPORTED_ENCODING
        )
    for encoding in encodings:
        if encoding not in _KNOWN:
            raise ProtocolError(
                f"content encoding {encoding[:32]!r} is none of gzip, deflate, identity", Reason.UNSUPPORTED_ENCODING
            )


def decode(body: bytes, encodings: Sequence[str], max_bytes: int) -> bytes:
    """The body without its encodings, which `check` has seen. An empty body is empty in every encoding.

    Raises ProtocolError: MESSAGE_TOO_LARGE if a layer inflates to more than max_bytes, PROTOCOL_ERROR if the data is
    damaged, cut short, or followed by something else.
    """
    if not body:
        return body
    for encoding in reversed(encodings):
        if encoding == "deflate":
            body, rest = _inflate(body, _ZLIB if _has_zlib_header(body) else _RAW, max_bytes)
        elif encoding != "identity":
            body, rest = _gunzip(body, max_bytes)
        else:
            continue
        if rest:
            raise ProtocolError(f"{len(rest)} bytes after the end of the {encoding} data")
    return body


def _has_zlib_header(body: bytes) -> bool:
    """Whether "deflate" means what RFC 9110 says, zlib's format, or what some clients send, the bare stream."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0


def _gunzip(body: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    parts, size = [], 0
    for _ in range(_MAX_MEMBERS):
        part, body = _inflate(body, _GZIP, max_bytes - size)
        parts.append(part)
        size += len(part)
        if not body:
            break
    return b"".join(parts), body


def _inflate(body: bytes, window_bits: int, max_bytes: int) -> tuple[bytes, bytes]:
    """One stream, inflated, and what follows it."""
    inflater = zlib.decompressobj(window_bits)
    try:
        data = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ProtocolError("damaged data in an encoded body") from error
    if len(data) > max_bytes:
        raise ProtocolError("the decoded body is over the limit", Reason.MESSAGE_TOO_LARGE)
    if not inflater.eof:
        raise ProtocolError("an encoded body that ends too early")
    return data, inflater.unused_data
