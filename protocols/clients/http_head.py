"""The head of an HTTP/1.1 request: where it ends, what it says, and what a node gets to see of it.

One parser decides, and it is a grammar: a head is what _HEAD matches from its first byte to its last, all else is
refused. It is stricter than RFC 9112 asks of a recipient and than most parsers are, h11 and llhttp among them: no
bare LF, no folded line, no control character, no second opinion on a body's length. A proxy in front of us that sees
another request than we do is how requests are smuggled. The rest here reads what the grammar has passed, or says why
it did not. In the tests h11 is the oracle: what is taken here, it takes as the same request.

A header whose name has "_" where one that matters here has "-" (content_length) is refused: what turns headers
into variables of an environment can't tell the two apart. Other names with "_" pass.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.forwarded import CLAIM_PREFIXES, CLAIMS, is_claim
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

CHUNKED = -1  # in place of a body's length

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# After one empty line at most (RFC 9112 section 2.2).
_LINE = re.compile(rb"(?:\r\n)?+(%b) ([\x21-\x7e]++) HTTP/1\.([01])\r\n" % _TOKEN)
_FIELDS = re.compile(rb"(?:%b:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n" % _TOKEN)

# Only for a head that is not whole, or does not match.
_BEGINNING = re.compile(rb"(?:\r\n)?+%b" % _TOKEN)
_END = re.compile(rb"\n\r?\n")  # a bare LF ends it too, only to be refused at once and not when time is up
_REQUEST_LINE = re.compile(rb"(?:\r\n)?+%b [\x21-\x7e]++ HTTP/([0-9](?:\.[0-9])?)\r\n" % _TOKEN)
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")

_MAX_LENGTH_DIGITS = 18  # below 2**63, so that nobody's integer overflows

# RFC 3986 section 3.2.2, without sub-delimiters and user information: no name in use has them, attacks do.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)

# RFC 9110 section 7.6.1, and names that begin with "proxy-". All of them end with this hop.
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_DONE_HERE = frozenset({"content-encoding", "content-length", "expect"})  # bodies are passed on whole and decoded
_SHARED = frozenset({"host", "origin"})  # and names that begin with "sec-websocket-"
_ONCE = frozenset({"host", "content-length", "transfer-encoding"})
_SENSITIVE = _HOP_BY_HOP | _DONE_HERE | _SHARED | CLAIMS | {"authorization", "cookie"}
_SENSITIVE_PREFIXES = ("proxy-", "sec-", *CLAIM_PREFIXES)

# Whom a header concerns.
_US, _US_OR_WHOM_WE_TRUST, _BOTH, _NODE = range(4)


class Fields(Struct, gc=False):
    """What the headers say. Names are in lower case.

    lines: as they came, and the empty one. length: of the body, or CHUNKED. codings: its Content-Encoding. options:
    Connection's. named: the headers that mean something here, by name, the values of a repeated one joined by commas.
    headers: in order, those that a node gets: without what ends with this hop, and without claims about the client by
    who is not trusted. is_plain: no body, no coding, no upgrade, and nothing expected.
    """

    lines: bytes
    length: int
    codings: Sequence[str]
    options: Sequence[str]
    named: dict[str, str]
    headers: list[tuple[str, str]]
    is_plain: bool


class Head(Struct, gc=False):
    """A request's head. target: path and query, or "*". headers: those of its fields, but for the host when the target
    had one."""

    method: str
    target: str
    is_http10: bool
    fields: Fields
    headers: list[tuple[str, str]]

    def tokens(self, name: str) -> list[str]:
        """The elements of a header that is a list, in lower case."""
        value = self.fields.named.get(name)
        return [] if value is None else _elements(value)

    @property
    def keeps_alive(self) -> bool:
        options = self.fields.options
        return "close" not in options and (not self.is_http10 or "keep-alive" in options)

    @property
    def expects_continue(self) -> bool:
        """An HTTP/1.0 client that says so does not mean it (RFC 9110 section 10.1.1)."""
        return "100-continue" in self.tokens("expect") and self.fields.length != 0 and not self.is_http10


def has_begun(buffer: bytearray) -> bool:
    """Whether anything of a head has come; an empty line is nothing.

    Raises ProtocolError if what has come begins no request: TLS, for one, would else be waited for.
    """
    if _BEGINNING.match(buffer):
        return True
    if b"\r\n".startswith(buffer):
        return False
    raise ProtocolError("what came does not begin like a request line")


def take(buffer: bytearray, searched: int, limits: Limits, is_trusted: bool, former: Fields | None) -> Head | None:
    """Remove the head from the buffer's front, when all of it is there; else None.

    searched: length of the buffer last time. is_trusted: the peer may make claims about the client. former: of this
    connection's request before: most clients say the same in each, and then it need not be read again.
    Raises ProtocolError with the reason that fits, and for a head over a limit as soon as it is.
    """
    head = None if searched else _take(buffer, limits, is_trusted, former)  # most come in one piece, and are good
    if head is None and has_begun(buffer):
        start = 2 if buffer.startswith(b"\r\n") else 0
        found = _END.search(buffer, max(start, searched - 2))
        _check_size(buffer, start, found.end() if found else len(buffer), limits)
        if found:
            head = _take(buffer, limits, is_trusted, former)
            if head is None:
                raise _complaint(bytes(buffer[: found.end()]))
    return head


def forwarded_for(buffer: bytearray) -> str:
    """X-Forwarded-For in the head at the buffer's front, though that is refused. "" if it is not whole or well-formed.

    For the log, which is to name who was refused.
    """
    line = _LINE.match(buffer)
    match = _FIELDS.match(buffer, line.end()) if line is not None else None
    if match is None:
        return ""
    fields = [field.partition(":") for field in match[0].decode("latin-1").split("\r\n")]
    return ",".join(value for name, _, value in fields if name.lower() == "x-forwarded-for")


def _take(buffer: bytearray, limits: Limits, is_trusted: bool, former: Fields | None) -> Head | None:
    """By the grammar. None: the head is not whole, or it is not well-formed."""
    line = _LINE.match(buffer)
    if line is None:
        return None
    end = line.end()
    if former is not None and buffer.startswith(former.lines, end):
        fields = former
        end += len(fields.lines)
        if end > limits.max_header_bytes:
            _check_size(buffer, line.start(1), end, limits)
    else:
        match = _FIELDS.match(buffer, end)
        if match is None:
            return None
        end = match.end()
        _check_size(buffer, line.start(1), end, limits)
        fields = _read_fields(match[0], limits, is_trusted)
    method, target, minor = line.groups()
    if len(target) > limits.max_target_bytes:
        raise ProtocolError(
            f"the request target has {len(target)} bytes, limit {limits.max_target_bytes}", Reason.TARGET_TOO_LONG
        )
    if method == b"CONNECT":
        raise ProtocolError("CONNECT is for forward proxies", Reason.NOT_IMPLEMENTED)
    is_http10 = minor == b"0"
    if is_http10:
        if fields.length == CHUNKED:
            raise ProtocolError("Transfer-Encoding in HTTP/1.0")
    elif "host" not in fields.named:
        raise ProtocolError("there must be one Host header")
    path = target.decode("ascii")
    if target[:1] == b"/":
        headers = fields.headers.copy()
    else:
        path, headers = _split_target(method, path, fields.headers)
    del buffer[:end]
    return Head(method.decode("ascii"), path, is_http10, fields, headers)


def _check_size(buffer: bytearray, start: int, end: int, limits: Limits) -> None:
    """Of a head from start to end, or of so much as has come of it."""
    if end - start > limits.max_header_bytes:
        line_end = buffer.find(b"\n", start, start + limits.max_header_bytes)
        if line_end < 0:
            raise ProtocolError(
                f"the request line is over {limits.max_header_bytes} bytes, the limit", Reason.TARGET_TOO_LONG
            )
        raise ProtocolError(f"the head is over {limits.max_header_bytes} bytes, the limit", Reason.HEADERS_TOO_LARGE)


def _complaint(block: bytes) -> ProtocolError:
    """What is wrong with a head that the grammar does not pass."""
    line = _REQUEST_LINE.match(block)
    if line is None:
        return ProtocolError("malformed request line")
    if line[1] not in (b"1.1", b"1.0"):
        return ProtocolError("the version must be HTTP/1.1 or HTTP/1.0", Reason.VERSION_NOT_SUPPORTED)
    if _FORBIDDEN.search(block):
        return ProtocolError("a control character, a bare CR or a bare LF in the head")
    if b"\r\n " in block or b"\r\n\t" in block:
        return ProtocolError("a folded line in the head")
    return ProtocolError("malformed header")


def _read_fields(lines: bytes, limits: Limits, is_trusted: bool) -> Fields:
    count = lines.count(b"\n") - 1
    if count > limits.max_headers:
        raise ProtocolError(f"{count} headers, limit {limits.max_headers}", Reason.HEADERS_TOO_LARGE)
    least = _US_OR_WHOM_WE_TRUST if is_trusted else _BOTH
    named: dict[str, str] = {}
    headers: list[tuple[str, str]] = []
    for header, concerns in map(_read_field, lines.decode("latin-1").split("\r\n")[:-2]):
        if concerns >= least:
            headers.append(header)
        if concerns != _NODE:
            name, value = header
            if name in named:
                if name in _ONCE:
                    raise ProtocolError(f"more than one {name}")
                value = f"{named[name]}, {value}"
            named[name] = value
    length = _body_length(named, limits)
    codings = _elements(named["content-encoding"]) if "content-encoding" in named else ()
    options = _elements(named["connection"]) if "connection" in named else ()
    if options and options != ["keep-alive"]:  # what many clients always say, and it names no header
        # But not what a proxy in front claims, in the name of which a client could have it removed.
        headers = [header for header in headers if header[0] not in options or is_claim(header[0])]
    is_plain = not (length or codings or "upgrade" in named or "expect" in named)
    return Fields(lines, length, codings, options, named, headers, is_plain)


# The same lines come again and again: 0.1 us instead of 0.6. At worst, if somebody fills it on purpose, 512 lines as
# long as a head may be: 8 MiB.
@lru_cache(maxsize=512)
def _read_field(line: str) -> tuple[tuple[str, str], int]:
    """A header, its name in lower case, and whom it concerns. Raises ProtocolError for one that can't be meant."""
    name, _, value = line.partition(":")
    name, value = name.lower(), value.strip(" \t")
    if "_" in name:
        meant = name.replace("_", "-")
        if meant in _SENSITIVE or meant.startswith(_SENSITIVE_PREFIXES):
            raise ProtocolError(f'a header name with "_" that stands for {meant[:64]}')
    if name == "host" and value and not _HOST.fullmatch(value):  # empty: of a target without one (RFC 9112 section 3.2)
        raise ProtocolError("malformed Host header")
    if name in _HOP_BY_HOP or name in _DONE_HERE or name.startswith("proxy-"):
        concerns = _US
    elif is_claim(name):
        concerns = _US_OR_WHOM_WE_TRUST
    elif name in _SHARED or name.startswith("sec-websocket-"):
        concerns = _BOTH
    else:
        concerns = _NODE
    return (name, value), concerns


