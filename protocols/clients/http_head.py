"""The head of an HTTP/1.1 request: where it ends, what it says, and what a node gets to see of it.

`inspect` looks at the raw bytes before any parser does. It owns the limits, the body's length, and everything on which
two parsers might disagree, because a proxy in front of us that sees another request than we do is how requests are
smuggled: h11, like most, takes bare LF, folded lines and equal Content-Lengths in a list. Then `parse` gives the
block to h11, which owns the grammar of the request line and of header lines; nothing else here knows h11.

A header whose name has "_" where one that matters here has "-" (content_length) is refused: what turns headers
into variables of an environment can't tell the two apart. Other names with "_" pass.
"""

import re

import h11
from msgspec import Struct

from protocols.clients.base import Limits
from protocols.clients.forwarded import CLAIMS
from protocols.close import Reason
from protocols.errors import ProtocolError

CHUNKED = -1  # in place of a body's length

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIRST_BYTE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]")
_END = re.compile(rb"\n\r?\n")  # a bare LF ends it too, only to be refused at once and not when time is up
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9](?:\.[0-9])?)\r\n")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding)[ \t]*:([^\r]*)", re.IGNORECASE)
_MAX_LENGTH_DIGITS = 18  # below 2**63, so that nobody's integer overflows

# RFC 3986 section 3.2.2, without sub-delimiters and user information: no name in use has them, attacks do.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)

# RFC 9110 section 7.6.1, and names that begin with "proxy-". All of them end with this hop.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_DONE_HERE = frozenset({"content-encoding", "content-length", "expect"})  # bodies are passed on whole and decoded
_NOT_FOR_NODES = _HOP_BY_HOP | _DONE_HERE
_SENSITIVE = _NOT_FOR_NODES | CLAIMS | {"authorization", "cookie", "host", "origin"}
_SENSITIVE_PREFIXES = ("proxy-", "sec-", "x-forwarded-")


class Head(Struct, gc=False):
    """A request's head. headers: as they came, names in lower case. length: of the body, or CHUNKED."""

    method: str
    target: str
    is_http10: bool
    length: int
    headers: list[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]

    def tokens(self, name: str) -> list[str]:
        """The elements, in lower case, of a header that is a list."""
        elements = ",".join(self.values(name)).lower().split(",")
        return [element.strip(" \t") for element in elements if element.strip(" \t")]

    @property
    def keeps_alive(self) -> bool:
        options = self.tokens("connection")
        return "close" not in options and (not self.is_http10 or "keep-alive" in options)

    @property
    def expects_continue(self) -> bool:
        """An HTTP/1.0 client that says so does not mean it (RFC 9110 section 10.1.1)."""
        return self.length != 0 and not self.is_http10 and "100-continue" in self.tokens("expect")


def find_start(buffer: bytearray) -> int | None:
    """Where the head begins: after one empty line at most (RFC 9112 section 2.2). None: nothing of it has come.

    Raises ProtocolError if what has come begins no request: TLS, for one, would else be waited for.
    """
    start = 2 if buffer.startswith(b"\r\n") else 0
    if len(buffer) == start or buffer == b"\r":
        return None
    if not _FIRST_BYTE.match(buffer, start):
        raise ProtocolError("what came does not begin like a request line")
    return start


def find_end(buffer: bytearray, start: int, searched: int, limits: Limits) -> int | None:
    """Where the head that begins at `start` ends; None if it does not yet. `searched`: length of the buffer last time.

    Raises ProtocolError (HEADERS_TOO_LARGE, TARGET_TOO_LONG) as soon as it is over max_header_bytes.
    """
    match = _END.search(buffer, max(start, searched - 2))
    end = match.end() if match else None
    if (end or len(buffer)) - start > limits.max_header_bytes:
        line_end = buffer.find(b"\n", start, start + limits.max_header_bytes)
        if line_end < 0:
            raise ProtocolError(
                f"the request line is over {limits.max_header_bytes} bytes, the limit", Reason.TARGET_TOO_LONG
            )
        raise ProtocolError(f"the head is over {limits.max_header_bytes} bytes, the limit", Reason.HEADERS_TOO_LARGE)
    return end


def read_head(block: bytes, limits: Limits) -> Head:
    """The head in `block`, which ends with its empty line. Raises ProtocolError with the reason that fits."""
    is_http10, length = inspect(block, limits)
    head = parse(block, is_http10, length)
    _check_names(head.headers)
    _check_host(head)
    return head


