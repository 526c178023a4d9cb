"""Sessions that end before their connection does: the next one on it is another client."""

import socket
from math import inf

import pytest

from holdfast.protocols.clients.events import Closed, Finished, Opened, Output
from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.proxy.realtime import lanes
from tests.proxy.still import StillProxy, taken


class Visits:
    """A line "in" begins a session, "out" ends it; messages to it are lines that begin with its number."""

    name = "visits"
    eventless = 0
    all_said = has_more = paused = False
    held_bytes = 0

    def __init__(self, limits, address, now):
        self.deadline = inf
        self.visit = 0
        self.is_in = False
        self.wire_format = None

    def receive_data(self, data, now):
        if not data:
            return [Finished(Reason.CLIENT_LEFT)]
        events = []
        for line in data.decode().split():
            if line == "in":
                self.visit += 1
                self.is_in = True
                events += [Opened("visits", f"/{self.visit}", []), Output(b"in\n")]
            elif line == "out":
                self.is_in = False
                events.append(Closed())
            else:
                self.deadline = now + float(line)
        return events

    def resume(self, now):
        return []

    def on_deadline(self, now):
        self.deadline = inf
        return [Output(b"late\n")]

    def notification(self, payload, is_text):
        return b"%d %b\n" % (self.visit, payload)

    def reply(self, *args):
        return b""

    error = close = reply


class Visitor:
    def __init__(self, proxy, address="192.0.2.1:5"):
        ours, self._socket = socket.socketpair()
        ours.setblocking(False)
        self._socket.setblocking(False)
        self._app = proxy.app
        proxy.clients.append(self)
        self.connection = proxy.app.clients.add(ours.detach(), address, None, Visits)

    def say(self, text):
        self.connection.receive(text.encode(), self._app.reactor.now)

    @property
    def heard(self):
        self._app.clients.flush(self._app.reactor.now)
        try:
            return self._socket.recv(1 << 20, socket.MSG_PEEK).decode().split("\n")[:-1]
        except BlockingIOError:
            return []

    def close(self):
        self._socket.close()


@pytest.fixture
async def proxy():
    proxy = StillProxy(client={"max_connections_per_address": 2})
    yield proxy
    proxy.close()


async def test_nodes_are_told_of_each_as_of_another_client(proxy):
    peer = proxy.hub.dial()
    peer.say(frames.Hello(frames.VERSION, "node", "n", 1, 10, wants_clients=True))
    proxy.settle()
    peer.say(frames.Ready())
    proxy.settle()
    visitor = Visitor(proxy)
    visitor.say("in")
    first = visitor.connection.id
    proxy.tick(1.0)
    visitor.say("out in")
    second = visitor.connection.id
    proxy.tick(1.0)
    visitor.say("out")
    proxy.tick(1.0)
    assert first != second
    told = [change for frame in taken(peer, frames.Changes) for change in frame.changes]
    opened = [change.client.id for change in told if isinstance(change, frames.Opened)]
    closed = [(change.client, change.reason) for change in told if isinstance(change, frames.Closed)]
    assert opened == [first, second]
    assert closed == [(first, "client_left"), (second, "client_left")]
    assert list(proxy.app.clients.connections) == [visitor.connection.id]
    assert proxy.app.clients.find(first) is proxy.app.clients.find(second) is None


async def test_the_next_one_is_in_no_channel_of_the_former(proxy):
    node, visitor = proxy.join(), Visitor(proxy)
    visitor.say("in")
    node.say(frames.Effects(1, [frames.Join(visitor.connection.id, "room")]))
    proxy.settle()
    visitor.say("out in")
    node.say(frames.Effects(2, [frames.Notify(b"news", True, ["room"])]))
    proxy.settle()
    assert visitor.heard == ["in", "in"]
    assert proxy.app.channels.subscriptions == 0


async def test_what_was_under_way_to_a_former_one_is_not_for_the_next(proxy, monkeypatch):
    monkeypatch.setattr(lanes, "SLICE", 4)
    visitors = [Visitor(proxy, f"192.0.2.{number}:5") for number in range(40)]
    node, other = proxy.join("one"), proxy.join("two")
    for visitor in visitors:
        visitor.say("in")
    node.say(frames.Effects(1, [frames.Join(each.connection.id, "room") for each in visitors]))
    proxy.settle()
    node.say(frames.Effects(2, [frames.Notify(b"news", True, ["room"])]))
    proxy.turn()
    first, *_, last = visitors
    assert (first.heard, last.heard) == (["in", "1 news"], ["in"])
    last.say("out in")
    other.say(frames.Effects(1, [frames.Join(last.connection.id, "room")]))
    proxy.settle()
    assert last.heard == ["in", "in"]
    node.say(frames.Effects(3, [frames.Notify(b"more", True, ["room"])]))
    proxy.settle()
    assert last.heard == ["in", "in", "2 more"]
    assert visitors[-2].heard == ["in", "1 news", "1 more"]


async def test_its_place_among_those_of_its_address_stays_one(proxy):
    visitor = Visitor(proxy)
    for _ in range(5):
        visitor.say("in out")
    assert proxy.app.clients.refusal("192.0.2.1") is None
    Visitor(proxy)
    assert proxy.app.clients.refusal("192.0.2.1") is Reason.TOO_MANY_FROM_ADDRESS
    visitor.connection.abort(Reason.CLIENT_LEFT)
    assert proxy.app.clients.refusal("192.0.2.1") is None


async def test_its_timers_go_on(proxy):
    visitor, reactor = Visitor(proxy), proxy.app.reactor
    visitor.say("in 5 out")
    for _ in range(6):
        assert "late" not in visitor.heard
        reactor.now += 1.0
        proxy.app.clients.turn_wheel()
    assert visitor.heard == ["in", "late"]
