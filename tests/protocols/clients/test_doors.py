"""Paths of the HTTP port at which another protocol is spoken within WebSocket."""

import random

import pytest

from holdfast.protocols.clients import doors
from holdfast.protocols.clients.base import Limits
from holdfast.protocols.clients.centrifuge.protocol import CentrifugeProtocol
from holdfast.protocols.clients.conformance import check
from holdfast.protocols.clients.events import Finished, Opened, Output, Switch
from holdfast.protocols.clients.exchange import AtDoor
from holdfast.protocols.clients.http_doors import HttpWithDoors
from holdfast.protocols.clients.sse.door import SseDoor
from holdfast.protocols.clients.websocket import WebSocketProtocol
from holdfast.protocols.clients.within import Handshake, WithinWebSocket
from holdfast.protocols.close import Reason
from tests.protocols.clients.sse.asked import Asked, get
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


class Clock(AtDoor):
    """A third party's, of requests: it answers with the time, twice a second, as often as it is told to."""

    name = "clock"
    methods = ("GET", "POST")

    def __init__(self, exchange, now):
        super().__init__(exchange)
        self.left = int(exchange.part) + len(exchange.request.payload)
        self.has_more = self.paused = True

    def go_on(self, now):
        self.has_more = self.paused = False
        self.deadline = now + 0.5
        return [Output(self._exchange.begin([("Content-Type", "text/plain")], b"now\n"))]

    def late(self, now):
        self.left -= 1
        self.deadline = now + 0.5
        if self.left:
            return [Output(self._exchange.writer.write(None, b"later\n", True, True))]
        self.over()
        return [Output(self._exchange.writer.write(None, b"at last\n", True, False)), *self.resume(now)]


@pytest.fixture
def clock(monkeypatch):
    known = doors.registered()
    monkeypatch.setattr(doors, "registered", lambda: known | {"clock": Clock})
    return Limits(doors=("clock:/ticks/{count}", "clock:/ticks/7/x", "centrifuge:/ticks/5"))


def test_a_door_of_requests_answers_in_its_own_way_and_then_the_next_request_is_read(clock):
    asked = Asked(get("/ticks/2") + get("/ticks/5"), limits=clock)
    assert asked.body == b"now\n"
    asked.pass_time(0.5)
    assert asked.body == b"now\nlater\n"
    asked.pass_time(0.5)
    assert asked.body == b"now\nlater\nat last\n"
    assert [event.target for event in asked.events] == ["/ticks/5"], "that path is of WebSockets"


def test_it_gets_the_body_whole(clock):
    asked = Asked(get("/ticks/1", "Content-Length: 2", method="POST"), b"x", limits=clock)
    assert asked.said == b""
    asked.receive(b"y")
    for _ in range(3):
        asked.pass_time(0.5)
    assert asked.body == b"now\nlater\nlater\nat last\n"


def test_while_it_drains_what_comes_to_a_door_is_refused(clock):
    asked = Asked(get("/ticks/1")[:10], limits=clock)
    asked.said += asked.protocol.close(Reason.DRAINING, "restart", asked.now)
    asked.receive(get("/ticks/1")[10:])
    assert asked.status == 503
    assert asked.events[-1].reason is Reason.DRAINING


def test_many_requests_in_one_read_are_answered_one_in_a_turn(clock):
    """Each is another adapter's: none is within the call of the one before."""
    asked = Asked(limits=clock)
    asked.receive(get("/ticks/1", method="OPTIONS") * 2000)
    assert asked.said.count(b"HTTP/1.1 204 ") == 2000


def test_one_of_a_third_party_conforms(clock):
    script = get("/ticks/2") + get("/ticks/1", "Content-Length: 2", method="POST") + b"xy" + get("/other")
    check(HttpWithDoors, get("/other") + script, random.Random(1), limits=clock, rounds=5)


@pytest.mark.parametrize("path", ["/c", "/"])
def test_other_limits_have_other_doors(path):
    """As of another proxy in this process."""
    *_, switch = receive(handshake(line=f"GET {path} HTTP/1.1"), Limits())
    assert isinstance(switch.protocol, WebSocketProtocol)
    *_, switch = receive(handshake(line=f"GET {path} HTTP/1.1"), Limits(doors=("centrifuge:/",)))
    assert isinstance(switch.protocol, WithinWebSocket) is (path == "/")
