"""Who is late judges nobody at once, and is not late for ever."""

import socket
from math import inf

import pytest
from structlog.testing import capture_logs

from holdfast.balancer.cluster.keeping import Phase
from holdfast.protocols.nodes import frames
from holdfast.protocols.peers.frames import Record
from holdfast.proxy.clients.intake import FREE
from holdfast.proxy.clients.state import OPEN
from holdfast.proxy.clients.wheel import TIMERS_PER_TURN
from holdfast.proxy.nodes.expired import ANSWERED_PER_TURN
from tests.proxy.still import StillProxy, taken

TIMEOUT = 2.0
COUNT = 2 * ANSWERED_PER_TURN + 1


@pytest.fixture
async def proxy():
    proxy = StillProxy(
        node={"heartbeat_timeout": TIMEOUT},
        request={"timeout": TIMEOUT, "parked_timeout": TIMEOUT},
        client={
            "max_in_flight": COUNT,
            "handshake_timeout": 10.0,
            "body_timeout": 10.0,
            "ping_interval": 30.0,
            "ping_timeout": 10.0,
        },
    )
    proxy.app.reactor._steps.clear()  # turns are the test's
    yield proxy
    proxy.close()


@pytest.fixture
async def hasty(request):
    """A proxy that is configured to give nodes up soon, and that time."""
    proxy = StillProxy(node={"heartbeat_interval": request.param[0], "heartbeat_timeout": request.param[1]})
    proxy.app.reactor._steps.clear()
    yield proxy, request.param[1]
    proxy.close()


def late(proxy, seconds):
    """A turn of this length, at whose end nodes are heard, and the tick that it has held up."""
    proxy.turn()
    proxy.app.ticker.tick(proxy.app.reactor.now + seconds)


def beat(node):
    node.say(frames.Heartbeat(1.0))


def lives(proxy):
    return len(proxy.app.directory) == 1


async def test_whose_heartbeats_wait_unread_is_not_given_up(proxy):
    node = proxy.join()
    late(proxy, 1000.0)
    assert lives(proxy)
    beat(node)
    late(proxy, 0.1)
    assert lives(proxy)


@pytest.mark.parametrize(
    "hasty", [(0.1, 0.4), (0.19, 0.4), (0.5, 1.0001), (0.5, 2.0), (0.5, 10.0)], indirect=True, ids=str
)
async def test_however_soon_nodes_are_given_up_who_stood_still_blames_nobody(hasty):
    proxy, timeout = hasty
    node = proxy.join()
    for _ in range(5):
        late(proxy, 1.1 * timeout)
        assert lives(proxy)
        beat(node)
        for _ in range(2):
            late(proxy, 0.1)


@pytest.mark.parametrize("hasty", [(0.5, 1.0001), (0.9, 1.8001)], indirect=True, ids=str)
async def test_no_timeout_is_so_short_that_every_tick_is_late(hasty):
    proxy, _ = hasty
    with capture_logs() as lines:
        for _ in range(20):
            late(proxy, 0.2)  # the machine is busy
    assert "was_away" not in {line["event"] for line in lines}


@pytest.mark.parametrize("waits_for", ["membership", Phase.GATHERING, Phase.RECOVERING, Phase.BEGINNING])
async def test_a_node_that_waits_for_us_has_its_time_from_when_we_have_begun(proxy, waits_for):
    """As with a store that was emptied: no proxy is a member before an operator's reset."""
    node = proxy.hub.dial()
    node.say(frames.Hello(frames.VERSION, "node", "n", 1, 10, wants_clients=False))

    def wait(seconds):
        for _ in range(10 * seconds):
            beat(node)
            late(proxy, 0.1)
        return lives(proxy)

    membership, replication = proxy.app.cluster.membership, proxy.app.cluster.replication
    record, phase = membership.record, replication.phase
    if waits_for == "membership":
        membership.record = Record()
    else:
        replication.phase = waits_for
    assert wait(25)
    membership.record, replication.phase = record, phase
    assert wait(9)
    assert not wait(2)


