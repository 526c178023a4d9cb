"""Proxies of one process as a cluster: real sockets, and a store that they share."""

import os
import signal
from contextlib import AsyncExitStack

import pytest
import structlog
import trio
from msgspec.structs import replace
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus

from holdfast.balancer.cluster.record import from_store
from holdfast.balancer.coordination.base import CoordinationError
from holdfast.balancer.coordination.memory import MemoryCoordinator
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.app import App, Phase
from holdfast.proxy.cluster import names, runner
from tests.harness import ScriptedNode, configure, websocket
from tests.proxy.cluster.proxies import QUICK, Killable, cluster_of, id_of, ids, joined
from tests.waiting import PATIENCE, until


class Unreliable(MemoryCoordinator):
    """A store that can be out of reach."""

    is_down = False

    async def master(self):
        if self.is_down:
            raise CoordinationError("it is down")
        return await super().master()

    async def swap_master(self, expected, record):
        if self.is_down:
            raise CoordinationError("it is down")
        return await super().swap_master(expected, record)


def failing(why):
    """Nurseries put it into groups."""
    return pytest.RaisesGroup(pytest.RaisesExc(HoldfastError, match=f"{why}$"), flatten_subgroups=True)


async def test_they_join_and_hear_each_other():
    async with cluster_of(3) as proxies:
        for proxy in proxies:
            cluster = proxy.app.runner.cluster
            await proxy.until(lambda: len(cluster.membership.hears(trio.current_time())) == 3, "all to be heard")  # noqa: B023
            assert proxy.app.runner.trouble() == ""
            assert proxy.app.phase is Phase.SERVING
        assert len({proxy.app.control.cluster().version for proxy in proxies}) == 1
        assert [proxy.app.cluster.membership.is_keeper for proxy in proxies] == [True, False, False]


async def test_one_that_dies_is_evicted_and_its_connections_are_closed(nursery):
    coordinator = MemoryCoordinator()
    async with cluster_of(2, coordinator) as proxies:
        before = len(os.listdir("/proc/self/fd"))
        third = Killable(coordinator)
        await nursery.start(third.run)
        for proxy in proxies:
            await proxy.until(lambda: len(ids(proxy)) == 3, "the third to be a member")  # noqa: B023
        third.kill()
        for proxy in proxies:
            await proxy.until(lambda: len(ids(proxy)) == 2, "the third to be evicted")  # noqa: B023
            await proxy.until(lambda: len(proxy.app.runner.cluster.peers) == 1, "the third to be hung up on")  # noqa: B023
        await proxies[0].until(lambda: len(os.listdir("/proc/self/fd")) <= before, "its descriptors to be closed")


async def test_one_that_leaves_is_gone_at_once(nursery):
    coordinator = MemoryCoordinator()
    async with cluster_of(2, coordinator, cluster={"heartbeat_timeout": 5.0}) as proxies:
        assert len(await coordinator.cards()) == 2
        third = Killable(coordinator, cluster={"heartbeat_timeout": 5.0})
        await nursery.start(third.run)
        for proxy in proxies:
            await proxy.until(lambda: len(ids(proxy)) == 3, "the third to be a member")  # noqa: B023
        began = trio.current_time()
        await third.app.runner.leave()
        third.kill()
        for proxy in proxies:
            await proxy.until(lambda: len(ids(proxy)) == 2, "the third to be gone")  # noqa: B023
        assert trio.current_time() - began < 2.0
        assert set(await coordinator.cards()) == {id_of(proxy) for proxy in proxies}


async def test_the_pair_survives_either(nursery):
    coordinator = MemoryCoordinator()
    first = Killable(coordinator)
    await nursery.start(first.run)
    async with joined(coordinator) as second:
        await second.until(lambda: second.app.runner.cluster.membership.is_firm, "both to know")
        first.kill()
        await second.until(lambda: ids(second) == {id_of(second)}, "the first to be evicted")
        assert second.app.cluster.membership.is_keeper


async def test_the_master_is_the_same_for_all():
    async with cluster_of(2, election={"lease": 0.2}) as proxies:
        first, second = proxies
        with ScriptedNode(first.node) as here, ScriptedNode(second.node, node=here.id) as there:
            there.hello = here.hello
            await here.join()
            await there.join(keeper=False)
            await first.until(lambda: first.app.steward.master[0] == here.id, "a master")
            await second.until(lambda: second.app.steward.master == first.app.steward.master, "the other to know")


async def test_counts_of_all_proxies():
    async with cluster_of(2) as proxies:
        first, second = proxies
        async with websocket(first), websocket(second), websocket(second):
            for proxy in proxies:
                for connection in list(proxy.app.clients.connections.values()):
                    proxy.app.channels.join(connection.id, "kitchen")
            expected = {id_of(first): 1, id_of(second): 2}
            for proxy in proxies:
                assert await proxy.app.control.count("kitchen") == expected
        for proxy in proxies:
            assert await proxy.app.control.count("hall") == {}


