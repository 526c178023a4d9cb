"""HTTP/1.1 by Hypothesis: what holds for all requests, all replies, all garbage, and all ways to cut them."""

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.protocols.clients.base import Limits, ReplyHead
from holdfast.protocols.clients.events import Finished, HttpRequest, Output
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError

PEER = "192.0.2.1:5000"
LIMITS = Limits(max_header_bytes=400, max_headers=8, max_target_bytes=60, max_body_bytes=300)
TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789-!#$%&'*+.^`|~", min_size=1, max_size=8)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=10).filter(
    lambda value: not any(0x7F <= ord(c) < 0xA0 for c in value)
)


@st.composite
def requests(draw):
    """A request as the event that it must give, and as bytes."""
    method = draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "x"]))
    target = "/" + draw(st.text("abc/?=&%25.", max_size=20))
    headers = [
        ("host", "x"),
        *(("x-" + name, value) for name, value in draw(st.lists(st.tuples(TOKEN, VALUE), max_size=4))),
    ]
    headers = [header for header in headers if not header[0].startswith("x-forwarded")]
    chunks = draw(st.none() | st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    body = draw(st.binary(max_size=50)) if chunks is None else b"".join(chunks)
    lines = [f"{method} {target} HTTP/1.1", *(f"{name.title()}: {value}" for name, value in headers)]
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        ext = draw(st.sampled_from([b"", b";a", b" ;a=b"]))
        wire = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), ext, chunk) for chunk in chunks) + b"0\r\n\r\n"
    else:
        wire = body
        if body or draw(st.booleans()):
            lines.append(f"Content-Length: {len(body)}")
    return HttpRequest(method, target, headers, body, PEER), "\r\n".join((*lines, "", "")).encode("latin-1") + wire


def cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=12)


def drive(pieces, limits=LIMITS):
    """Every event of a connection, Outputs joined; each request is answered as soon as it comes."""
    adapter = HttpProtocol(limits, PEER, 0.0)
    told = []
    for piece in (*pieces, b""):
        events = list(adapter.receive_data(piece, 1.0))
        while adapter.has_more:
            events += adapter.resume(1.0)
        while events:
            for event in events:
                if isinstance(event, Output) and told and isinstance(told[-1], bytes):
                    told[-1] += event.data
                else:
                    told.append(event.data if isinstance(event, Output) else event)
            if not adapter.paused:
                break
            assert isinstance(adapter.reply(events[-1], None, b"x", True, False), bytes)
            events = list(adapter.resume(1.0))
            while adapter.has_more:
                events += adapter.resume(1.0)
    return told


@given(st.lists(requests(), max_size=4), CUTS)
@settings(max_examples=150, deadline=None)
def test_pipelined_requests_are_what_was_sent_however_cut(sent, places):
    expected = [event for event, _ in sent]
    told = drive(cut(b"".join(data for _, data in sent), places))
    assert told == [*expected, Finished(Reason.CLIENT_LEFT)]


LINES = st.sampled_from([b"GET / HTTP/1.1", b"POST /a HTTP/1.1", b"GET http://x/ HTTP/1.0", b"PRI * HTTP/2.0"])
FIELDS = st.sampled_from(
    [
        b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Expect: 100-continue",
        b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Content-Encoding: gzip", b"Content-Encoding: deflate",
        b"X_Forwarded_For: 1", b"Host: y", b"X: " + b"a" * 200, b"X: y\r\n y", b"X: y\ny", b"X : y",
    ]
)  # fmt: skip
BODIES = st.sampled_from(
    [
        b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\n\n", b"ffff\r\n",
        b"\r\n", b"\n", b"\r", b"\x00", b"a" * 61, b"b" * 401, b"x\x9cK\x04\x00\x00b\x00b",
    ]
)  # fmt: skip


def head(line, fields):
    return b"\r\n".join((line, b"Host: x", *fields, b"", b""))


HEADS = st.builds(head, LINES, st.lists(FIELDS, max_size=5, unique=True))
UPGRADE = [b"Upgrade: websocket", b"Connection: upgrade", b"Sec-WebSocket-Version: 13"]
UPGRADE.append(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
PARTS = HEADS | BODIES | st.just(head(b"GET / HTTP/1.1", UPGRADE)) | st.binary(max_size=6)
GARBAGE = st.lists(PARTS, max_size=8).map(b"".join)


@given(GARBAGE, CUTS)
@settings(max_examples=400, deadline=None)
@example(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"\r\n\r\n", [27, 29, 55])
@example(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET", [60, 61, 62])
def test_garbage_ends_once_and_the_same_however_cut(data, places):
    told = drive([data])
    switched = any(not isinstance(event, bytes | HttpRequest | Finished) for event in told)
    ends = [event for event in told if isinstance(event, Finished)]
    assert len(ends) == (0 if switched else 1)
    assert switched or told[-1] is ends[0]
    again = drive(cut(data, places))
    if switched:  # what came behind the handshake is in the Switch, or still in the socket
        again, told = again[:-1], told[:-1]
    assert again == told


@given(st.lists(st.binary(max_size=30), max_size=6), st.binary(max_size=20), CUTS)
@settings(max_examples=100, deadline=None)
def test_h11_and_the_adapter_agree_on_chunked_bodies(parts, following, places):
    client = h11.Connection(h11.CLIENT)
    headers = [("Host", "x"), ("Transfer-Encoding", "chunked")]
    wire = client.send(h11.Request(method="PUT", target="/", headers=headers))
    for part in parts:
        wire += client.send(h11.Data(part))
    wire += client.send(h11.EndOfMessage(headers=[("X-Sum", "1")]))
    told = drive(cut(wire, places))
    assert told == [HttpRequest("PUT", "/", [("host", "x")], b"".join(parts), PEER), Finished(Reason.CLIENT_LEFT)]


HEADERS = st.lists(st.tuples(TOKEN, VALUE) | st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=4)
SAID_HERE = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "server"}


@given(
    st.sampled_from(["GET", "HEAD"]),
    st.booleans(),
    st.integers(150, 650),
    HEADERS,
    st.lists(st.binary(max_size=20), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_a_reply_is_read_as_it_was_meant_or_is_refused_whole(method, is_http10, status, headers, parts):
    adapter = HttpProtocol(LIMITS, PEER, 0.0)
    version = "1.0" if is_http10 else "1.1"
    (request,) = adapter.receive_data(f"{method} / HTTP/{version}\r\nHost: x\r\n\r\n".encode(), 0.0)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    said = b""
    try:
        for number, part in enumerate(parts, 1):
            said += adapter.reply(request, ReplyHead(status, headers), part, False, number < len(parts))
            if adapter.all_said:
                assert number == len(parts) or method == "HEAD" or status in (204, 205, 304)
                break
    except HoldfastError as error:
        assert said == b""
        status, headers = error.reason.http, []
        said = adapter.error(request, error)
        parts = None
    client.receive_data(said)
    if is_http10:
        client.receive_data(b"")
    response = client.next_event()
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert response.status_code == status
    got = [(name.decode(), value.decode("latin-1")) for name, value in response.headers.raw_items()]
    for name, value in headers:
        if name.lower() not in SAID_HERE and not name.lower().startswith("proxy-"):
            assert (name, value.strip(" \t")) in got
    if method == "HEAD" or status in (204, 205, 304):
        assert body == b""
    elif parts is not None:
        assert body == b"".join(parts)
