"""Nodes of the library with several proxies: what clients hear, who is told of whom, the master, the state."""

from contextlib import asynccontextmanager

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from holdfast import Node
from holdfast.balancer.coordination.memory import MemoryCoordinator
from holdfast.balancer.directory import NodeState
from holdfast.node import links
from tests.harness import Proxy, client_ids, websocket
from tests.proxy.cluster.forwarder import Forwarder
from tests.proxy.cluster.proxies import Killable, cluster_of, id_of, ids, joined
from tests.redis_servers import free_port
from tests.waiting import until

QUICK = {
    "election": {"lease": 0.5},
    "node": {"heartbeat_interval": 0.1, "heartbeat_timeout": 2.0},
    "drain": {"spread": 0.0},
}


def a_node(**options):
    """Whoever says "join CHANNEL" is in it, whoever says "tell CHANNEL TEXT" has it told, before the reply."""
    node = Node("test", **options)
    node.opened, node.closed = [], []

    @node.on_request
    async def handle(request):
        action, channel, *text = request.payload.decode().split(" ", 2)
        if action == "join":
            await node.join(request.client, channel)
        elif action == "tell":
            await node.notify(text[0], channels=[channel], exclude=[request.client])
        elif action == "count":
            return str(await node.count(channel))
        return f"done {action}"

    node.on_open(lambda client: node.opened.append(client.id))
    node.on_close(lambda client: node.closed.append(client.id))
    return node


@asynccontextmanager
async def linked(proxies, *nodes):
    """These nodes, each ready at all of the proxies. They know the first one's address only."""
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.run, [proxies[0].node])
        await all_ready(proxies, len(nodes))
        yield nursery
        nursery.cancel_scope.cancel()


async def all_ready(proxies, count=1):
    for proxy in proxies:
        await proxy.until(lambda: proxy.app.directory.count()[NodeState.READY] == count, "all nodes to be ready")  # noqa: B023


async def ask(client, text):
    await client.send(text)
    return await client.recv()


async def killable(nursery, coordinator, **sections):
    proxy = Killable(coordinator, **QUICK, **sections)
    return proxy, Proxy(proxy.app, await nursery.start(proxy.run))


async def test_who_joins_has_what_the_others_have():
    """That it takes less than two seconds is the simulator's to say, where no machine is busy."""
    store = MemoryCoordinator()
    async with cluster_of(2, store, **QUICK) as proxies:
        async with linked(proxies, a_node()):
            async with joined(store, **QUICK) as third:
                assert third.app.directory.count()[NodeState.READY] == 1


async def test_clients_of_every_proxy_hear_before_the_reply():
    async with cluster_of(3, **QUICK) as proxies, linked(proxies, a_node()):
        async with websocket(proxies[0]) as one, websocket(proxies[1]) as two, websocket(proxies[2]) as three:
            for client in (one, two, three):
                await ask(client, "join room")
            heard = [proxy.counters.deliveries for proxy in proxies]
            for number in range(50):
                await ask(one, f"tell room {number}")
                assert [proxy.counters.deliveries for proxy in proxies] == [
                    heard[0], heard[1] + number + 1, heard[2] + number + 1
                ], "they have it when the reply is there"  # fmt: skip
            for client in (two, three):
                assert [await client.recv() for _ in range(50)] == [str(number) for number in range(50)]


async def test_a_proxy_without_anybody_in_the_channel_is_not_bothered():
    node = a_node()
    async with cluster_of(2, **QUICK) as proxies, linked(proxies, node):
        first, second = proxies
        async with websocket(first) as asking, websocket(first) as near, websocket(second) as far:
            await ask(near, "join room")
            await ask(asking, "tell room one")  # in vain at the second
            await until(lambda: len(second.app.mutes) == 1, "the channel to be muted")
            await ask(asking, "tell other two")  # and its answer is on the way with this, which the reply waits for
            received = second.app.effects._of[node.id].last
            for number in range(20):
                await ask(asking, f"tell room {number}")
            assert second.app.effects._of[node.id].last == received
            assert second.app.channels.join(*client_ids(second), "room")  # by nobody whom the node knows of
            second.app.reactor.settle()
            heard = second.counters.deliveries
            while second.counters.deliveries == heard:  # until the node has been told
                await ask(asking, "tell room all")
            # What was published since a heartbeat that is answered may have been for whoever has just joined.
            heard = [await far.recv()]
            while heard[-1] != "all":
                heard.append(await far.recv())
            assert heard == [*map(str, range(20)), "all"][-len(heard) :]
            assert [await near.recv() for _ in range(22)] == ["one", *map(str, range(20)), "all"]


