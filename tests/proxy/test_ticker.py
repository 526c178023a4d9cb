"""Who is late judges nobody at once, and is not late for ever."""

from math import inf

import pytest

from holdfast.protocols.nodes import frames
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
        client={"max_in_flight": COUNT},
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


@pytest.mark.parametrize("hasty", [(0.1, 0.4), (0.19, 0.4), (0.5, 2.0), (0.5, 10.0)], indirect=True, ids=str)
async def test_however_soon_nodes_are_given_up_who_stood_still_blames_nobody(hasty):
    proxy, timeout = hasty
    node = proxy.join()
    for _ in range(5):
        late(proxy, 1.1 * timeout)
        assert lives(proxy)
        beat(node)
        for _ in range(2):
            late(proxy, 0.1)


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