async def test_a_count_is_of_all_proxies_or_none(monkeypatch):
    """Too much is being asked: our own members alone would be taken for all."""
    monkeypatch.setattr("holdfast.balancer.cluster.counting.LIMIT", 0)
    async with cluster_of(2) as (first, _), websocket(first):
        [id] = first.app.clients.connections
        first.app.channels.join(id, "kitchen")
        assert await first.app.control.count("kitchen") is None


async def test_a_client_is_kicked_wherever_it_is():
    async with cluster_of(2) as (first, second):
        async with websocket(second) as client:
            await second.until(lambda: len(second.app.registry), "it to be known")
            [id] = second.app.clients.connections
            assert not await first.app.control.kick(id + 1, "nobody")
            assert not await first.app.control.kick(1, "nobody's")
            with structlog.testing.capture_logs() as logs:
                while await first.app.control.kick(id, "spam") is None:  # the other one has not answered in time
                    pass
            with pytest.raises(ConnectionClosed, match="spam"):
                await client.recv()
            assert [line["client"] for line in logs if line["event"] == "client_kicked"] == [f"{id:016x}"]
            assert not await first.app.control.kick(id, "again")


async def test_a_client_of_a_silent_proxy_is_not_said_to_be_gone(nursery, monkeypatch):
    monkeypatch.setattr("holdfast.proxy.cluster.names.is_free", lambda proxy: False)
    store = MemoryCoordinator()
    async with joined(store) as first:
        second, third = Killable(store), Killable(store)
        for proxy in (second, third):
            await nursery.start(proxy.run)
        await first.until(lambda: len(ids(first)) == 3, "all to be members")
        for proxy in (second, third):
            proxy.kill()
        await first.until(lambda: first.app.runner.trouble(), "them to be missed")
        prefix = second.app.runner.cluster.me.prefix
        assert await first.app.control.kick(prefix << 32 | 1, "spam") is None


async def test_only_a_long_wait_for_the_state_is_a_line():
    """Each first start of several has a short one."""
    async with cluster_of(1) as [proxy]:
        runner, begun = proxy.app.runner, trio.current_time()
        runner.cluster.replication.waits_for = ["x"]
        timeout = runner.cluster.membership.times.heartbeat_timeout
        with structlog.testing.capture_logs() as logs, pytest.MonkeyPatch.context() as patch:
            for after, lines in ((0.0, 0), (timeout / 2, 0), (timeout * 1.1, 1), (timeout * 5, 1)):
                patch.setattr(trio, "current_time", lambda after=after: begun + after)
                runner._say_what_we_wait_for()
                assert [line["event"] for line in logs].count("waits_for_state") == lines


async def test_cut_off_it_sends_its_clients_away_and_takes_none(nursery, monkeypatch):
    monkeypatch.setattr("holdfast.proxy.cluster.names.is_free", lambda proxy: False)  # as if they were on other hosts
    store = MemoryCoordinator()
    async with joined(store, drain={"spread": 0.0}) as proxy, AsyncExitStack() as clients:
        others = [Killable(store, drain={"spread": 0.0}) for _ in range(2)]
        for other in others:
            await nursery.start(other.run)
        await proxy.until(lambda: len(ids(proxy)) == 3, "all to be members")
        client = await clients.enter_async_context(websocket(proxy))
        for other in others:
            other.kill()
        await proxy.until(lambda: proxy.app.runner.trouble() == "fenced: hears 1 of 3 proxies", "it to be fenced")
        assert proxy.app.control.ready() == (False, "fenced: hears 1 of 3 proxies")
        with pytest.raises(ConnectionClosed, match="cut off from the other proxies"):
            await client.recv()
        with pytest.raises(InvalidStatus, match="HTTP 503"):
            await clients.enter_async_context(websocket(proxy))
        assert len(ids(proxy)) == 3  # a minority evicts nobody
        proxy.app.runner.reset()  # the operator says that they are dead
        await proxy.until(lambda: ids(proxy) == {id_of(proxy)}, "it to go on")
        await proxy.until(lambda: proxy.app.clients.refuses is None, "clients to be taken")
        await clients.enter_async_context(websocket(proxy))


async def test_a_store_that_is_away_changes_nothing():
    store = Unreliable()
    async with cluster_of(2, store) as proxies:
        version = proxies[0].app.control.cluster().version
        store.is_down = True
        errors = proxies[0].app.cluster.counters.store_errors
        await proxies[0].until(lambda: proxies[0].app.cluster.counters.store_errors > errors + 2, "it to be missed")
        store.is_down = False
        for proxy in proxies:
            assert proxy.app.runner.trouble() == ""
            assert proxy.app.control.cluster().version == version