async def test_a_node_counts_the_clients_of_all_proxies():
    async with cluster_of(2, **QUICK) as proxies, linked(proxies, a_node()):
        async with websocket(proxies[0]) as one, websocket(proxies[1]) as two:
            assert await ask(one, "count room") == "0"
            await ask(two, "join room")
            assert await ask(one, "count room") == "1", "it was asked"
            await ask(one, "join room")
            assert await ask(two, "count room") == "2"


async def test_each_client_is_told_as_opened_and_closed_once(nursery):
    """Though its proxy dies, is evicted, and another comes to its place."""
    coordinator, nodes = MemoryCoordinator(), [a_node(), a_node()]
    async with cluster_of(2, coordinator, **QUICK) as proxies:
        dying, third = await killable(nursery, coordinator)
        async with linked([*proxies, third], *nodes), websocket(proxies[0]), websocket(third) as lost:
            (stays,), (goes,) = client_ids(proxies[0]), client_ids(third)
            await until(lambda: all(set(node.opened) == {stays, goes} for node in nodes), "both to be opened")
            dying.kill()
            with pytest.raises(ConnectionClosed):
                await lost.recv()
            await until(lambda: len(ids(proxies[0])) == 2, "the third to be evicted")
            assert [node.closed for node in nodes] == [[], []], "evicted is not gone"
            await until(lambda: all(node.closed for node in nodes), "its client to be closed")
            async with joined(coordinator, **QUICK) as again, websocket(again):
                (new,) = client_ids(again)
                await until(lambda: all(new in node.opened for node in nodes), "the newcomer's client")
            await until(lambda: all(new in node.closed for node in nodes), "it to be closed")
            for node in nodes:
                assert sorted(node.opened) == sorted([stays, goes, new])
                assert node.closed == [goes, new]


async def test_a_new_process_at_its_place_proves_that_it_is_dead(nursery):
    """Then nobody waits for the grace."""
    coordinator, node = MemoryCoordinator(), a_node()
    async with cluster_of(2, coordinator, cluster={"fence_timeout": 60.0}, **QUICK) as proxies:
        dying, third = await killable(nursery, coordinator, cluster={"fence_timeout": 60.0})
        async with linked([*proxies, third], node), websocket(third):
            (goes,) = client_ids(third)
            await until(lambda: goes in node.opened, "it to be opened")
            dying.kill()
            await dying.ended.wait()
            sections = {key: value for key, value in QUICK.items() if key != "node"}
            at_its_place = {**QUICK["node"], "bind": (third.node,)}
            async with joined(coordinator, cluster={"fence_timeout": 60.0}, node=at_its_place, **sections):
                await until(lambda: node.closed, "it to be closed")


async def test_what_is_drained_at_one_proxy_is_drained_at_all():
    drained, stays = nodes = [a_node(), a_node()]
    async with cluster_of(2, **QUICK) as proxies, linked(proxies, *nodes), websocket(proxies[1]) as client:
        await proxies[0].until(lambda: proxies[0].app.steward.master[0], "a master")
        assert await proxies[0].app.control.drain_node(drained.id)
        for proxy in proxies:
            there = proxy.app.directory.nodes
            await proxy.until(lambda: there[drained.id].state is NodeState.DRAINING, "it to be drained")  # noqa: B023
            await proxy.until(lambda: proxy.app.steward.master[0] == stays.id, "the other to be master")  # noqa: B023
        handled = drained.statistics().handled
        for _ in range(10):
            await ask(client, "join room")
        assert drained.statistics().handled == handled


