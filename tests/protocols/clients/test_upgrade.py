"""The WebSocket handshake: RFC 6455 section 4.2, origins, subprotocols, permessage-deflate, and what follows."""

from base64 import b64encode

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from wsproto.extensions import PerMessageDeflate

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.events import Finished, Message, Opened, Output, Switch
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.clients.http_doors import http_port
from holdfast.protocols.clients.http_reply import error_bytes
from holdfast.protocols.clients.upgrade import is_origin_allowed
from holdfast.protocols.clients.websocket import WebSocketProtocol
from holdfast.protocols.close import Reason

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the RFC's own example
GOOD = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def handshake(changes=(), *, line="GET /chat?a=1 HTTP/1.1", more=()):
    headers = [*(GOOD | dict(changes)).items(), *more]
    lines = [line, *(f"{name}: {value}" for name, value in headers if value is not None)]
    return "\r\n".join((*lines, "", "")).encode()


def receive(data, limits=None, address="192.0.2.1:5000"):
    limits = limits or Limits()
    return list(http_port(limits)(limits, address, 0.0).receive_data(data, 1.0))


def test_handshake_of_the_rfc():
    opened, output, switch = receive(handshake())
    assert output == Output(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    assert opened == Opened("websocket", "/chat", [("host", "x")], "192.0.2.1:5000", "a=1", error_bytes)
    assert isinstance(switch, Switch)
    assert isinstance(switch.protocol, WebSocketProtocol)
    assert switch.data == b""


def test_after_the_switch_the_http_side_says_nothing():
    adapter = HttpProtocol(Limits(), "192.0.2.1:5000", 0.0)
    adapter.receive_data(handshake(), 1.0)
    assert [adapter.receive_data(b"x", 2.0), adapter.receive_data(b"", 2.0), adapter.on_deadline(1e9)] == [[], [], []]
    assert adapter.close(Reason.KICKED, "", 2.0) == b""


@pytest.mark.parametrize("compression", [False, True])
def test_an_independent_client_talks_through_it(compression):
    client = WSConnection(ConnectionType.CLIENT)
    extensions = [PerMessageDeflate()] if compression else []
    request = ws.Request(host="x", target="/", subprotocols=["b", "a"], extensions=extensions)
    data = client.send(request)
    limits = Limits(compression=True, subprotocols=("a",))
    opened, output, switch = receive(data, limits)
    assert opened.headers[-1] == ("sec-websocket-protocol", "b, a")
    client.receive_data(output.data)
    (accepted,) = client.events()
    assert isinstance(accepted, ws.AcceptConnection)
    assert accepted.subprotocol == "a"
    assert [type(extension) for extension in accepted.extensions] == [PerMessageDeflate] * compression
    (message,) = switch.protocol.receive_data(client.send(ws.TextMessage(data="hello" * 100)), 2.0)
    assert message == Message(b"hello" * 100, True)
    client.receive_data(switch.protocol.reply(message, None, b"world" * 100, True, False))
    assert "".join(event.data for event in client.events()) == "world" * 100


def test_what_came_behind_the_handshake_goes_with_the_switch():
    frame = b"\x81\x82\x00\x00\x00\x00hi"
    *_, switch = receive(handshake() + frame)
    assert switch.data == frame
    assert list(switch.protocol.receive_data(switch.data, 1.0)) == [Message(b"hi", True)]


def test_handshake_behind_a_request():
    adapter = HttpProtocol(Limits(), "192.0.2.1:5000", 0.0)
    (request,) = adapter.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + handshake() + b"\x81", 1.0)
    adapter.reply(request, None, b"", True, False)
    *_, switch = adapter.resume(2.0)
    assert switch.data == b"\x81"


def test_headers_of_the_session():
    more = [("Cookie", "a=1"), ("Authorization", "b"), ("Origin", "http://x"), ("Sec-WebSocket-Extensions", "y")]
    opened, *_ = receive(handshake(more=[*more, ("X-Forwarded-For", "203.0.113.9"), ("X-A", "1")]))
    assert opened.headers == [
        ("host", "x"),
        ("cookie", "a=1"),
        ("authorization", "b"),
        ("origin", "http://x"),
        ("x-a", "1"),
    ]
    assert opened.address == "192.0.2.1:5000"