async def test_nobody_is_elected_while_the_store_is_away():
    store = Unreliable()
    async with cluster_of(1, store, election={"lease": 0.2}) as [proxy]:
        store.is_down = True
        with ScriptedNode(proxy.node) as node:
            await node.join()
            steward, counters = proxy.app.steward, proxy.app.runner.cluster.counters
            errors = counters.store_errors
            await proxy.until(lambda: counters.store_errors > errors + 3, "it to be missed")
            assert steward.master == ("", proxy.app.runner.cluster.membership.record.epoch)
            store.is_down = False
            await proxy.until(lambda: steward.master[0] == node.id, "a master")


async def test_it_leaves_without_the_store_too():
    store = Unreliable()
    async with cluster_of(2, store) as (proxy, other):
        store.is_down = True
        await proxy.app.runner.leave()
        membership = other.app.runner.cluster.membership
        await other.until(lambda: len(membership.peers(trio.current_time())) == 1, "nodes to be told that it has gone")
        assert len(ids(other)) == 2, "which nobody could write down"


async def test_who_can_not_join_says_so():
    store = Unreliable()
    store.is_down = True
    app = App(configure(cluster={**QUICK, "retry_join": 2}), store)
    with trio.fail_after(PATIENCE):
        with failing("attempts: 2; it is down"):
            await app.run(lambda bound: pytest.fail("it serves"))


async def test_newcomers_join_one_after_another(nursery, monkeypatch):
    """The store takes one write for each version of the record, and who was too late tries again."""
    monkeypatch.setattr(runner, "wall_clock", lambda: 0)
    store = MemoryCoordinator()
    proxies = [Killable(store) for _ in range(3)]
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as joining:
            for proxy in proxies:
                joining.start_soon(nursery.start, proxy.run)
    records = [proxy.app.runner.cluster.membership.record for proxy in proxies]
    assert max(len(record.members) for record in records) == 3
    assert max(record.version for record in records) == 3, "nobody has overwritten anybody"


async def test_other_settings_are_refused_with_one_line():
    store = MemoryCoordinator()
    async with joined(store) as proxy:
        app = App(configure(cluster=dict(QUICK), election={"lease": 7.0}), store)
        with trio.fail_after(PATIENCE):
            with failing("election.lease is 7 here and 2 in the cluster: all proxies must have the same"):
                await app.run(lambda bound: pytest.fail("it serves"))
        assert ids(proxy) == {id_of(proxy)}


async def test_one_that_advertises_a_living_proxys_address_ends_with_one_line():
    store = MemoryCoordinator()
    async with joined(store) as proxy:
        router = proxy.app.runner.cluster.me.router
        app = App(configure(cluster={**QUICK, "router": router}), store)
        with trio.fail_after(PATIENCE):
            with failing("cluster.router must be another address for each proxy"):
                await app.run(lambda bound: pytest.fail("it serves"))
        assert ids(proxy) == {id_of(proxy)}


async def test_an_emptied_store_is_not_founded_upon_while_a_node_knows_better(nursery):
    """The proxies of before may live somewhere: the newcomer says what it waits for, until the operator has a word."""
    store = MemoryCoordinator()
    app = App(configure(cluster={**QUICK, "retry_join": 1000}), store)
    serving = trio.Event()
    nursery.start_soon(app.run, lambda bound: serving.set())
    with trio.fail_after(PATIENCE):
        while app.phase is not Phase.JOINING:  # noqa: ASYNC110 - the phase sets no event
            await trio.sleep(0.001)
        with ScriptedNode(app.runner.cluster.me.router, epoch=41) as node:
            node.say(node.hello)
            while "a node has seen epoch 41" not in app.control.ready()[1]:  # noqa: ASYNC110 - no event tells
                await trio.sleep(0.01)
            await trio.sleep(1.0)  # nothing must happen
            assert not serving.is_set()
            app.runner.reset()
            await serving.wait()
    assert app.runner.cluster.membership.record.version > 41


async def test_another_token_is_another_cluster():
    """They share a store by mistake: the second reaches the first, and neither believes the other."""
    store = MemoryCoordinator()
    async with joined(store, node={"token": "one"}) as proxy:
        app = App(configure(cluster={**QUICK, "retry_join": 1}, node={"token": "other"}), store)
        with trio.fail_after(PATIENCE):
            with failing("attempts: 1; waits to hear 1 of 1 members.* another node.token, or another release"):
                await app.run(lambda bound: pytest.fail("it serves"))
        assert ids(proxy) == {id_of(proxy)}
        assert proxy.app.cluster.counters.garbled > 0


