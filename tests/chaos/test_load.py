"""The built-in clients and the node that they talk to, through a whole proxy in this process."""

import os
import signal
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from holdfast import Node, RequestError
from holdfast.chaos.load import WITNESSES, Load, Settings
from holdfast.chaos.messages import OPENINGS_FD, STATES_VARIABLE, TESTIMONY_FD, Answer, Notification, decode_ask, encode
from holdfast.chaos.node import SLOW_DELAY, node
from holdfast.chaos.report import broken_promises
from holdfast.chaos.sessions import ends, moves
from holdfast.chaos.writer import LAST
from holdfast.chaos.writes import KINDS, audit
from holdfast.protocols.errors import HoldfastError
from tests.harness import running, websocket
from tests.waiting import PATIENCE

CLIENTS = 25  # not a multiple of the group, and enough for some on each kind of connection


@pytest.fixture
def testimony(monkeypatch):
    """The pipe on which a master says that it acts."""
    reader, writer = os.pipe()
    monkeypatch.setenv(TESTIMONY_FD, str(writer))
    yield reader
    os.close(reader)
    os.close(writer)


@asynccontextmanager
async def chaos_node(**sections):
    async with running(election={"lease": 0.3}, **sections) as proxy, trio.open_nursery() as nursery:
        await nursery.start(node.run, [proxy.node])
        yield proxy
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def load_on(*proxies, rate=20.0, work=0.0, writes=0.0):
    addresses = [("127.0.0.1", proxy.client_port) for proxy in proxies]
    load = Load(Settings(addresses, len(proxies) > 1, CLIENTS, 4, rate, work, writes))
    try:
        async with trio.open_nursery() as nursery:
            await load.open(nursery)
            nursery.start_soon(load.run)
            await load.join()
            yield load
            nursery.cancel_scope.cancel()
    finally:
        load.close()


async def test_all_is_answered_and_heard(testimony):
    async with chaos_node() as proxy, load_on(proxy) as load:
        assert len(proxy.app.registry) == CLIENTS
        load.start()
        await proxy.until(lambda: load.accounting.done >= 200, "200 replies")
        progress = load.progress()
        await proxy.until(lambda: proxy.app.steward.master[0], "a master")
        load.stop()
        await load.wait_complete(PATIENCE)
        verdict = load.accounting.verdict()
        line = os.read(testimony, 1 << 16).decode().splitlines()[0]
    assert progress.clients == CLIENTS
    assert progress.lost == 0
    assert progress.latency.count >= 200
    requests, notifications = verdict.requests, verdict.notifications
    assert requests.sent == requests.answered_once == notifications.published >= 200
    # the last of the groups of 4 has one client only
    assert notifications.published < notifications.delivered < 4 * notifications.published
    assert (notifications.missing, notifications.duplicated, notifications.out_of_order) == (0, 0, 0)
    assert verdict.dropped == {}
    at, epoch, name = line.split(" ")
    assert (float(at) > 0, int(epoch) > 0, name) == (True, True, "chaos")


async def test_the_state_is_written_and_shown(monkeypatch, tmp_path):
    monkeypatch.setenv(STATES_VARIABLE, str(tmp_path))
    async with chaos_node() as proxy, load_on(proxy, writes=100.0) as load:
        load.start()
        book = load.writer.writes.book
        await proxy.until(lambda: len(book.writes) >= 60, "60 writes")
        load.stop()
        await load.wait_complete(PATIENCE)
        os.kill(os.getpid(), signal.SIGUSR2)
        await proxy.until((tmp_path / f"{os.getpid()}.json").exists, "the state to be shown")
        present = ends(load.sessions.all, [])
    state = msgspec.json.decode((tmp_path / f"{os.getpid()}.json").read_bytes())
    figures = audit(book, [state], present)
    assert {write.kind for write in book.writes} == set(KINDS)
    assert figures.acknowledged == figures.sent >= 60
    assert not any(figures.wrong().values())
    assert sum(write.is_last for write in book.writes) == LAST


async def test_errors_are_answers():
    async with chaos_node(request={"parked_timeout": 0.1}) as proxy, load_on(proxy) as load:
        node.drain()  # the only one
        await proxy.until(lambda: not proxy.app.directory.nodes, "the node to be gone")
        load.start()
        await proxy.until(lambda: load.accounting.done >= 20, "20 errors")
        load.stop()
        await load.wait_complete(PATIENCE)
        verdict = load.accounting.verdict()
    assert set(verdict.requests.errors) == {"no_node"}
    assert verdict.requests.unexpected_errors == 0
    assert verdict.requests.unanswered == 0


