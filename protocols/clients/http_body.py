"""A chunked request body (RFC 9112 section 7.1), strictly.

Not h11's reader: it takes bare CR in extensions, bare LF in trailers, extensions of any length, spaces after a
size, and sizes of 20 digits, and on each of these some other proxy disagrees with it. Extensions are ignored and
trailers dropped; both are paid from one budget, for they could else outweigh any limit of the body.
"""

import re

from holdfast.protocols.clients.base import UNITS_PER_CALL, Limits
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

_MAX_SIZE_LINE_BYTES = 256
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")

_SIZE, _DATA, _DATA_END, _TRAILERS = range(4)  # what comes next


class ChunkedBody:
    """Takes a body out of a connection's buffer, however its bytes arrive.

    has_more: the last call has ended with its share of lines, and not with the buffer.
    """

    __slots__ = ("_body", "_expects", "_left", "_limits", "_spare", "has_more")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._body = bytearray()
        self._expects = _SIZE
        self._left = 0  # of the current chunk
        self._spare = limits.max_header_bytes  # for extensions and trailers
        self.has_more = False

    @property
    def held_bytes(self) -> int:
        return len(self._body)

    def take(self, buffer: bytearray) -> bytes | None:
        """Remove from the buffer's front what is of the body. The whole body once it is complete, None until then.

        Raises ProtocolError: MESSAGE_TOO_LARGE by the size a chunk announces, HEADERS_TOO_LARGE for the
        trailers, else PROTOCOL_ERROR.
        """
        at = lines = 0
        is_complete = self.has_more = False
        while not is_complete:
            if self._expects == _DATA:
                part = buffer[at : at + self._left]
                self._body += part
                self._left -= len(part)
                at += len(part)
                if self._left:
                    break
                self._expects = _DATA_END
            elif self._expects == _DATA_END:
                if len(buffer) - at < 2:
                    break
                if not buffer.startswith(b"\r\n", at):
                    raise ProtocolError("a chunk that is not as long as its size says")
                at += 2
                self._expects = _SIZE
            else:
                end = self._line_end(buffer, at)
                if not end:
                    break
                lines += 1
                if lines > UNITS_PER_CALL:
                    self.has_more = True
                    break
                if self._expects == _SIZE:
                    self._take_size(buffer, at, end)
                else:
                    is_complete = self._take_trailer(buffer, at, end)
                at = end
        del buffer[:at]
        return bytes(self._body) if is_complete else None

    def _line_end(self, buffer: bytearray, at: int) -> int:
        """Where the line that begins at `at` ends; 0: not yet."""
        limit = _MAX_SIZE_LINE_BYTES if self._expects == _SIZE else self._spare + 2
        end = buffer.find(b"\n", at, at + limit) + 1
        if not end and len(buffer) - at >= limit:
            if self._expects == _SIZE:
                raise ProtocolError(f"the line of a chunk's size is over {_MAX_SIZE_LINE_BYTES} bytes, the limit")
            self._spend(limit, Reason.HEADERS_TOO_LARGE)
        return end

    def _take_size(self, buffer: bytearray, at: int, end: int) -> None:
        match = _SIZE_LINE.fullmatch(buffer, at, end)
        if match is None:
            raise ProtocolError("malformed chunk size")
        digits, extension = match.groups()
        if extension:
            self._spend(len(extension), Reason.PROTOCOL_ERROR)
        self._left = int(digits, 16)
        if len(self._body) + self._left > self._limits.max_body_bytes:
            raise ProtocolError(
                f"the body is over {self._limits.max_body_bytes} bytes, the limit", Reason.MESSAGE_TOO_LARGE
            )
        self._expects = _DATA if self._left else _TRAILERS

    def _take_trailer(self, buffer: bytearray, at: int, end: int) -> bool:
        """Whether this was the empty line, and the end."""
        if buffer.startswith(b"\r\n", at):
            return True
        if not _TRAILER.fullmatch(buffer, at, end):
            raise ProtocolError("malformed trailer")
        self._spend(end - at, Reason.HEADERS_TOO_LARGE)
        return False

    def _spend(self, size: int, reason: Reason) -> None:
        self._spare -= size
        if self._spare < 0:
            raise ProtocolError(
                f"chunk extensions and trailers are over {self._limits.max_header_bytes} bytes, the limit", reason
            )
