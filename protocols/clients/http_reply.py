"""What an HTTP/1.1 connection says: replies of nodes, whole or in parts, and typed errors.

Owns their framing: what a node says of length, connection and coding is dropped and said anew. Refuses a status or a
header that would not be one on the wire (BAD_REPLY), before a byte of it is out. No `Date`: there is no clock here.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from math import ceil

from protocols.clients.base import ReplyHead
from protocols.clients.encodings import ACCEPTED
from protocols.clients.error_reply import error_reply
from protocols.close import Reason
from protocols.errors import HoldfastError, ProtocolError

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_SERVER = "Server: holdfast"
_TEXT = ReplyHead(200, (("Content-Type", "text/plain; charset=utf-8"),))
_BINARY = ReplyHead(200, (("Content-Type", "application/octet-stream"),))
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}
_NO_BODY = frozenset({204, 304})

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # what latin-1 can say, without control characters
_SAID_HERE = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})

# What a client needs to know besides the status (RFC 9110 sections 15.5.16 and 15.5.22).
_MORE_TOLD = {
    Reason.UNSUPPORTED_ENCODING: [f"Accept-Encoding: {ACCEPTED}"],
    Reason.UPGRADE_REQUIRED: ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
}


class ReplyWriter:
    """The reply to one request, in one part or several.

    is_head: of a HEAD request, so no body. is_http10: the client knows no chunks. keeps_alive: whether the connection
    is to stay; False afterwards also if the reply's own end can only be told by the connection's.
    """

    __slots__ = ("_has_body", "_is_chunked", "_is_head", "_is_http10", "begun", "keeps_alive")

    def __init__(self, *, is_head: bool, is_http10: bool, keeps_alive: bool) -> None:
        self._is_head = is_head
        self._is_http10 = is_http10
        self._has_body = True
        self._is_chunked = False
        self.keeps_alive = keeps_alive
        self.begun = False  # from then on no other status can be said

    def write(self, head: ReplyHead | None, payload: bytes, is_text: bool, more: bool) -> bytes:
        """A part; without `more` the last. Only the first one's head counts. Raises ProtocolError (BAD_REPLY)."""
        begin = b""
        if not self.begun:
            head = head or (_TEXT if is_text else _BINARY)
            lines, stated_length = _header_lines(head.headers)
            # A node may answer HEAD without making the body; then it alone knows how long that would be.
            length = stated_length if self._is_head and not payload and stated_length else str(len(payload))
            begin = self._begin(head.status, lines, length, more)
        if not self._has_body:
            return begin
        if not self._is_chunked:
            return begin + payload
        chunk = b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
        return begin + chunk + (b"" if more else b"0\r\n\r\n")

    def error(self, error: HoldfastError, request_payload: bytes) -> bytes:
        """A typed error in place of the reply. If a part of that is out, b"": all that is left is to break off."""
        if self.begun:
            self.keeps_alive = False
            return b""
        body = error_reply(request_payload, error)
        lines = ["Content-Type: application/json", _SERVER, *_MORE_TOLD.get(error.reason, ())]
        retry_after = getattr(error, "retry_after", None)
        if retry_after is not None:
            lines.append(f"Retry-After: {ceil(retry_after)}")
        begin = self._begin(error.http_status, lines, str(len(body)), more=False)
        return begin + body if self._has_body else begin

    def _begin(self, status: int, lines: list[str], length: str, more: bool) -> bytes:
        if not 200 <= status <= 599:
            raise ProtocolError(f"a reply's status must be 200 to 599, got {status}", Reason.BAD_REPLY)
        may_have_body = status not in _NO_BODY
        self._has_body = may_have_body and not self._is_head
        self._is_chunked = may_have_body and more and not self._is_http10
        if self._is_chunked:
            lines.append("Transfer-Encoding: chunked")
        elif may_have_body and not more:
            lines.append(f"Content-Length: {length}")
        elif self._has_body:
            self.keeps_alive = False
        if not self.keeps_alive:
            lines.append("Connection: close")
        elif self._is_http10:
            lines.append("Connection: keep-alive")
        self.begun = True
        status_line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} "
        return "\r\n".join((status_line, *lines, "\r\n")).encode("latin-1")


def _header_lines(headers: Sequence[tuple[str, str]]) -> tuple[list[str], str]:
    """The node's headers as lines, without those that are said here or end with this hop. And its Content-Length."""
    lines = []
    dropped = _SAID_HERE
    server, length = _SERVER, ""
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ProtocolError(f"a reply's header {name[:64]!r} can't be sent", Reason.BAD_REPLY)
        if name.lower() == "connection":
            dropped = dropped.union(option.strip(" \t") for option in value.lower().split(","))
    for name, value in headers:
        lower = name.lower()
        if lower == "server":
            server = f"{name}: {value}"
        elif lower == "content-length" and value.isdecimal():
            length = value
        elif lower not in dropped and not lower.startswith("proxy-"):
            lines.append(f"{name}: {value}")
    lines.append(server)
    return lines, length