async def test_one_master_for_all_whoever_dies(nursery):
    """The keeper dies, then the master's process."""
    coordinator, acting, most = MemoryCoordinator(), set(), 0
    nodes = [a_node(), a_node()]

    def lead(node):
        async def act():
            nonlocal most
            acting.add(node.id)
            most = max(most, len(acting))
            try:
                await trio.sleep_forever()
            finally:
                acting.discard(node.id)

        node.on_master(act)

    for node in nodes:
        lead(node)
    dying, keeper = await killable(nursery, coordinator)
    async with cluster_of(2, coordinator, wait=False, **QUICK) as proxies:
        assert keeper.app.cluster.membership.is_keeper
        async with trio.open_nursery() as running:
            scopes = {}
            for node in nodes:
                scopes[node.id] = trio.CancelScope()

                async def run(node, *, task_status):
                    with scopes[node.id]:
                        await node.run([proxies[0].node], task_status=task_status)

                await running.start(run, node)
            await all_ready([keeper, *proxies], 2)
            await until(lambda: acting, "a master")
            first = set(acting)
            epoch = proxies[0].app.steward.master[1]
            dying.kill()
            await until(lambda: proxies[0].app.steward.master[1] > epoch, "a new epoch")
            await until(lambda: acting, "a master again")
            assert acting == first, "the same: only the keeper is another"
            assert [proxy.app.cluster.membership.is_keeper for proxy in proxies].count(True) == 1
            scopes[first.pop()].cancel()
            await until(lambda: not acting, "it to end")
            await until(lambda: acting, "the other to be master")
            running.cancel_scope.cancel()
    assert most == 1


async def test_the_state_outlives_the_keeper(nursery):
    """Whatever was under way when it died: each change is made, once, and all nodes have the same."""
    coordinator, one, two = MemoryCoordinator(), a_node(), a_node()
    dying, keeper = await killable(nursery, coordinator)
    async with cluster_of(2, coordinator, wait=False, **QUICK) as proxies:
        async with linked(proxies, one) as running:
            await all_ready([keeper])
            made = []

            async def change(group):
                for number in range(20):
                    await one.state.set(f"{group}/{number}", number)
                    made.append((group, number))

            async with trio.open_nursery() as changing:
                for group in "abc":
                    changing.start_soon(change, group)
                await until(lambda: len(made) > 20, "some of it")
                dying.kill()
                assert len(made) < 60
            await running.start(two.run, [proxies[1].node])
            expected = {f"{group}/{number}": number for group in "abc" for number in range(20)}
            await until(lambda: dict(two.state.items()) == expected, "the newcomer to have it all")
            await two.state.set("last", 1)
            await until(lambda: one.state.get("last") == 1, "it to come to the others")


async def test_a_node_without_a_way_to_a_proxy_is_linked_through_another_one(monkeypatch, nursery):
    """And directly, as soon as there is a way; nothing is lost, doubled or out of order meanwhile."""
    monkeypatch.setattr(links, "TUNNEL_DELAY", 0.05)
    coordinator, node = MemoryCoordinator(), a_node()
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    sections = {key: value for key, value in QUICK.items() if key != "node"}
    forwarder = Forwarder(endpoint)
    await nursery.start(forwarder.run)
    async with joined(coordinator, **QUICK) as near:
        at = {"router": forwarder.endpoint}
        async with joined(coordinator, node={**QUICK["node"], "bind": (endpoint,)}, cluster=at, **sections) as far:
            async with linked([near, far], node), websocket(near) as asking, websocket(far) as hearing:
                await ask(hearing, "join room")
                told = 0

                async def tell(count):
                    nonlocal told
                    for _ in range(count):
                        assert await ask(asking, f"tell room {told}") == "done tell"
                        told += 1

                await tell(5)
                forwarder.refuse_nodes(True)
                await tell(5)
                await near.until(lambda: near.app.runner.tunnels == 1, "a tunnel")
                await all_ready([far])
                await tell(5)
                forwarder.refuse_nodes(False)
                await near.until(lambda: near.app.runner.tunnels == 0, "the tunnel's end")
                await all_ready([far])
                await tell(5)
                assert [await hearing.recv() for _ in range(told)] == list(map(str, range(told)))
                assert id_of(far) in ids(near), "the proxies noticed nothing"
                assert (len(node.opened), node.closed) == (2, [])