async def test_both_sides_log_why_one_does_not_come_in(nursery):
    store = MemoryCoordinator()
    with structlog.testing.capture_logs() as logs:
        async with joined(store, node={"token": "one"}) as proxy:
            newcomer = Killable(store, cluster={"retry_join": 1000}, node={"token": "other"})
            nursery.start_soon(newcomer.app.run, lambda bound: pytest.fail("it serves"))

            def lines(event):
                return [line for line in logs if line["event"] == event and "another node.token" in line["why"]]

            await proxy.until(lambda: lines("waits_to_join") and lines("proxy_not_heard"), "both to say it")
            [line] = lines("proxy_not_heard")
            assert (line["proxy"], line["router"]) == (id_of(newcomer), newcomer.app.runner.cluster.me.router)
            nursery.cancel_scope.cancel()


async def test_admin_serves_while_it_joins(nursery):
    store = Unreliable()
    store.is_down = True
    app = App(configure(cluster={**QUICK, "retry_join": 1000}), store)
    serving = trio.Event()
    nursery.start_soon(app.run, lambda bound: serving.set())
    with trio.fail_after(PATIENCE):
        while app.phase is not Phase.JOINING:  # noqa: ASYNC110 - the phase sets no event
            await trio.sleep(0.001)
    assert app.control.ready() == (False, "joining")
    store.is_down = False
    with trio.fail_after(PATIENCE):
        await serving.wait()
    assert app.runner.trouble() == ""


@pytest.mark.parametrize("count", [1, 3])
async def test_all_of_one_host_are_killed_and_one_begins_elsewhere(nursery, count):
    """Nobody is at their addresses, and no time proves that they are dead: that they have no names any more does."""
    store = MemoryCoordinator()
    dead = [Killable(store) for _ in range(count)]
    for proxy in dead:
        await nursery.start(proxy.run)
    for proxy in dead:
        proxy.kill()
    async with joined(store, cluster={"retry_join": 1000}) as proxy:
        assert ids(proxy) == {id_of(proxy)}


async def test_who_is_left_of_one_host_goes_on_when_more_than_half_have_died(nursery):
    store = MemoryCoordinator()
    async with joined(store) as proxy:
        dead = [Killable(store) for _ in range(2)]
        for one in dead:
            await nursery.start(one.run)
        await proxy.until(lambda: len(ids(proxy)) == 3, "all to be members")
        for one in dead:
            one.kill()
        await proxy.until(lambda: ids(proxy) == {id_of(proxy)}, "it to be alone")
        await proxy.until(lambda: proxy.app.runner.trouble() == "", "it to be whole")


async def test_a_signal_ends_its_joining(nursery, monkeypatch):
    """Another proxy is a member and can't be reached, and nothing proves its death."""
    store = MemoryCoordinator()
    dead = Killable(store)
    await nursery.start(dead.run)
    dead.kill()
    monkeypatch.setattr(names, "is_free", lambda proxy: False)
    app = App(configure(cluster=dict(QUICK)), store)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as ends:
            ends.start_soon(app.run, lambda bound: pytest.fail("it serves"))
            while app.phase is not Phase.JOINING or len(await store.cards()) != 2:  # noqa: ASYNC110 - no event tells
                await trio.sleep(0.001)
            os.kill(os.getpid(), signal.SIGTERM)
    assert app.runner.cluster.me.proxy not in await store.cards()


async def test_a_signal_takes_it_out_of_the_cluster():
    store = MemoryCoordinator()
    with trio.fail_after(PATIENCE):
        await App(configure(cluster=dict(QUICK)), store).run(lambda bound: os.kill(os.getpid(), signal.SIGTERM))
    assert await store.cards() == {}
    assert from_store(await store.master()).members == ()


async def test_who_leaves_is_not_evicted_and_who_dies_is(nursery):
    store = MemoryCoordinator()
    proxies = [Killable(store) for _ in range(3)]
    with trio.fail_after(PATIENCE), capture_logs() as lines:
        for proxy in proxies:
            await nursery.start(proxy.run)
        first, leaves, dies = proxies
        await until(lambda: len(first.app.runner.cluster.membership.record.ids) == 3)
        counters = first.app.runner.cluster.counters
        await leaves.app.runner.leave()
        await until(lambda: len(first.app.runner.cluster.membership.record.ids) == 2)
        assert counters.evictions == 0
        dead = dies.app.runner.cluster.me.proxy
        dies.kill()
        await until(lambda: len(first.app.runner.cluster.membership.record.ids) == 1)
        assert counters.evictions == 1
        runner = first.app.runner
        former = runner.cluster.membership.record
        runner.cluster.membership.record = replace(former, members=())  # as the others' record may say at last
        runner._log(former, runner.cluster.membership.record)
        told = {(line["proxy"], line["why"]) for line in lines if line["event"] == "member_evicted"}
        assert told == {(dead, "it was not heard here"), (runner.cluster.me.proxy, "others did not hear us")}
        nursery.cancel_scope.cancel()