async def test_a_node_that_is_not_ready_yet_has_the_time_that_it_lost(proxy):
    node = proxy.hub.dial()
    node.say(frames.Hello(frames.VERSION, "node", "n", 1, 10, wants_clients=False))
    late(proxy, 1000.0)
    for _ in range(10):
        beat(node)
        late(proxy, 0.1)
    assert lives(proxy)


@pytest.mark.parametrize("seconds", [0.7, 2.5, 10.0])
async def test_whose_turns_are_long_gives_up_who_is_silent_and_nobody_else(proxy, seconds):
    node = proxy.join()
    for _ in range(20):
        beat(node)
        late(proxy, seconds)
        assert lives(proxy)
    ticks = 0
    while lives(proxy):
        late(proxy, seconds)
        ticks += 1
        assert ticks <= 7
    assert ticks > 3


@pytest.mark.parametrize("seconds", [0.7, 2.5, 10.0])
async def test_whose_turns_are_long_answers_all_the_same(proxy, seconds):
    node = proxy.join()
    client = proxy.client()
    began = proxy.app.reactor.now
    client.ask("hello")
    while not client.heard:
        assert proxy.app.reactor.now <= began + TIMEOUT + seconds
        beat(node)
        late(proxy, seconds)
        proxy.turn()
    assert client.heard == ["error deadline_exceeded"]


@pytest.mark.parametrize("is_parked", [False, True])
async def test_those_that_are_late_at_once_are_answered_in_shares_of_turns(proxy, is_parked):
    node = None if is_parked else proxy.join(capacity=10_000)
    client = proxy.client()
    for _ in range(COUNT):
        client.ask("hello")
    proxy.turn()
    reactor, expired = proxy.app.reactor, proxy.dispatch.expired
    reactor.now += TIMEOUT + 0.1
    proxy.dispatch.expire(reactor.now)
    assert not proxy.app.ledger
    answered = [COUNT - len(expired)]
    while expired:
        if node is not None:
            node.say(frames.Reply(COUNT, 1, b"too late", True))
        [call] = reactor._bell.calls
        reactor._bell.calls.clear()
        call()
        proxy.turn()
        answered.append(COUNT - len(expired))
    assert answered == [ANSWERED_PER_TURN, 2 * ANSWERED_PER_TURN, COUNT]
    assert client.heard == ["error no_node" if is_parked else "error deadline_exceeded"] * COUNT
    assert node is None or len(taken(node, frames.Cancel)) == COUNT


async def test_timers_of_many_connections_have_shares_of_turns(proxy):
    clients = [proxy.client() for _ in range(COUNT)]
    app = proxy.app
    for client in clients:
        app.clients.wheel.schedule(client.connection, app.reactor.now + 1.0)
    app.reactor.now += 2.0
    app.clients.turn_wheel()
    due = [COUNT - sum(client.connection.timer == inf for client in clients)]
    while app.reactor._bell.calls:
        [call] = app.reactor._bell.calls
        app.reactor._bell.calls.clear()
        call()
        due.append(COUNT - sum(client.connection.timer == inf for client in clients))
    assert due == [COUNT - TIMERS_PER_TURN, COUNT - 2 * TIMERS_PER_TURN, 0]


async def test_a_reply_that_waits_unread_counts(proxy):
    node = proxy.join()
    client = proxy.client()
    client.ask("hello")
    proxy.turn()
    proxy.app.ticker.tick(proxy.app.reactor.now + 1000.0)
    [request] = taken(node, frames.Request)
    node.say(frames.Reply(request.id, 1, b"in time", True))
    late(proxy, 0.1)
    assert client.heard == ["in time"]


