"""The frames of WebSocket (RFC 6455 section 5), as a server reads and writes them.

`Incoming` reads a frame, and the message it belongs to, from pieces of any size; the functions write frames. Each rule
of the RFC about a single frame or message is here; what a connection does with them is in websocket.py.
"""

from codecs import utf_8_decode
from collections.abc import Callable
from io import BytesIO
from struct import Struct
from typing import Final

from holdfast.protocols.clients.deflate import INFLATER_BYTES, Deflate, Inflater
from holdfast.protocols.close import Reason, shown
from holdfast.protocols.errors import ProtocolError

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA  # opcodes; 0: continuation
FIN, RSV1, RSV, CONTROL = 0x80, 0x40, 0x70, 0x08  # bits of the first byte
MASKED: Final = 0x80  # bit of the second
MAX_CONTROL_BYTES = 125

# RFC 6455 section 7.4 and the IANA registry; 1004, 1005, 1006 and 1015 are reserved and never sent.
_CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

_HEAD_BYTES = {126: 8, 127: 14}  # of a masked frame, by its 7-bit length; 6 for all others
_SHORT_HEADS = {first: tuple(bytes((first, size)) for size in range(126)) for first in (0x81, 0x82, 0xC1, 0xC2)}
_pack_16 = Struct(">BBH").pack
_pack_64 = Struct(">BBQ").pack


def xor_mask(data: bytes, mask: bytes) -> bytes:
    """Mask or unmask without C, where `websockets` has no wheel: 0.35 us slower at 64 bytes, 2 us at 1 KiB."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


apply_mask: Callable[[bytes, bytes], bytes]
try:
    from websockets.speedups import apply_mask
except ImportError:
    apply_mask = xor_mask


def is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def data_frame(first: int, payload: bytes) -> bytes:
    """A whole message. first: FIN and opcode, and RSV1 if it is compressed."""
    size = len(payload)
    if size < 126:
        return _SHORT_HEADS[first][size] + payload
    if size < 1 << 16:
        return _pack_16(first, 126, size) + payload
    return _pack_64(first, 127, size) + payload


def control_frame(opcode: int, payload: bytes) -> bytes:
    return bytes((FIN | opcode, len(payload))) + payload


def close_frame(reason: Reason, detail: str, code: int = 0) -> bytes:
    """Our close frame: the code, 0 for that of `reason`, and as much of `detail` as fits. 1005 is sent as no code."""
    if reason is Reason.CLIENT_LEFT:
        return control_frame(CLOSE, b"")
    return control_frame(CLOSE, (code or reason.websocket).to_bytes(2, "big") + shown(detail).encode())


def read_close(payload: bytes) -> str:
    """What a client's close frame says, for a log. Raises ProtocolError if it may not say it."""
    if not payload:
        return "client closed without a code"
    code = int.from_bytes(payload[:2], "big")  # a single byte makes no legal code either
    if code not in _CLOSE_CODES:
        raise ProtocolError("close frame has no code that may be sent")
    if not is_utf8(payload[2:]):
        raise ProtocolError("text of the close frame is not valid UTF-8", Reason.NOT_UTF8)
    return f"client closed with code {code}"


