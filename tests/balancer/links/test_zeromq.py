"""Sessions that come to a proxy by another way than its socket; and what was said by a connection that has ended."""

import pytest
import zmq

from holdfast.balancer.links.zeromq import ZeromqHub
from holdfast.protocols.nodes.frames import (
    Bye,
    Cancel,
    Heartbeat,
    Hello,
    Refused,
    Welcome,
    decode_from_proxy,
    encode_batch,
)
from tests.waiting import until

WELCOME = Welcome(1, "p", 0.5, 2.0, 0, [], 1 << 20)


class Keeper:
    """A gateway that keeps what it is told."""

    def __init__(self):
        self.links = []
        self.batches = []
        self.losses = []

    def hello(self, link, hello):
        self.links.append(link)
        link.send(WELCOME)

    def received(self, link, batch):
        self.batches.append(batch)

    def lost(self, link, why):
        self.losses.append((link, why))


class Way:
    """What was sent by it."""

    def __init__(self):
        self.has_room = True
        self.sent = []

    def __call__(self, data):
        if self.has_room:
            self.sent.append(decode_from_proxy(data))
        return self.has_room


@pytest.fixture
def opened():
    """A hub, and its address."""
    hub = ZeromqHub(Keeper(), max_batch_bytes=1 << 20, max_backlog_bytes=300)
    (address,) = hub.open(["tcp://127.0.0.1:*"])
    yield hub, address
    hub.close()


@pytest.fixture
def hub(opened):
    return opened[0]


@pytest.fixture
def keeper(hub):
    return hub._gateway


def begin(hub, way, identity=b"T1/a"):
    hub.take(identity, encode_batch(1, [Hello(1, "n", "n", 1, 1)]), 1.0, way)
    hub.pump(1.0)
    return hub._gateway.links[-1]


def test_it_is_a_session_like_any_other(hub, keeper):
    way = Way()
    link = begin(hub, way)
    hub.take(b"T1/a", encode_batch(2, [Heartbeat(5.0)]), 2.0, way)
    assert (keeper.batches, link.last_seen) == ([[Heartbeat(5.0)]], 2.0)
    link.send(Cancel(1, 1))
    link.send(Cancel(2, 1))
    hub.pump(2.0)
    assert way.sent == [(1, [WELCOME]), (2, [Cancel(1, 1), Cancel(2, 1)])]
    hub.probe(b"T1/a")  # it has no connection of its own that could have ended
    assert keeper.losses == []
    link.close("enough", fatal=True)
    assert way.sent[-1] == (0, [Refused("enough", True)])


def test_what_finds_no_room_waits(hub, keeper):
    way = Way()
    link = begin(hub, way)
    way.has_room = False
    link.send(Cancel(1, 1))
    hub.pump(1.0)
    assert link.is_blocked
    way.has_room = True
    hub.retry()
    assert (link.is_blocked, way.sent[-1]) == (False, (2, [Cancel(1, 1)]))


def test_but_not_without_limit(hub, keeper):
    way = Way()
    link = begin(hub, way)
    way.has_room = False
    for number in range(300):
        link.send(Cancel(number, 1))
        hub.pump(1.0)
    ((lost, why),) = keeper.losses
    assert lost is link
    assert "does not read" in why


def test_a_batch_that_is_missing_ends_it(hub, keeper):
    way = Way()
    begin(hub, way)
    hub.take(b"T1/a", encode_batch(3, [Bye("")]), 1.0, way)
    hub.pump(1.0)
    assert [why for _, why in keeper.losses] == ["protocol error: expected batch 2, got 3"]
    assert isinstance(way.sent[-1][1][0], Refused)
    hub.take(b"T1/a", encode_batch(4, [Bye("")]), 1.0, way)
    assert "no such session" in way.sent[-1][1][0].reason


def test_so_does_one_that_is_too_long(hub, keeper):
    way = Way()
    link = begin(hub, way)
    hub.take(b"T1/a", bytes((1 << 20) + 1), 1.0, way)
    hub.pump(1.0)
    assert (keeper.batches, keeper.losses[0][0]) == ([], link)
    assert "expected a batch of at most 1048576 bytes, got 1048577" in way.sent[-1][1][0].reason
    hub.take(b"T2/b", bytes((1 << 20) + 1), 1.0, way)
    assert "expected a batch of frames" in way.sent[-1][1][0].reason
    assert keeper.links == [link]


def test_it_ends_with_the_way(hub, keeper):
    links = {identity: begin(hub, Way(), identity) for identity in (b"T1/a", b"T1/b", b"T2/a")}
    hub.forget_route(b"T1/", "gone")
    hub.pump(1.0)
    assert keeper.losses == [(links[b"T1/a"], "gone"), (links[b"T1/b"], "gone")]
    assert links[b"T2/a"].is_open


def test_a_fault_with_one_link_keeps_nothing_of_others_back(hub, keeper):
    ways = bad_way, way = Way(), Way()
    bad, good = (begin(hub, each, identity) for each, identity in zip(ways, (b"T1/a", b"T1/b"), strict=True))
    bad.send(object())
    good.send(Cancel(1, 1))
    hub.pump(1.0)
    assert way.sent[-1] == (2, [Cancel(1, 1)])
    assert keeper.losses == [(bad, "internal error")]
    assert bad_way.sent[-1] == (0, [Refused("internal error", False)])
    good.send(Cancel(2, 1))
    hub.pump(1.0)
    assert way.sent[-1] == (3, [Cancel(2, 1)])


@pytest.mark.parametrize("how", ["something is sent to it", "its end is seen"])
async def test_what_was_said_by_a_connection_that_has_ended_is_read_before_the_session_is_lost(opened, keeper, how):
    """More of it than is taken at a time; and what was for it is still to be had."""
    hub, address = opened
    context = zmq.Context()
    node = context.socket(zmq.DEALER)
    node.connect(address)
    node.send(encode_batch(1, [Hello(1, "n", "n", 1, 1)]))
    while not keeper.links:
        hub.pump(1.0)
    hub.callers.take_events(1.0)
    [link] = keeper.links
    assert node.poll(60_000)
    for number in range(200):
        node.send(encode_batch(number + 2, [Heartbeat(float(number))]))
    node.close(linger=-1)
    context.term()  # all has left
    assert hub.callers.door.monitor.poll(60_000), "the end of the connection"

    def is_known():  # libzmq tells of the end a moment before it knows of it
        if how == "its end is seen":
            hub.probe(link.identity)
        else:
            link.send(Heartbeat(1.0))
            hub._flush()
        return bool(hub._ended)

    await until(is_known, interval=0.01)
    more = hub.pump(1.0)
    assert (more, keeper.losses) == (True, [])
    while hub.pump(1.0):
        pass
    assert [batch[0].stamp for batch in keeper.batches] == [float(number) for number in range(200)]
    assert keeper.losses == [(link, "disconnected")]
    assert bool(link.unsent()) is (how == "something is sent to it")
