"""Content-Encoding of request bodies: which are known, and taking them off within a limit.

Owns gzip, deflate and identity, stacked in any order. Refuses others (415), damaged data (400), and a body that is
larger than the limit when decoded (413), having inflated no more than the limit in any layer. Does not do it at a
stretch: a few hundred bytes can be 24 MiB in three layers, and 40 ms.
"""

import zlib
from collections.abc import Sequence

from holdfast.protocols.clients.base import INFLATED_BYTES_PER_UNIT, UNITS_PER_CALL, Limits
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

ACCEPTED = "gzip, deflate"  # for the Accept-Encoding of a 415

_KNOWN = frozenset({"gzip", "x-gzip", "deflate", "identity"})  # x-gzip is gzip: RFC 9110 section 8.4.1.3
_ZLIB, _RAW, _GZIP = 15, -15, 31  # window bits: format and largest window

# RFC 1952 lets gzip members follow one another. Each one sets zlib up anew, so that a body of empty ones would cost
# seconds; encoders that make several make few.
_MAX_MEMBERS = 16

_READ_BYTES = 64 << 10
_INFLATER_BYTES = 40 << 10  # zlib's window, and what it knows of a stream
SHARE_BYTES = UNITS_PER_CALL * INFLATED_BYTES_PER_UNIT  # some 0.3 ms


def check(encodings: Sequence[str], limits: Limits) -> None:
    """Raises ProtocolError (UNSUPPORTED_ENCODING) for what `Decoder` can't take off. Names in lower case, in order."""
    if len(encodings) > limits.max_encoding_layers:
        raise ProtocolError(
            f"{len(encodings)} content encodings, limit {limits.max_encoding_layers}", Reason.UNSUPPORTED_ENCODING
        )
    for encoding in encodings:
        if encoding not in _KNOWN:
            raise ProtocolError(
                f"content encoding {encoding[:32]!r} is none of gzip, deflate, identity", Reason.UNSUPPORTED_ENCODING
            )


class Decoder:
    """Takes the encodings, which `check` has seen, off one body, a share of the work at a time."""

    __slots__ = ("_at", "_body", "_encodings", "_inflated", "_inflater", "_max_bytes", "_members", "_parts")

    def __init__(self, body: bytes, encodings: Sequence[str], max_bytes: int) -> None:
        # An empty body is empty in every encoding.
        self._encodings = [encoding for encoding in encodings if encoding != "identity"] if body else []
        self._body = body  # of the current layer
        self._at = 0  # so much of it is done
        self._max_bytes = max_bytes
        self._inflater: zlib._Decompress | None = None  # of the current stream
        self._members = 0  # of the current layer, those that are done
        self._parts: list[bytes] = []  # of the current layer, inflated
        self._inflated = 0

    @property
    def is_decoded(self) -> bool:
        return not self._encodings

    @property
    def held_bytes(self) -> int:
        return len(self._body) + self._inflated + _INFLATER_BYTES

    def advance(self) -> bytes | None:
        """Inflate SHARE_BYTES at most. The body once it is decoded, None until then.

        Raises ProtocolError: MESSAGE_TOO_LARGE if a layer inflates to more than max_bytes, PROTOCOL_ERROR if the data
        is damaged, cut short, or followed by something else.
        """
        share = SHARE_BYTES
        while self._encodings:
            if share <= 0:
                return None
            share -= self._inflate(share)
        return self._body

    def _inflate(self, share: int) -> int:
        """Of one stream, and all of its end. How many bytes that were, of the larger of its two sides."""
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = zlib.decompressobj(self._window_bits)
        # Sliced: zlib gives back, as a copy, what it has not taken.
        taken = self._body[self._at : self._at + _READ_BYTES]
        try:
            # One byte more than allowed shows an excess.
            data = inflater.decompress(taken, min(share, self._max_bytes - self._inflated + 1))
        except zlib.error as error:
            raise ProtocolError("damaged data in an encoded body") from error
        size = len(taken) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
        self._at += size
        if data:
            self._parts.append(data)
            self._inflated += len(data)
            if self._inflated > self._max_bytes:
                raise ProtocolError("the decoded body is over the limit", Reason.MESSAGE_TOO_LARGE)
        if inflater.eof:
            self._end_stream()
        elif not (data or size):
            raise ProtocolError("an encoded body that ends too early")
        return max(size, len(data))

    @property
    def _window_bits(self) -> int:
        if self._encodings[-1] != "deflate":
            return _GZIP
        return _ZLIB if _has_zlib_header(self._body) else _RAW

    def _end_stream(self) -> None:
        self._inflater = None
        self._members += 1
        rest = len(self._body) - self._at
        if rest:
            if self._encodings[-1] != "deflate" and self._members < _MAX_MEMBERS:
                return
            raise ProtocolError(f"{rest} bytes after the end of the {self._encodings[-1]} data")
        self._encodings.pop()
        self._body = b"".join(self._parts)
        self._parts = []
        self._at = self._members = self._inflated = 0


def _has_zlib_header(body: bytes) -> bool:
    """Whether "deflate" means what RFC 9110 says, zlib's format, or what some clients send, the bare stream."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
