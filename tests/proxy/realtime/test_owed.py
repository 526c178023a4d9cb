"""What a node had for our clients when it was lost, by its own word or another proxy's: they are told, or it comes."""

import time
from contextlib import asynccontextmanager

import pytest
import trio
from msgspec import structs

from holdfast.balancer.cluster.debts import Debts
from holdfast.balancer.coordination.memory import MemoryCoordinator
from holdfast.protocols.nodes import frames
from holdfast.protocols.peers.replication import LostRun, Owed
from tests.harness import ScriptedNode, client_ids, running, websocket


@pytest.fixture
def at_once(monkeypatch):
    """Nobody is waited for."""
    monkeypatch.setattr("holdfast.balancer.cluster.debts.PATIENCE", 0.0)


@asynccontextmanager
async def room():
    """A proxy, its id, a node with a session, a client."""
    async with running(node={"heartbeat_timeout": 60.0}) as proxy:
        async with websocket(proxy) as client:
            await proxy.until(lambda: len(client_ids(proxy)) == 1)
            with ScriptedNode(proxy.node) as node:
                await node.join()
                yield proxy, proxy.app.cluster.me.proxy, node, client


async def closed(client):
    from websockets.exceptions import ConnectionClosed

    with pytest.raises(ConnectionClosed) as closed:
        await client.recv()
    return closed.value.rcvd.code


@pytest.mark.parametrize("last", [None, frames.Bye()])
@pytest.mark.usefixtures("at_once")
async def test_who_owes_us_and_goes(last):
    async with room() as (proxy, id, node, client):
        node.say(frames.Heartbeat(1.0, owes=[(id, 1)]), *([last] if last else []))
        await proxy.until(lambda: all(known.owes == [(id, 1)] for known in proxy.app.directory))
        node.close()
        assert await closed(client) == 1012


async def test_who_has_brought_it_may_go():
    async with room() as (proxy, id, node, _client):
        node.say(frames.Heartbeat(1.0, owes=[(id, 1)]), frames.Heartbeat(2.0, owes=[("another", 1)]), frames.Bye())
        await proxy.until(lambda: not len(proxy.app.directory))
        assert len(proxy.app.gateway.debts) == 1, "the other one has to be told"
        proxy.app.gateway.debts.tick(1e9)
        assert len(client_ids(proxy)) == 1


async def test_who_comes_back_and_brings_it():
    async with room() as (proxy, id, node, client):
        node.say(frames.Heartbeat(1.0, owes=[(id, 1)]))
        await proxy.until(lambda: all(known.owes for known in proxy.app.directory))
        node.close()
        await proxy.until(lambda: len(proxy.app.gateway.debts) == 1)
        with ScriptedNode(proxy.node) as again:
            again.hello = structs.replace(node.hello, owes=[(id, 1)])
            await again.join()
            debts = proxy.app.gateway.debts
            debts.tick(trio.current_time() + 100.0)
            assert len(debts) == 1, "and is waited for until then"
            again.say(frames.Effects(1, [frames.Broadcast(b"late", True)]))
            assert await client.recv() == "late"
            debts.tick(trio.current_time() + 200.0)
            assert (len(debts), len(client_ids(proxy))) == (0, 1)


async def test_a_proxy_that_was_away_listens_first_to_who_may_be_back():
    """The time that a debtor has is over, but ours was not: its hello may be in our socket."""
    async with room() as (proxy, id, node, _):
        node.say(frames.Heartbeat(1.0, owes=[(id, 1)]))
        await proxy.until(lambda: all(known.owes for known in proxy.app.directory))
        node.close()
        debts = proxy.app.gateway.debts
        await proxy.until(lambda: len(debts) == 1)
        now = trio.current_time() + 1000.0
        proxy.app.gateway.forgive(1000.0, now)
        debts.tick(now)
        assert len(debts) == 1
        assert len(client_ids(proxy)) == 1


@pytest.mark.parametrize("coordinator", [None, MemoryCoordinator()])
async def test_what_is_owed_is_not_looked_at_before_our_own_absence_is(coordinator, monkeypatch):
    """Whichever of its tasks is first when a proxy that stood still wakes up: that is random, so it is tried often."""
    done = []
    monkeypatch.setattr(Debts, "tick", lambda debts, now: done.append("looked"))
    monkeypatch.setattr(Debts, "awoke", lambda debts, seconds: done.append("awoke"))
    async with running(coordinator=coordinator, node={"heartbeat_timeout": 1.0}) as proxy:
        for _ in range(8):
            await proxy.until(lambda: done[-1:] == ["looked"])
            done.clear()
            time.sleep(1.0)  # noqa: ASYNC251 - all of them stand still
            await proxy.until(lambda: done)
            assert done[0] == "awoke"


@pytest.mark.usefixtures("at_once")
async def test_by_another_proxys_word():
    async with room() as (proxy, id, _node, client):
        debts = proxy.app.gateway.debts
        debts.told(
            "another",
            Owed(id, [LostRun("n", 7, 1, 1, 0.0, 1), LostRun("m", 3, 1, 2, 0.0, 1)], 2),
            proxy.app.reactor.now,
        )
        assert await closed(client) == 1012
        async with websocket(proxy):  # who comes later has missed nothing
            await proxy.until(lambda: len(client_ids(proxy)) == 1)
            debts.told("another", Owed(id, [LostRun("n", 7, 1, 1, 0.0, 1)], 1), proxy.app.reactor.now)
            debts.tick(1e9)
            assert len(debts) == 0
            assert len(client_ids(proxy)) == 1


async def test_who_came_after_its_death_has_missed_nothing():
    """As when a proxy is killed some moments after a node: its clients come to one that this node had not found yet."""
    async with room() as (proxy, id, _node, client):
        debts = proxy.app.gateway.debts
        debts.told("another", Owed(id, [LostRun("n", 7, 1, 1, 0.0, 1)], 1), trio.current_time())
        async with websocket(proxy) as later:
            await proxy.until(lambda: len(client_ids(proxy)) == 2)
            debts.tick(1e9)
            assert await closed(client) == 1012
            assert len(client_ids(proxy)) == 1
            await later.send("still there")


async def test_a_node_that_is_here_is_not_lost_whatever_others_say():
    async with room() as (proxy, id, node, _):
        proxy.app.gateway.debts.told(
            "another", Owed(id, [LostRun(node.hello.node, node.hello.incarnation, 1, 1, 0.0, 1)], 1), 0.0
        )
        proxy.app.gateway.debts.tick(1e9)
        assert len(client_ids(proxy)) == 1


async def test_many_are_closed_in_slices(monkeypatch):
    monkeypatch.setattr("holdfast.proxy.realtime.lanes.SLICE", 1)
    async with room() as (proxy, _, _node, first), websocket(proxy) as second, websocket(proxy) as third:
        await proxy.until(lambda: len(client_ids(proxy)) == 3)
        proxy.app.lanes.interrupt("n")
        proxy.app.reactor.settle()
        for client in (first, second, third):
            assert await closed(client) == 1012
        assert client_ids(proxy) == []


async def test_a_node_that_tells_of_too_many_requests_ends_its_session():
    """What is kept of it after its death is bounded so."""
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            requests = [("home", request, 1) for request in range(1000)]
            pending = [frames.Pending(f"p{number}", 0, requests) for number in range(4)]
            node.say(frames.Heartbeat(1.0, pending=pending))
            await node.take(frames.Heartbeat)
            node.say(frames.Heartbeat(2.0, pending=[*pending, frames.Pending("p4", 0, requests)]))
            assert "are pending" in (await node.take(frames.Refused)).reason