def test_address_from_a_trusted_peer():
    more = [("X-Forwarded-For", "203.0.113.9")]
    opened, *_ = receive(handshake(more=more), Limits(trusted_peers=("192.0.2.1",)))
    assert opened.address == "203.0.113.9"
    assert opened.headers == [("host", "x"), ("x-forwarded-for", "203.0.113.9")]


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, websocket"},
        {"Connection": "keep-alive, UPGRADE"},
        {"Content-Length": "0"},
        {"Sec-WebSocket-Extensions": "x; y=\"z\", ;"},
    ],
)  # fmt: skip
def test_other_spellings_of_a_good_handshake(changes):
    assert isinstance(receive(handshake(changes))[-1], Switch)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (handshake(line="POST / HTTP/1.1"), 400),
        (handshake(line="GET / HTTP/1.0"), 400),
        (handshake({"Host": None}), 400),
        (handshake({"Connection": None}), 400),
        (handshake({"Connection": "keep-alive"}), 400),
        (handshake({"Content-Length": "5"}), 400),
        (handshake({"Transfer-Encoding": "chunked"}), 400),
        (handshake({"Sec-WebSocket-Key": None}), 400),
        (handshake({"Sec-WebSocket-Key": ""}), 400),
        (handshake({"Sec-WebSocket-Key": b64encode(bytes(15)).decode()}), 400),
        (handshake({"Sec-WebSocket-Key": b64encode(bytes(17)).decode()}), 400),
        (handshake({"Sec-WebSocket-Key": KEY[:-2]}), 400),
        (handshake({"Sec-WebSocket-Key": KEY[:5] + " " + KEY[6:]}), 400),
        (handshake({"Sec-WebSocket-Key": KEY[:5] + "\xe9" + KEY[6:]}), 400),
        (handshake(more=[("Sec-WebSocket-Key", KEY)]), 400),
        (handshake({"Sec-WebSocket-Protocol": "a, a"}), 400),
        (handshake({"Sec-WebSocket-Protocol": "a b"}), 400),
        (handshake({"Sec-WebSocket-Version": None}), 426),
        (handshake({"Sec-WebSocket-Version": "8"}), 426),
        (handshake({"Sec-WebSocket-Version": "13, 8"}), 426),
        (handshake(more=[("Sec-WebSocket-Version", "8")]), 426),
    ],
)
def test_bad_handshake(data, status):
    output, finished = receive(data + b"\x81\x82\x00\x00\x00\x00hi")
    assert output.data.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in output.data
    assert isinstance(finished, Finished)
    assert finished.reason.http == status
    assert (b"\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" in output.data) == (status == 426)


def test_upgrade_to_something_else_is_an_ordinary_request():
    (request,) = receive(handshake({"Upgrade": "h2c"}))
    assert request.target == "/chat?a=1"


def test_no_session_begins_while_draining():
    adapter = HttpProtocol(Limits(), "192.0.2.1:5000", 0.0)
    data = handshake()
    adapter.receive_data(data[:20], 1.0)
    assert adapter.close(Reason.DRAINING, "going", 2.0) == b""
    output, finished = adapter.receive_data(data[20:], 3.0)
    assert output.data.startswith(b"HTTP/1.1 503 ")
    assert finished == Finished(Reason.DRAINING, "going")


@pytest.mark.parametrize(
    ("offered", "preferred", "chosen"),
    [
        (None, (), None),
        (None, ("a",), None),
        ("b, a", (), "b"),
        ("b, a", ("a", "b"), "a"),
        ("b, a", ("c", "b"), "b"),
        ("b, a", ("c",), None),
        ("B", ("b",), None),
        ("a,", (), "a"),
        (", b,, a", ("a",), "a"),
        ("", (), None),
    ],
)
def test_subprotocol(offered, preferred, chosen):
    _, output, _ = receive(handshake({"Sec-WebSocket-Protocol": offered}), Limits(subprotocols=preferred))
    lines = [line for line in output.data.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Protocol")]
    assert lines == ([] if chosen is None else [b"Sec-WebSocket-Protocol: " + chosen.encode()])


@pytest.mark.parametrize(("compression", "is_agreed"), [(False, False), (True, True)])
def test_compression_is_agreed_on_only_if_configured(compression, is_agreed):
    more = [("Sec-WebSocket-Extensions", "x"), ("Sec-WebSocket-Extensions", "permessage-deflate")]
    _, output, switch = receive(handshake(more=more), Limits(compression=compression))
    assert (b"Sec-WebSocket-Extensions: permessage-deflate" in output.data) == is_agreed
    assert (switch.protocol.wire_format == receive(handshake())[-1].protocol.wire_format) != is_agreed


ORIGINS = ("https://example.org", "http://Localhost:8080", "https://*.example.org", "null")


@pytest.mark.parametrize(
    ("origin", "allowed", "is_allowed"),
    [
        (None, ("*",), True),
        ("https://evil.example", ("*",), True),
        (None, ORIGINS, False),
        (None, ("none", *ORIGINS), True),
        ("none", ("none",), False),
        ("https://example.org", ORIGINS, True),
        ("https://EXAMPLE.org", ORIGINS, True),
        ("http://localhost:8080", ORIGINS, True),
        ("null", ORIGINS, True),
        ("http://example.org", ORIGINS, False),
        ("https://example.org:444", ORIGINS, False),
        ("https://example.org.evil.example", ORIGINS, False),
        ("https://a.example.org", ORIGINS, True),
        ("https://a.b.Example.org", ORIGINS, True),
        ("https://.example.org", ORIGINS, False),
        ("https://evil.example/.example.org", ORIGINS, False),
        ("https://evil.example#.example.org", ORIGINS, False),
        ("https://evilexample.org", ORIGINS, False),
        ("http://evil.example.org", ORIGINS, False),
        ("https://a.example.org:444", ORIGINS, False),
        ("", ORIGINS, False),
        ("https://x", (), False),
    ],
)
def test_origins(origin, allowed, is_allowed):
    assert is_origin_allowed(origin, allowed) == is_allowed
    events = receive(handshake({"Origin": origin}), Limits(origins=allowed))
    assert isinstance(events[-1], Switch) == is_allowed
    if not is_allowed:
        assert events[0].data.startswith(b"HTTP/1.1 403 ")
        assert events[-1].reason is Reason.ORIGIN_REFUSED


def test_two_origins_are_none():
    events = receive(handshake(more=[("Origin", "https://a"), ("Origin", "https://a")]), Limits(origins=("https://a",)))
    assert events[-1].reason is Reason.ORIGIN_REFUSED
