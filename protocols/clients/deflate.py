"""permessage-deflate (RFC 7692), server side: its negotiation, and the codec of one message.

Neither side keeps context from message to message. So a compressed notification is the same for every
connection with the same parameters, and an idle connection holds no zlib state (websockets measures 14 to
316 KiB with it). Refuses: offers that cannot be met exactly, data that is not whole deflate blocks, and more
than a limit of inflated bytes, which it never makes.
"""

import zlib

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

MIN_COMPRESSED_BYTES = 128  # below that deflate saves less than a fifth of JSON and costs 3 us
# Above that a message is sent as it is (RFC 7692 section 6 allows it): a call of zlib is not cut in two, and holds the
# reactor up. 64 KiB of JSON take 0.2 ms and noise 1.6; a message of 6 MiB took 25 and 157.
MAX_COMPRESSED_BYTES = 64 << 10
_LEVEL = 1  # at 64 KiB of JSON level 6 saves 16 % more and blocks the reactor 3.3 times as long
_MEMORY_LEVEL = 5
_WINDOW_BITS = 12  # with memory level 5: 2.5 us to set up, not 52 as with zlib's defaults, as fresh memory is touched
_TAIL = b"\x00\x00\xff\xff"  # of a sync flush: left out on the wire (RFC 7692 section 7.2.1)
INFLATER_BYTES = 40 << 10  # zlib's window, and what it knows of a stream
_LAST_BLOCK = b"\x03\x00"  # an empty final block: taken only where a block may begin


class Inflater:
    """Inflates one message, piece by piece, to no more than `limit` bytes in all."""

    __slots__ = ("_limit", "_made", "_started", "_stream")

    def __init__(self, limit: int) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._limit = limit
        self._made = 0
        self._started = False

    def inflate(self, data: bytes) -> bytes:
        """What `data` adds to the message. Raises ProtocolError (MESSAGE_TOO_LARGE, PROTOCOL_ERROR)."""
        self._started = True
        try:
            # One byte more than allowed shows an excess; max_length 0 would mean no limit.
            inflated = self._stream.decompress(data, self._limit - self._made + 1)
        except zlib.error as error:
            raise ProtocolError("compressed message is not valid deflate data") from error
        self._made += len(inflated)
        if self._made > self._limit:
            raise ProtocolError(
                f"message inflates to more than {self._limit} bytes, the limit", Reason.MESSAGE_TOO_LARGE
            )
        # A sender may end with a final block and then a zero byte (RFC 7692 section 7.2.3.4): nothing else may follow.
        if self._stream.unused_data not in (b"", b"\x00"):
            raise ProtocolError("compressed message goes on after its final block")
        return inflated

    def finish(self) -> bytes:
        """The rest, when all data has come. Raises like `inflate`, also if the message stops inside a block."""
        is_whole = self._stream.eof or not self._started  # no data at all: some senders' form of the empty message
        if is_whole:
            return b""
        rest = self.inflate(_TAIL + _LAST_BLOCK)
        if not self._stream.eof:
            raise ProtocolError("compressed message ends inside a deflate block")
        return rest


class Deflate:
    """The codec of connections that have agreed on `window_bits` for what the server sends. Without state: shared."""

    __slots__ = ("window_bits", "wire_format")

    def __init__(self, window_bits: int) -> None:
        self.window_bits = min(window_bits, _WINDOW_BITS)
        self.wire_format = ("websocket", "permessage-deflate", self.window_bits)

    def compress(self, payload: bytes) -> bytes | None:
        """The compressed message, or None if it is better sent as it is."""
        if not MIN_COMPRESSED_BYTES <= len(payload) <= MAX_COMPRESSED_BYTES:
            return None
        stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, -self.window_bits, _MEMORY_LEVEL)
        compressed = stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)
        if len(compressed) - len(_TAIL) >= len(payload):
            return None
        return compressed[: -len(_TAIL)]


_WINDOW_VALUES = frozenset(map(str, range(8, zlib.MAX_WBITS + 1)))  # as RFC 7692 allows them, no leading zeros
_CODECS = {str(bits): Deflate(bits) for bits in range(9, zlib.MAX_WBITS + 1)}  # zlib makes no raw window of 8 bits


def negotiate(offers: str, limits: Limits) -> tuple[str, Deflate] | None:
    """Choose from the offers of a Sec-WebSocket-Extensions header (several lines joined by commas).

    Returns the value of the response's header and the codec, or None: no extension is used.
    """
    if not limits.compression:
        return None
    for offer in offers.split(","):  # a quoted value must be a token (RFC 6455 section 9.1): no comma hides in one
        name, *parameters = (part.strip() for part in offer.split(";"))
        server_window = _server_window(parameters)
        if name.lower() != "permessage-deflate" or server_window is None:
            continue
        response = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        if not server_window:
            return response, _CODECS[str(zlib.MAX_WBITS)]
        return f"{response}; server_max_window_bits={server_window}", _CODECS[server_window]
    return None


def _server_window(parameters: list[str]) -> str | None:
    """The window that an offer allows us, "" if it names none; None if the offer has to be declined."""
    server_window = ""
    seen = set()
    for parameter in parameters:
        name, equals, value = (part.strip() for part in parameter.partition("="))
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        match name:
            case "server_no_context_takeover" | "client_no_context_takeover":
                valid = not equals
            case "client_max_window_bits":  # may come without a value; we inflate with the largest window anyway
                valid = not equals or value in _WINDOW_VALUES
            case "server_max_window_bits":
                valid = value in _CODECS
                server_window = value
            case _:
                valid = False
        if not valid or name in seen:
            return None
        seen.add(name)
    return server_window
