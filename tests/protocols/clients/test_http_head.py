"""The grammar of heads, with h11 as the oracle: what is taken here, h11 takes too, and as the same request."""

import re

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.protocols.clients import http_head
from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.http_head import CHUNKED
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

LIMITS = Limits()
GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def take(data, limits=LIMITS, is_trusted=True, former=None):
    """The head of `data`, and what it leaves."""
    buffer = bytearray(data)
    return http_head.take(buffer, 0, limits, is_trusted, former), bytes(buffer)


def as_h11_reads_it(block):
    """method, target, whether it is HTTP/1.0, headers, and the length of the body; None: refused."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(block)
    try:
        request = connection.next_event()
        body = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    assert isinstance(request, h11.Request)
    headers = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
    length = 0
    if body is h11.NEED_DATA:  # it waits for more, so there is a body
        stated = dict(headers).get("content-length")
        length = CHUNKED if stated is None else int(stated)
    return request.method.decode(), request.target.decode(), request.http_version == b"1.0", headers, length


# Bytes that mean something to one parser or another, between bytes that don't.
BYTES = b'\r\n\t \x00\x0b\x0c\x1c\x7f\x80\x85\xa0\xff:;,_-"()[]{}@/\\0aZ*%'.decode("latin-1")
BYTE = st.sampled_from(BYTES)
NAMES = [
    "Host", "host", "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Expect", "Upgrade", "X-A",
    "x_a", "Content_Length", "Cookie", "Proxy-Connection", "X-Forwarded-For", "Sec-WebSocket-Key", "Origin",
]  # fmt: skip
VALUES = [
    "x",
    "",
    "5",
    "05",
    "5, 5",
    "+5",
    "chunked",
    "CHUNKED",
    "gzip, chunked",
    "close",
    "x-a",
    "[::1]:80",
    "a b",
    "\xe9",
]
LINE = st.builds(
    "{}{} {}{} {}".format,
    st.sampled_from(["", "", "", "\r\n"]),
    st.sampled_from(["GET", "POST", "x!", "OPTIONS", "CONNECT"]),
    st.sampled_from(["/", "/a?b=%20", "*", "http://x:80/a", "http://", "a"]),
    st.just("") | BYTE,
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 "]),
)
FIELD = st.builds(
    "{}{}{}".format,
    st.sampled_from(NAMES),
    st.sampled_from([":", ": ", ":\t ", " :"]),
    st.sampled_from(VALUES) | st.text(BYTES + "abc", max_size=3),
)
HEAD = st.builds(
    lambda line, fields: "\r\n".join((line, "Host: x", *fields, "", "")), LINE, st.lists(FIELD, max_size=3)
)


@st.composite
def damaged(draw):
    """A head, now and then with a byte put in, taken out or replaced."""
    data = draw(HEAD)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(BYTE | st.just("")) + data[at + draw(st.integers(0, 1)) :]
    return data.encode("latin-1")


@given(damaged())
@settings(max_examples=1500, deadline=None)
@example(b"GET / HTTP/1.0\r\n\r\n")
@example(b"GET / HTTP/1.1\r\n\r\n")
@example(b"\r\nPOST /a HTTP/1.0\r\nContent-Length: 5\r\nX: \t\xe9 \t\r\n\r\n")
@example(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: x-a\r\nx-a: 1\r\n\r\n")
def test_what_is_taken_h11_reads_as_the_same_request(data):
    try:
        head, rest = take(data)
    except ProtocolError:
        return
    if head is None:
        return
    block = data[: len(data) - len(rest)].removeprefix(b"\r\n")
    read = as_h11_reads_it(block)
    assert read is not None
    method, target, is_http10, headers, length = read
    assert (head.method, head.is_http10, head.fields.length) == (method, is_http10, length)
    for name, value in head.fields.named.items():
        if name == "transfer-encoding":  # which h11 has put in lower case
            value = value.lower()
        assert value == ", ".join(found for other, found in headers if other == name)
    if "://" in target and not target.startswith("/"):
        host = re.split("[/?#]", target)[2]
        target = target.partition("://")[2].removeprefix(host)
        if not target.startswith("/"):
            target = f"/{target}" if target or method != "OPTIONS" else "*"
        headers = [("host", host), *(header for header in headers if header[0] != "host")]
    assert head.target == target
    dropped = {"connection", "content-length", "expect", "transfer-encoding", "upgrade", *head.fields.options}
    assert head.headers == [
        header for header in headers if header[0] not in dropped and not header[0].startswith("proxy-")
    ]


@given(
    st.sampled_from(["GET / HTTP/1.1", "GET / HTTP/1.0"]),
    LINE,
    st.lists(FIELD, max_size=3),
    st.sampled_from(["", "", "X: 1\r\n"]),
    st.sampled_from([20, 50, 1000]),
)
@settings(max_examples=400, deadline=None)
def test_a_former_head_changes_nothing(first_line, line, fields, more, limit):
    """Whether the headers are those of the request before, begin like them, or differ."""
    lines = "\r\n".join(["Host: x", *fields, ""])
    limits = Limits(max_header_bytes=limit, max_target_bytes=13)
    try:
        former = take(f"{first_line}\r\n{lines}\r\n".encode("latin-1"))[0]
    except ProtocolError:
        former = None
    data = f"{line}\r\n{lines}{more}\r\nGET /".encode("latin-1")
    assert outcome(data, limits, former and former.fields) == outcome(data, limits, None)


def outcome(data, limits, former):
    try:
        return take(data, limits, former=former)
    except ProtocolError as error:
        return str(error), error.reason


@given(damaged(), st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_what_is_there_and_what_is_not_yet(data, missing):
    """Nothing is removed before the head is whole; then it, and no more."""
    part = data[: len(data) - missing]
    try:
        head, rest = take(part)
    except ProtocolError:
        return
    if head is None:
        assert rest == part
        assert b"\n\r\n" not in part.removeprefix(b"\r\n")
    else:
        assert part.endswith(rest)
        assert part[: len(part) - len(rest)].endswith(b"\r\n\r\n")


def test_a_repeated_header_is_one_list():
    head, _ = take(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: a, B\r\nConnection: ,c\r\nX: 1\r\nX: 2\r\n\r\n")
    assert head.fields.options == ["a", "b", "c"]
    assert head.headers == [("host", "x"), ("x", "1"), ("x", "2")]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "forwarded", "X-Real-IP"])
def test_claims_are_passed_on_by_who_is_trusted(name):
    data = GOOD[:-2] + f"{name}: 192.0.2.1\r\n\r\n".encode()
    assert len(take(data, is_trusted=True)[0].headers) == 2
    assert len(take(data, is_trusted=False)[0].headers) == 1
    assert take(data, is_trusted=False)[0].fields.named[name.lower()] == "192.0.2.1"


def test_it_is_not_searched_twice():
    """A head that comes byte by byte must not cost the square of its length: only what is new is looked at."""
    padding = b"X: " + b"y" * 10_000
    data = GOOD[:-2] + padding + b"\r\n\r\n"
    assert take(data[:-4])[0] is None
    for searched in range(len(data) - 4, len(data)):
        assert http_head.take(bytearray(data), searched, LIMITS, False, None) is not None
    assert http_head.take(bytearray(data), len(data), LIMITS, False, None) is None  # its end lies before what is new


@pytest.mark.parametrize(
    ("size", "reason"), [(59, None), (60, Reason.HEADERS_TOO_LARGE), (5000, Reason.HEADERS_TOO_LARGE)]
)
def test_limit_of_a_head_that_comes_at_once(size, reason):
    data = GOOD[:-2] + b"X: "
    data += b"y" * (size - len(data) - 4) + b"\r\n\r\n"
    limits = Limits(max_header_bytes=59)
    for empty_line in (b"", b"\r\n"):
        if reason is None:
            assert take(empty_line + data, limits)[0] is not None
        else:
            with pytest.raises(ProtocolError) as caught:
                take(empty_line + data, limits)
            assert caught.value.reason is reason