class Incoming:
    """A frame under way, and the fragmented message it may belong to. Takes any number of bytes, each once."""

    __slots__ = (
        "_deflate",
        "_discards",
        "_inflater",
        "_is_text",
        "_left",
        "_limit",
        "_mask",
        "_payload",
        "_pending",
        "_wire_bytes",
        "control",
        "head",
        "is_message",
        "started",
    )

    def __init__(self, limit: int, deflate: Deflate | None, now: float, discards: bool) -> None:
        self.started = now
        self._discards = discards  # we have sent close: data is stepped over
        self.head = bytearray()  # header of the current frame
        self.control = b""  # payload of the current control frame
        self.is_message = False  # a message has begun and not ended
        # Of the message; not reserved ahead: a header costs the sender nothing. Gives its bytes away without a copy.
        self._payload = BytesIO()
        self._left: int | None = None  # bytes of the current frame's payload to come; None: its header is not complete
        self._mask = b""  # turned so that it begins with the next byte's part
        self._limit = limit
        self._wire_bytes = 0  # of the message, as the headers told
        self._deflate = deflate
        self._inflater: Inflater | None = None
        self._is_text = False
        self._pending = b""  # an unfinished UTF-8 sequence

    @property
    def is_whole(self) -> bool:
        """The current frame is complete."""
        return self._left == 0

    @property
    def held_bytes(self) -> int:
        return self._payload.tell() + (0 if self._inflater is None else INFLATER_BYTES)

    def take(self, data: bytes, at: int) -> int:
        """Take bytes of the current frame, from `at` on. Returns the position after them. Raises ProtocolError."""
        if self._left is None:
            at = self._take_head(data, at)
        if self._left is None:
            return at
        # In the midst of a large payload all of `data` is its: to slice it would cost as much as to unmask it.
        masked = data if not at and len(data) <= self._left else data[at : at + self._left]
        if masked:
            self._left -= len(masked)
            payload = apply_mask(masked, self._mask)
            turn = len(masked) & 3
            self._mask = self._mask[turn:] + self._mask[:turn]
            if self.head[0] & CONTROL:
                self.control += payload
            elif not self._discards:
                self._add(self._inflater.inflate(payload) if self._inflater else payload)
        return at + len(masked)

    def next_frame(self) -> None:
        """The current frame is dealt with."""
        self.head.clear()
        self.control = b""
        self._left = None

    def finish_message(self) -> tuple[bytes, bool]:
        """The message and whether it is text, when its last frame is whole. Raises ProtocolError."""
        if self._inflater:
            self._add(self._inflater.finish())
        if self._pending:
            raise ProtocolError("text message ends inside a UTF-8 sequence", Reason.NOT_UTF8)
        self.is_message = False
        return self._payload.getvalue(), self._is_text

    def discard(self) -> None:
        """From here on data is stepped over: free what is held."""
        self._discards = True
        self._payload = BytesIO()
        self._inflater = None
        self._pending = b""

    def _take_head(self, data: bytes, at: int) -> int:
        head = self.head
        while True:
            want = 2 if len(head) < 2 else _HEAD_BYTES.get(head[1] & 0x7F, 6)
            part = data[at : at + want - len(head)]
            head += part
            at += len(part)
            if len(head) < want:
                return at
            if want > 2:
                break
            self._check_start(head[0], head[1])
        self._begin_payload(head)
        return at

    def _check_start(self, first: int, second: int) -> None:
        """What the first two bytes say. They come first, so that a frame is refused before its length is awaited."""
        opcode = first & 0x0F
        may_compress = self._deflate is not None and opcode in (TEXT, BINARY)
        if first & RSV & ~(RSV1 if may_compress else 0):
            raise ProtocolError("frame has a reserved bit that no extension uses")
        if not second & MASKED:
            raise ProtocolError("frame from a client must be masked")
        if opcode in (CLOSE, PING, PONG):
            if not first & FIN:
                raise ProtocolError("control frame is fragmented")
            if second & 0x7F > MAX_CONTROL_BYTES:
                raise ProtocolError(f"control frame is over {MAX_CONTROL_BYTES} bytes")
        elif opcode > BINARY:
            raise ProtocolError(f"opcode {opcode} is not known")
        elif opcode and self.is_message:
            raise ProtocolError("new message inside a fragmented one")
        elif not opcode and not self.is_message:
            raise ProtocolError("continuation of no message")

    def _begin_payload(self, head: bytearray) -> None:
        first, size = head[0], head[1] & 0x7F
        if size > 125:
            least = 126 if size == 126 else 1 << 16
            size = int.from_bytes(head[2:-4], "big")
            if size < least or size >> 63:
                raise ProtocolError("frame length is not in its shortest form, or over 63 bits")
        self._left = size
        self._mask = bytes(head[-4:])
        opcode = first & 0x0F
        if opcode & CONTROL:
            return
        if opcode:
            self.is_message = True
            self._is_text = opcode == TEXT
        if self._discards:
            return
        if first & RSV1:
            self._inflater = Inflater(self._limit)
        self._wire_bytes += size
        # Deflate can make a message longer, by some bytes for each of its blocks and fragments: hence the double.
        if self._wire_bytes > (2 * self._limit + 64 if self._inflater else self._limit):
            raise ProtocolError(
                f"message has {self._wire_bytes} bytes or more, the limit is {self._limit}", Reason.MESSAGE_TOO_LARGE
            )

    def _add(self, payload: bytes) -> None:
        if self._is_text and (self._pending or not payload.isascii()):
            text = self._pending + payload
            try:
                _, good = utf_8_decode(text, "strict", False)
            except UnicodeDecodeError:
                raise ProtocolError("text message is not valid UTF-8", Reason.NOT_UTF8) from None
            pending = self._pending = text[good:]
            # Python waits for the third byte of a surrogate; two are enough to know it.
            if pending[:1] == b"\xed" and pending[1:] >= b"\xa0":
                raise ProtocolError("text message is not valid UTF-8", Reason.NOT_UTF8)
        self._payload.write(payload)
