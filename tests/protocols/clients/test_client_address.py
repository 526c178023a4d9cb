"""Behind a balancer the log names the client that asked: of each request anew, also of one that is refused."""

import pytest

from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.events import Finished, HttpRequest
from holdfast.protocols.clients.http import HttpProtocol

PEER = "10.0.0.1:5000"
LIMITS = Limits(trusted_peers=("10.0.0.0/8",), origins=("https://ok.test",), max_body_bytes=1000, max_headers=20)
CLIENT, ANOTHER = "203.0.113.9", "203.0.113.1"
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


def connect(limits=LIMITS, peer=PEER):
    return HttpProtocol(limits, peer, 0.0)


def head(rest="", client=CLIENT, method="POST"):
    return f"{method} / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n{rest}\r\n".encode()


REFUSED = {
    "a foreign origin": head(UPGRADE + "Sec-WebSocket-Version: 13\r\nOrigin: https://evil.test\r\n", method="GET"),
    "another version": head(UPGRADE + "Sec-WebSocket-Version: 12\r\nOrigin: https://ok.test\r\n", method="GET"),
    "a coding": head("Content-Encoding: zz\r\nContent-Length: 3\r\n") + b"abc",
    "chunks that are too large": head(CHUNKED) + b"7d0\r\n" + b"x" * 2000,
    "a length that is too large": head("Content-Length: 2000\r\n"),
    "a bad chunk": head(CHUNKED) + b"zz\r\n",
    "two lengths": head("Content-Length: 3\r\nContent-Length: 4\r\n") + b"abc",
    "many headers": head("X: y\r\n" * 30),
}


def ended(events):
    return any(isinstance(event, Finished) for event in events)


def is_answered(adapter, client):
    [request] = adapter.receive_data(head("Content-Length: 2\r\n", client) + b"hi", 1.0)
    assert isinstance(request, HttpRequest)
    assert request.address == adapter.client_address == client
    adapter.reply(request, None, b"", True, False)
    adapter.resume(1.0)


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_who_is_refused(data):
    adapter = connect()
    assert ended(adapter.receive_data(data, 1.0))
    assert adapter.client_address == CLIENT
    adapter = connect()
    is_answered(adapter, ANOTHER)
    assert ended(adapter.receive_data(data, 1.0))
    assert adapter.client_address == CLIENT
    adapter = connect(peer="192.0.2.1:5000")  # who is not trusted is believed nothing
    assert ended(adapter.receive_data(data, 1.0))
    assert adapter.client_address == "192.0.2.1:5000"


def test_who_is_too_slow_with_a_body():
    adapter = connect()
    is_answered(adapter, ANOTHER)
    assert not adapter.receive_data(head("Content-Length: 3\r\n") + b"a", 1.0)
    assert ended(adapter.on_deadline(adapter.deadline))
    assert adapter.client_address == CLIENT


@pytest.mark.parametrize("data", [head()[:-2] + b"a\x00b: c\r\n\r\n", head()[:30]])
def test_who_can_t_be_known_is_the_peer_and_not_the_one_before(data):
    adapter = connect()
    is_answered(adapter, ANOTHER)
    assert ended(adapter.receive_data(data, 1.0) or adapter.on_deadline(adapter.deadline))
    assert adapter.client_address == PEER