def _elements(value: str) -> list[str]:
    return [element for part in value.lower().split(",") if (element := part.strip(" \t"))]


def _body_length(named: Mapping[str, str], limits: Limits) -> int:
    """RFC 9112 section 6.3, with an error wherever it leaves a choice."""
    length = named.get("content-length")
    if "transfer-encoding" in named:
        if length is not None:
            raise ProtocolError("Content-Length and Transfer-Encoding")
        if named["transfer-encoding"].lower() != "chunked":
            raise ProtocolError("the transfer encoding must be chunked and nothing else", Reason.NOT_IMPLEMENTED)
        return CHUNKED
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit()):
        raise ProtocolError("Content-Length must be a number, digits only")
    if len(length) <= _MAX_LENGTH_DIGITS and (size := int(length)) <= limits.max_body_bytes:
        return size
    raise ProtocolError(f"the body is over {limits.max_body_bytes} bytes, the limit", Reason.MESSAGE_TOO_LARGE)


def _split_target(method: bytes, target: str, headers: list[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    """Of a target that is no path: its path and query, and the headers. The host of an absolute one replaces the
    header's (RFC 9112 section 3.2.2), and what is left is what a proxy passes on (sections 3.2.1 and 3.2.4)."""
    is_options = method == b"OPTIONS"
    if target == "*" and is_options:
        return target, headers.copy()
    absolute = _ABSOLUTE.match(target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        raise ProtocolError('the target must be a path, an http URL, or "*" with OPTIONS')
    path = target[absolute.end() :]
    if path[:1] != "/":
        path = f"/{path}" if path or not is_options else "*"
    return path, [("host", absolute[1]), *[header for header in headers if header[0] != "host"]]
