"""What an HTTP/1.1 connection says: replies of nodes, whole or in parts, and typed errors.

Owns their framing: what a node says of length, connection and coding is dropped and said anew. Refuses a status or a
header that would not be one on the wire (BAD_REPLY), before a byte of it is out. No `Date`: there is no clock here.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from math import ceil

from msgspec import Struct

from holdfast.protocols.bodiless import BODILESS
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.encodings import ACCEPTED
from holdfast.protocols.clients.error_reply import error_reply
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError, ProtocolError

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_SERVER = "Server: holdfast\r\n"
_TEXT = "Content-Type: text/plain; charset=utf-8\r\n" + _SERVER
_BINARY = "Content-Type: application/octet-stream\r\n" + _SERVER
_REALM = 'Bearer realm="holdfast"'
_JSON = "Content-Type: application/json\r\n" + _SERVER
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_RESET_CONTENT = 205  # bodiless, and says so by its length (RFC 9110 section 15.3.6)

# Values: what latin-1 can say, without control characters.
_LINE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++: [\t\x20-\x7e\x80-\xff]*+\r\n")
_SAID_HERE = frozenset({"keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})

# What becomes of a node's header.
_PASSED, _DROPPED, _IS_SERVER, _IS_LENGTH, _IS_CONNECTION = range(5)
# With a line of that length, 512 of them are 1 MiB.
_MAX_KEPT_CHARACTERS = 1 << 10

# What a client needs to know besides the status (RFC 9110 sections 15.5.16 and 15.5.22).
_MORE_TOLD = {
    Reason.UNSUPPORTED_ENCODING: f"Accept-Encoding: {ACCEPTED}\r\n",
    Reason.UPGRADE_REQUIRED: "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
}


class ReplyWriter(Struct, gc=False):
    """The reply to one request, in one part or several.

    is_head: of a HEAD request, so no body. is_http10: the client knows no chunks. keeps_alive: whether the connection
    is to stay; False afterwards also if the reply's own end can only be told by the connection's.
    """

    is_head: bool
    is_http10: bool
    keeps_alive: bool
    begun: bool = False  # from then on no other status can be said
    has_body: bool = True
    is_chunked: bool = False

    def write(self, head: ReplyHead | None, payload: bytes, is_text: bool, more: bool) -> bytes:
        """A part; without `more` the last. Only the first one's head counts. Raises ProtocolError (BAD_REPLY)."""
        if self.begun:
            begin = b""
        elif head is None:
            begin = self._begin(200, _TEXT if is_text else _BINARY, len(payload), more)
        else:
            lines, stated_length = _header_lines(head.headers)
            # A node may answer HEAD without making the body; then it alone knows how long that would be.
            length = stated_length if self.is_head and not payload else len(payload)
            begin = self._begin(head.status, lines, length, more)
        if not self.has_body:
            return begin
        if not self.is_chunked:
            return begin + payload
        chunk = b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
        return begin + chunk + (b"" if more else b"0\r\n\r\n")

    def error(self, error: HoldfastError, request_payload: bytes, further: str = "") -> bytes:
        """A typed error in place of the reply. If a part of that is out, b"": all that is left is to break off.
        further: lines of its head."""
        if self.begun:
            self.keeps_alive = False
            return b""
        body = error_reply(request_payload, error)
        lines = _JSON + _MORE_TOLD.get(error.reason, "") + further
        if error.http_status == HTTPStatus.UNAUTHORIZED:  # it must have one (RFC 9110 section 15.5.2)
            lines += f"WWW-Authenticate: {_REALM}{error.challenge and f', {error.challenge}'}\r\n"
        retry_after = getattr(error, "retry_after", None)
        if retry_after is not None:
            lines += f"Retry-After: {ceil(retry_after)}\r\n"
        begin = self._begin(error.http_status, lines, len(body), more=False)
        return begin + body if self.has_body else begin

    def _begin(self, status: int, lines: str, length: int | str, more: bool) -> bytes:
        if not 200 <= status <= 599:
            raise ProtocolError(f"a reply's status must be 200 to 599, got {status}", Reason.BAD_REPLY)
        framing = ""
        if status in BODILESS:
            self.has_body = False
            if status == _RESET_CONTENT:
                framing = "Content-Length: 0\r\n"
        else:
            self.has_body = not self.is_head
            if not more:
                if self.has_body or length:  # to HEAD a false 0 would be a lie about the body of GET
                    framing = f"Content-Length: {length}\r\n"
            elif not self.is_http10:
                self.is_chunked = True
                framing = "Transfer-Encoding: chunked\r\n"
            elif self.has_body:
                self.keeps_alive = False
        if not self.keeps_alive:
            framing += "Connection: close\r\n"
        elif self.is_http10:
            framing += "Connection: keep-alive\r\n"
        self.begun = True
        status_line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
        return f"{status_line}{lines}{framing}\r\n".encode("latin-1")


def error_bytes(error: HoldfastError) -> bytes:
    """The whole of what is said to who has not asked, or whose request can't be read; the connection ends with it."""
    return ReplyWriter(False, False, False).error(error, b"")


def _header_lines(headers: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The node's headers as lines, without those that are said here or end with this hop. And its Content-Length."""
    lines, server, length = "", _SERVER, ""
    options: list[str] = []
    for name, value in headers:
        is_short = len(name) + len(value) <= _MAX_KEPT_CHARACTERS
        line, what = _line(name, value) if is_short else _make_line(name, value)
        if what == _PASSED:
            lines += line
        elif what == _IS_SERVER:
            server = line
        elif what == _IS_CONNECTION:
            options += (option.strip(" \t") for option in value.lower().split(","))
        elif what == _IS_LENGTH:
            length = value
    if options:
        rest = [header for header in headers if header[0].lower() not in ("connection", *options)]
        return _header_lines(rest)
    return lines + server, length


def _make_line(name: str, value: str) -> tuple[str, int]:
    """A node's header as a line, and what becomes of it. Raises ProtocolError (BAD_REPLY)."""
    line = f"{name}: {value}\r\n"
    if ":" in name or not _LINE.fullmatch(line):
        raise ProtocolError(f"a reply's header {name[:64]!r} can't be sent", Reason.BAD_REPLY)
    lower = name.lower()
    if lower == "server":
        return line, _IS_SERVER
    if lower == "connection":
        return line, _IS_CONNECTION
    if lower == "content-length":
        return line, _IS_LENGTH if value.isdecimal() else _DROPPED
    return line, _DROPPED if lower in _SAID_HERE or lower.startswith("proxy-") else _PASSED


# A node says the same in most replies: 0.1 us instead of 0.5.
_line = lru_cache(maxsize=512)(_make_line)