class Raw:
    """A client of the usual port, by its bytes."""

    def __init__(self, proxy, *said):
        ours, self._socket = socket.socketpair()
        ours.setblocking(False)
        self._socket.setblocking(False)
        self._proxy = proxy
        self.connection = proxy.app.clients.add(ours.detach(), "192.0.2.1:5", None)
        for data in said:
            self.say(data)

    def say(self, data):
        self.connection.receive(data, self._proxy.app.reactor.now)
        self._proxy.turn()

    def read(self):
        self._socket.recv(1 << 16)

    @property
    def is_ended(self):
        """Or told that it is at its end."""
        return self.connection.state is not OPEN

    def close(self):
        self._socket.close()


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
MASK = b"\0\0\0\0"
# What each has said before its proxy stood still, and what it says then.
LATE = {
    "a new connection": ([], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a body": ([POST], b"67890"),
    "a message in fragments": ([UPGRADE, b"\x01\x85" + MASK + b"12345"], b"\x80\x85" + MASK + b"67890"),
    "a pong": ([UPGRADE], b"\x8a\x80" + MASK),
}


def raw(proxy, who):
    """It has been pinged, if that is what it waits for, and has a second left."""
    before, after = LATE[who]
    client = Raw(proxy, *before)
    app = proxy.app
    if who == "a pong":
        ticks(proxy, 30.5)
        client.read()
    while app.reactor.now < client.connection.protocol.deadline - 1.0:
        app.ticker.tick(app.reactor.now + 0.1)
    assert not client.is_ended
    return client, after


def ticks(proxy, seconds):
    until = proxy.app.reactor.now + seconds
    while proxy.app.reactor.now < until:
        proxy.app.ticker.tick(proxy.app.reactor.now + 0.1)
        proxy.turn()


@pytest.mark.parametrize("seconds", [2.0, 1000.0])
@pytest.mark.parametrize("who", LATE)
async def test_a_client_is_not_blamed_for_what_waits_unread(proxy, who, seconds):
    client, said = raw(proxy, who)
    proxy.app.ticker.tick(proxy.app.reactor.now + seconds)
    ticks(proxy, 0.9)  # it may need an answer before that, or room in our socket
    assert not client.is_ended
    client.say(said)
    ticks(proxy, 5.0)
    assert not client.is_ended
    client.close()


@pytest.mark.parametrize(("seconds", "longest"), [(2.0, 2.5), (1000.0, 10.5)])
@pytest.mark.parametrize("who", LATE)
async def test_a_client_that_says_nothing_is_late_all_the_same(proxy, who, seconds, longest):
    """As long later as its proxy stood still, but no later than anybody has for anything."""
    client, _ = raw(proxy, who)
    proxy.app.ticker.tick(proxy.app.reactor.now + seconds)
    ticks(proxy, longest)
    assert client.is_ended
    client.close()


@pytest.mark.parametrize("seconds", [0.7, 2.5, 10.0])
@pytest.mark.parametrize("who", LATE)
async def test_whose_turns_are_long_waits_for_no_client_for_ever(proxy, who, seconds):
    client, _ = raw(proxy, who)
    began = proxy.app.reactor.now
    while not client.is_ended:
        assert proxy.app.reactor.now <= began + 1.0 + 6 * seconds
        late(proxy, seconds)
    client.close()


async def test_a_client_is_not_blamed_in_the_middle_of_a_slot_of_the_wheel(proxy):
    others = [proxy.client() for _ in range(COUNT)]
    app = proxy.app
    when = app.reactor.now + 1.0
    for client in others:
        app.clients.wheel.schedule(client.connection, when)
    client = Raw(proxy, POST)
    client.connection.protocol.deadline = when + 0.5
    app.clients.wheel.schedule(client.connection, when)  # the last of that slot, and not late yet
    app.reactor.now = when + 0.3
    app.clients.turn_wheel()
    app.reactor.now += 1000.0  # before the next tick, which says that we were away
    while app.reactor._bell.calls:
        [call] = app.reactor._bell.calls
        app.reactor._bell.calls.clear()
        call()
    app.ticker.tick(app.reactor.now)
    assert not client.is_ended
    client.close()


async def test_a_held_client_goes_on_though_nobody_is_late(proxy):
    """What we owe our clients does not wait for what they owe us."""
    client = proxy.client()
    app, connection = proxy.app, client.connection
    app.ticker.tick(app.reactor.now + 1000.0)
    connection._held_until = app.reactor.now + 0.5
    connection.schedule(app.reactor.now)
    ticks(proxy, 1.0)
    assert connection._held_until == FREE