async def test_nodes_that_are_no_chaos_nodes(monkeypatch):
    monkeypatch.setattr("holdfast.chaos.load.JOIN_TIMEOUT", 0.1)
    async with running() as proxy:
        told = pytest.RaisesExc(HoldfastError, match="25 of 25 clients could not join")
        with pytest.RaisesGroup(told, flatten_subgroups=True):
            async with load_on(proxy):
                pass


async def test_no_proxy():
    load = Load(Settings([("127.0.0.1", 1)], False, CLIENTS, 4, 1.0, 0.0, 0.0))
    errors = []
    try:
        async with trio.open_nursery() as nursery:
            await load.open(nursery)
    except* HoldfastError as group:  # of as many clients as had tried before the others were told to stop
        errors.append(group)
    load.close()
    assert errors


async def test_the_node_works_as_long_as_it_is_asked_to_and_can_be_made_slow():
    async with chaos_node() as proxy, websocket(proxy) as client:

        async def seconds(work):
            begun = trio.current_time()
            await client.send(msgspec.json.encode({"requestId": 1, "client": 0, "work": work}).decode())
            assert msgspec.json.decode(await client.recv())["requestId"] == 1
            return trio.current_time() - begun

        assert await seconds(0.05) >= 0.05
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await seconds(0.0) >= SLOW_DELAY


async def test_the_node_echoes_to_people():
    async with chaos_node() as proxy, websocket(proxy) as client:
        await client.send("hello")
        assert await client.recv() == f"chaos (pid {os.getpid()}) got: hello"


# --- clients that lose their connection -----------------------------------------------------------------------------


def kick_all(proxy):
    for client in list(proxy.app.clients.connections):
        proxy.app.control.kick_here(client, "for the test")
    proxy.app.reactor.settle()


def heard(notifications):
    """The later the requests leave, the more of them are taken to have met a client on the move: then none is due."""
    return notifications.delivered + notifications.not_due


@pytest.mark.parametrize("addresses", [1, 2])
async def test_clients_that_lose_their_connection_go_to_the_next_proxy(monkeypatch, addresses):
    """One proxy has to do for all: a client finds the same one again, as another."""
    # However long this process stood still between a kick and the moment in which its client reads of it.
    monkeypatch.setattr("holdfast.chaos.accounting.ON_THE_WAY", PATIENCE)
    async with chaos_node() as proxy, load_on(*[proxy] * addresses) as load:
        load.start()
        await proxy.until(lambda: load.accounting.done >= 50, "50 replies")
        before = {session.id for session in load.sessions.all}
        kick_all(proxy)
        await proxy.until(lambda: len(load.sessions.all) == 2 * CLIENTS, "all to be lost, and to connect again")
        await proxy.until(lambda: load.progress().clients == CLIENTS, "all to join again")
        sent, before_that = load.progress().sent, heard(load.accounting.notifications())
        await proxy.until(lambda: load.accounting.done >= sent + 50, "50 replies to what is asked from now on")
        load.stop()
        await load.wait_complete(PATIENCE)
        verdict = load.accounting.verdict()
        there = set(proxy.app.clients.connections)
    assert load.progress().moves == CLIENTS
    assert verdict.dropped == {}
    assert verdict.requests.sent == verdict.requests.answered_once + verdict.requests.gone
    assert (verdict.notifications.missing, verdict.notifications.duplicated) == (0, 0)
    assert heard(verdict.notifications) > before_that + 2 * 50  # whoever moved hears all again
    ended, present = load.sessions.all[:CLIENTS], load.sessions.all[CLIENTS:]
    assert {session.id for session in ended} == before
    assert {session.why for session in ended} == {"close code 1008"}
    assert {session.id for session in present} == there
    assert before.isdisjoint(there)
    places = {session.client: session.proxy for session in ended}
    assert all((session.proxy != places[session.client]) is (addresses > 1) for session in present)
    # nobody has killed a proxy, so they were dropped
    assert moves(load.sessions.all, []).dropped == {"close code 1008": CLIENTS}


