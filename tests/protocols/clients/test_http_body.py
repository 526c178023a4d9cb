"""Chunked bodies: the budgets, and what is left in the buffer. test_http_smuggling has what is malformed."""

import pytest

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.http_body import ChunkedBody
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ProtocolError

LIMITS = Limits(max_body_bytes=100, max_header_bytes=400)


def take(data):
    buffer = bytearray(data)
    return ChunkedBody(LIMITS).take(buffer), bytes(buffer)


def test_takes_its_own_bytes_and_no_more():
    assert take(b"3\r\nabc\r\n0\r\n\r\nGET /") == (b"abc", b"GET /")


def test_takes_a_chunk_s_bytes_as_they_come():
    buffer = bytearray()
    body = ChunkedBody(LIMITS)
    for piece in (b"5\r\nhe", b"ll", b"o\r"):
        buffer += piece
        assert body.take(buffer) is None
    assert buffer == b"\r"
    buffer += b"\n0\r\n\r\n"
    assert body.take(buffer) == b"hello"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"65\r\n", Reason.MESSAGE_TOO_LARGE),
        (b"64\r\n" + b"x" * 100 + b"\r\n1\r\n", Reason.MESSAGE_TOO_LARGE),
        (b"1;%b\r\nx\r\n1;%b\r\n" % (b"e" * 200, b"e" * 200), Reason.PROTOCOL_ERROR),
        (b"0\r\nX: %b\r\nX: %b\r\n" % (b"t" * 200, b"t" * 200), Reason.HEADERS_TOO_LARGE),
        (b"0\r\nX: " + b"t" * 400, Reason.HEADERS_TOO_LARGE),
        (b"1;%b\r\nx\r\n0\r\nX: %b" % (b"e" * 200, b"t" * 200), Reason.HEADERS_TOO_LARGE),
    ],
)
def test_refused_once_it_is_over_a_limit(data, reason):
    for step in (1, len(data)):
        body, buffer = ChunkedBody(LIMITS), bytearray()
        with pytest.raises(ProtocolError) as caught:  # noqa: PT012 - at which byte is not the point
            for at in range(0, len(data), step):
                buffer += data[at : at + step]
                body.take(buffer)
        assert caught.value.reason is reason


def test_exactly_the_limits():
    extension, trailer = b";" + b"e" * 99, b"X: " + b"t" * 295 + b"\r\n"
    data = b"64" + extension + b"\r\n" + b"x" * 100 + b"\r\n0\r\n" + trailer + b"\r\n"
    assert len(extension) + len(trailer) == 400
    assert take(data) == (b"x" * 100, b"")
