"""The nodes' state as members hold it: real proxies, real nodes, and keepers that die."""

import pytest
import trio

from holdfast import Node, StateRefused
from holdfast.balancer.coordination.memory import MemoryCoordinator
from tests.harness import client_ids, websocket
from tests.proxy.cluster.proxies import Killable, cluster_of, ids, joined

SECTIONS = {"node": {"heartbeat_interval": 0.1, "heartbeat_timeout": 2.0}, "drain": {"spread": 0.0}}


async def all_hold(proxies, node):
    """What the node has, at one position."""

    def is_so():
        copies = [proxy.app.keeper.copy for proxy in proxies]
        return all(copy.items.keys() == set(node.state) for copy in copies) and all(
            (copy.position, copy.items) == (copies[0].position, copies[0].items) for copy in copies
        )

    await proxies[0].until(is_so, "all to hold what the node has")


async def test_all_members_hold_what_was_set_and_who_joins_gets_it(nursery):
    store = MemoryCoordinator()
    async with cluster_of(2, store, **SECTIONS) as proxies:
        node = Node("test")
        await nursery.start(node.run, [proxies[1].node])
        for number in range(300):
            await node.state.set(f"key {number}", "x" * 1000)
        await all_hold(proxies, node)
        async with joined(store, **SECTIONS) as third:
            await all_hold([*proxies, third], node)
            assert third.app.cluster.replication.counters.copies == 1
            await node.state.set("one more", 1)
            await all_hold([*proxies, third], node)
        nursery.cancel_scope.cancel()


async def test_limits_may_differ_and_the_keepers_count(nursery):
    """Settings are changed proxy by proxy. What is acknowledged is everybody's, whatever their own limits would be."""
    store = MemoryCoordinator()
    keeper = Killable(store, **SECTIONS)
    await nursery.start(keeper.run)
    node = Node("test")
    async with joined(store, **SECTIONS | {"state": {"max_keys": 2, "max_bytes": 100}}) as small:
        await nursery.start(node.run, [small.node])
        for number in range(20):
            await node.state.set(f"key {number}", "x" * 100)
        assert keeper.app.cluster.membership.is_keeper
        keeper.kill()
        await small.until(lambda: small.app.cluster.membership.is_keeper, "the other to be keeper")
        with pytest.raises(StateRefused, match="at most 2 keys"):
            await node.state.set("one more", 1)
        await node.state.set("key 0", "y" * 100)
        await node.state.delete("key 1")
        async with joined(store, **SECTIONS) as third:
            await all_hold([small, third], node)
            assert len(node.state) == 19
        nursery.cancel_scope.cancel()


async def test_who_joins_bears_what_is_above_its_own_limits(nursery):
    """It took no page of it, and no change was acknowledged any more."""
    store = MemoryCoordinator()
    async with joined(store, **SECTIONS) as keeper:
        node = Node("test")
        await nursery.start(node.run, [keeper.node])
        for number in range(5):
            await node.state.set(f"key {number}", number)
        async with joined(store, **SECTIONS | {"state": {"max_keys": 2}}) as small:
            await small.until(lambda: len(ids(keeper)) == 2, "it to be a member")
            await node.state.set("one more", 1)
            await all_hold([keeper, small], node)
        nursery.cancel_scope.cancel()


async def test_what_was_acknowledged_survives_every_keeper(nursery):
    """Faults 3 and 4: writers go on while one keeper after the other is killed; the counter ends exact."""
    store = MemoryCoordinator()
    keepers = [Killable(store, **SECTIONS) for _ in range(2)]
    for keeper in keepers:
        await nursery.start(keeper.run)
    async with cluster_of(2, store, wait=False, **SECTIONS) as lasting:
        nodes = [Node("test") for _ in range(2)]
        for node in nodes:
            await nursery.start(node.run, [lasting[0].node])
        done = {"one": 0, "two": 0}
        is_over = False

        async def write(node, name):
            while not is_over:
                await node.state.update("counter", lambda value: value + 1, default=0)
                await node.state.set(name, done[name] + 1)
                done[name] += 1

        async with trio.open_nursery() as writing:
            for node, name in zip(nodes, done, strict=True):
                writing.start_soon(write, node, name)
            for keeper in keepers:
                before = dict(done)
                await lasting[0].until(lambda: all(done[name] > before[name] for name in done), "writing")  # noqa: B023
                assert keeper.app.cluster.membership.is_keeper
                keeper.kill()
                await lasting[0].until(lambda: id_of_app(keeper) not in ids(lasting[0]), "it to be evicted")  # noqa: B023
            before = dict(done)
            await lasting[0].until(lambda: all(done[name] > before[name] for name in done), "writing again")
            is_over = True
        total = sum(done.values())
        for node in nodes:
            # What the other one has set is here a moment later than there.
            await lasting[0].until(lambda: {name: node.state.get(name) for name in done} == done, "all")  # noqa: B023
            assert node.state["counter"] == total
        await all_hold(lasting, nodes[0])
        nursery.cancel_scope.cancel()


def id_of_app(killable):
    return killable.app.cluster.me.proxy


async def test_the_keys_of_another_proxys_client_end_with_it(nursery):
    async with cluster_of(2, **SECTIONS) as (keeper, other):
        assert keeper.app.cluster.membership.is_keeper
        node = Node("test")
        await nursery.start(node.run, [keeper.node])
        async with websocket(other):
            await other.until(lambda: len(client_ids(other)) == 1, "the client")
            [client] = client_ids(other)
            await node.state.set("its", 1, owner=client)
            await node.state.set("else", 1)
            await keeper.until(lambda: not keeper.app.cluster.owners._due, "the owner to be asked about")
            assert "its" in node.state
        await keeper.until(lambda: "its" not in node.state, "the key to go with the client")
        assert "else" in node.state
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("place", [0, 1], ids=["of the keeper", "of another"])
async def test_an_owner_that_has_just_gone_is_the_same_whichever_proxy_it_was_of(nursery, place):
    async with cluster_of(2, **SECTIONS) as proxies:
        keeper, its_proxy = proxies[0], proxies[place]
        node = Node("test")
        await nursery.start(node.run, [keeper.node])
        async with websocket(its_proxy):
            await its_proxy.until(lambda: len(client_ids(its_proxy)) == 1, "the client")
            [client] = client_ids(its_proxy)
        await its_proxy.until(lambda: not client_ids(its_proxy), "it to go")
        await node.state.set("its", 1, owner=client)
        await keeper.until(lambda: "its" not in node.state, "the key to go as well")
        nursery.cancel_scope.cancel()


async def test_the_keys_of_a_dead_proxys_clients_end(nursery):
    store = MemoryCoordinator()
    async with cluster_of(2, store, **SECTIONS) as (keeper, _):
        node = Node("test")
        await nursery.start(node.run, [keeper.node])
        third = Killable(store, **SECTIONS)
        await nursery.start(third.run)
        client = third.app.cluster.me.prefix << 32 | 7
        await node.state.set("its", 1, owner=client)  # of a client that its proxy does not know
        await keeper.until(lambda: "its" not in node.state, "the proxy to say that it is not there")
        nursery.cancel_scope.cancel()