async def test_it_is_complete_when_clients_have_found_their_place_again(monkeypatch):
    """One that has a connection and has not joined yet is known to nodes, and to the books by no id."""
    monkeypatch.setattr("holdfast.chaos.load.QUIET", 0.0)
    async with chaos_node() as proxy, load_on(proxy, proxy) as load, trio.open_nursery() as nursery:
        clients, proxy.app.clients.max_connections = proxy.app.clients.max_connections, 0
        kick_all(proxy)
        await proxy.until(lambda: load.progress().clients == 0, "all to be lost")
        load.stop()
        nursery.start_soon(load.wait_complete, PATIENCE)
        refused = proxy.app.counters.connections_refused
        await proxy.until(lambda: sum(refused.values()) >= 4 * CLIENTS, "all to have tried in vain")
        proxy.app.clients.max_connections = clients
        await proxy.until(lambda: not nursery.child_tasks, "it to be complete")
        there = set(proxy.app.clients.connections)
    assert {id for id, end in ends(load.sessions.all, []).items() if end is None} == there
    assert len(there) == CLIENTS


async def test_clients_are_spread_over_the_proxies():
    async with chaos_node() as proxy, load_on(proxy, proxy, proxy) as load:
        places = [session.proxy for session in load.sessions.all]
    assert max(map(places.count, range(3))) - min(map(places.count, range(3))) <= 1 + WITNESSES


async def test_a_client_that_finds_no_proxy_gives_up(monkeypatch):
    monkeypatch.setattr("holdfast.chaos.load.MOVE_TIMEOUT", 0.3)
    async with chaos_node() as proxy, load_on(proxy, proxy) as load:
        proxy.app.clients.max_connections = 0
        kick_all(proxy)
        told = {"found no other proxy": CLIENTS}
        await proxy.until(lambda: load.accounting.verdict().dropped == told, "all to give up")
        assert len(load.sessions.all) == CLIENTS  # what was refused is none
        assert load.progress().clients == 0


async def test_the_node_says_whom_it_is_told_of(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setenv(OPENINGS_FD, str(writer))
    try:
        async with chaos_node() as proxy:
            async with websocket(proxy) as client:
                await client.send("hello")
                await client.recv()
                (id,) = proxy.app.clients.connections
            await proxy.until(lambda: not node.clients, "the node to be told of the end")
        lines = [line.split(" ") for line in os.read(reader, 1 << 16).decode().splitlines()]
    finally:
        os.close(reader)
        os.close(writer)
    assert [line[1:] for line in lines] == [[what, str(os.getpid()), str(id)] for what in ("opened", "closed")]
    assert 0 < float(lines[0][0]) <= float(lines[1][0])


# --- nodes that break promises, each in one way: the clients must notice --------------------------------------------


def faulty_node(fault):
    faulty = Node("faulty", clients=True)
    count = 0

    async def publish(ask, number):
        notification = Notification(ask.publish, ask.client, ask.requestId, 1, number)
        await faulty.notify(encode(notification), channels=[ask.publish], text=True)

    @faulty.on_request
    async def handle(request):
        nonlocal count
        ask = decode_ask(request.payload)
        for channel in ask.join:
            await faulty.join(request.client, channel)
        asker = ask.client
        if ask.publish:
            count += 1
            if fault != "publishes nothing":
                await publish(ask, -count if fault == "publishes out of order" else count)
            if fault == "publishes twice":
                await publish(ask, count)
            if fault == "fails after it has published":
                await request.flush()
                raise RequestError(500, "for the test")
            if fault == "takes one client for another":
                asker = (asker + 1) % CLIENTS
            if fault == "replies to somebody else":
                other = next(client for client in faulty.clients if client != request.client.id)
                await faulty.notify(encode(Answer(0, asker, "faulty", 1)), clients=[other], text=True)
        return encode(Answer(ask.requestId, asker, "faulty", 1))

    return faulty


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("publishes nothing", "notifications missing"),
        ("publishes twice", "notifications duplicated"),
        ("publishes out of order", "notifications out of order"),
        ("fails after it has published", "notifications of requests that no node answered"),
        ("takes one client for another", "replies to the wrong client"),
        ("replies to somebody else", "replies to the wrong client"),
    ],
)
async def test_a_node_that_breaks_a_promise_is_found_out(fault, told):
    async with running() as proxy, trio.open_nursery() as nursery:
        await nursery.start(faulty_node(fault).run, [proxy.node])
        async with load_on(proxy) as load:
            load.start()
            await proxy.until(lambda: load.accounting.requests().sent >= 50, "50 requests")
            load.stop()
            await load.wait_complete(0.3)
            verdict = load.accounting.verdict()
        nursery.cancel_scope.cancel()
    broken = broken_promises(verdict, verdict.dropped, None, None, None, None, [])
    assert any(told in promise for promise in broken), broken
