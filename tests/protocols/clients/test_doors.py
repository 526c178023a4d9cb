"""Paths of the HTTP port at which another protocol is spoken within WebSocket."""

import pytest

from holdfast.protocols.clients import doors
from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.centrifuge.protocol import CentrifugeProtocol
from holdfast.protocols.clients.events import Finished, Opened, Output, Switch
from holdfast.protocols.clients.sse.door import SseDoor
from holdfast.protocols.clients.websocket import WebSocketProtocol
from holdfast.protocols.clients.within import Handshake, WithinWebSocket
from holdfast.protocols.close import Reason
from tests.protocols.clients.test_upgrade import handshake, receive
from tests.protocols.clients.test_websocket import frame

LIMITS = Limits(doors=("centrifuge:/connection/websocket", "centrifuge:/c"), subprotocols=("chat",))
OFFERED = {"Sec-WebSocket-Protocol": "chat, centrifuge-json"}


class Shouts(CentrifugeProtocol):
    """A third party's: it says who has knocked, and how."""

    name = "shouts"
    subprotocols = ()

    def __init__(self, limits: Limits, shake: Handshake, now: float) -> None:
        super().__init__(limits, shake, now)
        self.shake = shake

    def receive_message(self, payload, is_text, now, share):
        return [Output(f"{self.shake.path}?{self.shake.query} {payload.decode().upper()}".encode())]


def test_at_a_door_another_protocol_is_spoken_and_everywhere_else_plain_websocket():
    for path in ("/connection/websocket?a=1", "/c"):
        output, switch = receive(handshake(line=f"GET {path} HTTP/1.1"), LIMITS)
        assert output.data.startswith(b"HTTP/1.1 101 ")
        assert isinstance(switch, Switch)
        assert isinstance(switch.protocol, WithinWebSocket)
        assert switch.protocol.name == "centrifuge"
    for path in ("/", "/c/", "/C", "/connection", "/connection/websocket/x", "//c"):
        opened, _, switch = receive(handshake(line=f"GET {path} HTTP/1.1"), LIMITS)
        assert isinstance(opened, Opened)
        assert isinstance(switch.protocol, WebSocketProtocol)


def test_each_door_has_subprotocols_of_its_own():
    def agreed(path):
        events = receive(handshake(OFFERED, line=f"GET {path} HTTP/1.1"), LIMITS)
        [answer] = [event.data.decode() for event in events if isinstance(event, Output)]
        return answer.partition("Sec-WebSocket-Protocol: ")[2].split("\r\n")[0]

    assert [agreed("/c"), agreed("/")] == ["centrifuge-json", "chat"]


def test_a_handshake_that_breaks_a_rule_is_refused_there_too():
    limits = Limits(doors=LIMITS.doors, origins=("https://example.org",))
    output, finished = receive(handshake({"Origin": "https://evil.example"}, line="GET /c HTTP/1.1"), limits)
    assert output.data.startswith(b"HTTP/1.1 403 ")
    assert isinstance(finished, Finished)
    assert finished.reason is Reason.ORIGIN_REFUSED


def test_a_plain_request_there_is_one_as_anywhere():
    [request] = receive(b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n", LIMITS)
    assert request.target == "/c"


def test_a_protocol_of_a_third_party_needs_its_entry_point(monkeypatch):
    known = doors.registered()
    assert known == {"centrifuge": CentrifugeProtocol, "sse": SseDoor}
    monkeypatch.setattr(doors, "registered", lambda: known | {"shouts": Shouts})
    limits = Limits(doors=("shouts:/loud",))
    *_, switch = receive(handshake(line="GET /loud?x=1 HTTP/1.1"), limits)
    [said] = switch.protocol.receive_data(frame(1, b"hello"), 2.0)
    assert said.data.endswith(b"/loud?x=1 HELLO")


@pytest.mark.parametrize("path", ["/c", "/"])
def test_other_limits_have_other_doors(path):
    """As of another proxy in this process."""
    *_, switch = receive(handshake(line=f"GET {path} HTTP/1.1"), Limits())
    assert isinstance(switch.protocol, WebSocketProtocol)
    *_, switch = receive(handshake(line=f"GET {path} HTTP/1.1"), Limits(doors=("centrifuge:/",)))
    assert isinstance(switch.protocol, WithinWebSocket) is (path == "/")