def inspect(block: bytes, limits: Limits) -> tuple[bool, int]:
    """Refuse by the raw bytes what no parser shall see. Returns whether it is HTTP/1.0, and the body's length."""
    line = _REQUEST_LINE.match(block)
    if line is None:
        raise ProtocolError("malformed request line")
    method, target, version = line.groups()
    if version not in (b"1.1", b"1.0"):
        raise ProtocolError("the version must be HTTP/1.1 or HTTP/1.0", Reason.VERSION_NOT_SUPPORTED)
    if len(target) > limits.max_target_bytes:
        raise ProtocolError(
            f"the request target has {len(target)} bytes, limit {limits.max_target_bytes}", Reason.TARGET_TOO_LONG
        )
    if method == b"CONNECT":
        raise ProtocolError("CONNECT is for forward proxies", Reason.NOT_IMPLEMENTED)
    if _FORBIDDEN.search(block):
        raise ProtocolError("a control character, a bare CR or a bare LF in the head")
    if b"\r\n " in block or b"\r\n\t" in block:
        raise ProtocolError("a folded line in the head")
    count = block.count(b"\r\n") - 2
    if count > limits.max_headers:
        raise ProtocolError(f"{count} headers, limit {limits.max_headers}", Reason.HEADERS_TOO_LARGE)
    is_http10 = version == b"1.0"
    return is_http10, _body_length(block, is_http10, limits)


def _body_length(block: bytes, is_http10: bool, limits: Limits) -> int:
    """RFC 9112 section 6.3, with an error wherever it leaves a choice."""
    fields = _FRAMING.findall(block)
    if not fields:
        return 0
    if len(fields) > 1:
        raise ProtocolError("more than one Content-Length or Transfer-Encoding")
    name, value = fields[0][0], fields[0][1].strip(b" \t")
    if name.lower() == b"transfer-encoding":
        if is_http10:
            raise ProtocolError("Transfer-Encoding in HTTP/1.0")
        if value.lower() != b"chunked":
            raise ProtocolError("the transfer encoding must be chunked and nothing else", Reason.NOT_IMPLEMENTED)
        return CHUNKED
    if not value.isdigit():
        raise ProtocolError("Content-Length must be a number, digits only")
    if len(value) > _MAX_LENGTH_DIGITS or int(value) > limits.max_body_bytes:
        raise ProtocolError(f"the body is over {limits.max_body_bytes} bytes, the limit", Reason.MESSAGE_TOO_LARGE)
    return int(value)


def parse(block: bytes, is_http10: bool, length: int) -> Head:
    """h11's part: the grammar. A connection of its own for each head, so that an idle one holds none (1 us)."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(block)
    try:
        request = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise ProtocolError("malformed request line, malformed header, or not one Host header") from error
    if not isinstance(request, h11.Request):
        raise ProtocolError("malformed head")
    headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers]
    return Head(request.method.decode("ascii"), request.target.decode("ascii"), is_http10, length, headers)


def _check_names(headers: list[tuple[str, str]]) -> None:
    for name, _ in headers:
        if "_" in name:
            meant = name.replace("_", "-")
            if meant in _SENSITIVE or meant.startswith(_SENSITIVE_PREFIXES):
                raise ProtocolError(f'a header name with "_" that stands for {meant[:64]}')


def _check_host(head: Head) -> None:
    """The target's form and the host. An absolute target's host replaces the header's (RFC 9112 section 3.2.2)."""
    hosts = head.values("host")
    if len(hosts) > 1 or (not hosts and not head.is_http10):
        raise ProtocolError(f"there must be one Host header, got {len(hosts)}")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise ProtocolError("malformed Host header")
    if head.target.startswith("/") or (head.target == "*" and head.method == "OPTIONS"):
        return
    absolute = _ABSOLUTE.match(head.target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        raise ProtocolError('the target must be a path, an http URL, or "*" with OPTIONS')
    head.headers = [("host", absolute[1]), *(header for header in head.headers if header[0] != "host")]


def headers_for_node(head: Head, is_trusted: bool) -> list[tuple[str, str]]:
    """The headers a node gets: without those of this hop, and without claims about the client by who is not trusted."""
    dropped = _NOT_FOR_NODES.union(head.tokens("connection"))
    if not is_trusted:
        dropped |= CLAIMS
    return [(name, value) for name, value in head.headers if name not in dropped and not name.startswith("proxy-")]
