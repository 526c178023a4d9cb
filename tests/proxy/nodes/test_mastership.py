"""The master, through one proxy."""

import pytest
import trio

from holdfast.protocols.nodes import frames
from holdfast.protocols.peers.frames import Member, Record
from holdfast.proxy import app
from tests.harness import ScriptedNode, client_ids, running, websocket

QUICK = {"election": {"lease": 0.4}, "node": {"heartbeat_interval": 0.1, "heartbeat_timeout": 60.0}}


@pytest.fixture(autouse=True)
def early(monkeypatch):
    """The clock stands where it began, so epochs are small: 1 without a master, then 2 and so on."""
    monkeypatch.setattr(app, "wall_clock", lambda: 0)


def sections(**more):
    return {name: dict(keys) for name, keys in (QUICK | more).items()}


async def elected(*nodes):
    """The node that is master, and its epoch, once all have been told of one."""
    told = [await node.take(frames.Master) for node in nodes]
    while any(master.node == "" or master.epoch != told[0].epoch for master in told):
        told = [
            master if master.node and master.epoch == max(m.epoch for m in told) else await node.take(frames.Master)
            for node, master in zip(nodes, told, strict=True)
        ]
    return next((node for node in nodes if node.id == told[0].node), None), told[0].epoch


async def lease(node):
    node.say(frames.Heartbeat(123.0))
    while (answer := await node.take(frames.Heartbeat)).stamp != 123.0:
        pass
    return answer


async def test_the_longest_standing_node_is_elected_and_holds_a_lease():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            master, epoch = await elected(one, two)
            assert master is one
            assert epoch == 2
            assert (await lease(one)) == frames.Heartbeat(123.0, -1.0, 2, 0.4, ballot=1)
            assert (await lease(two)).lease == 0.0
            assert proxy.app.control.status().master.node == one.id


async def test_no_election_before_a_lease_of_a_former_run_can_have_ended():
    started = trio.current_time()
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await elected(node)
            assert trio.current_time() - started > 0.4


async def test_successor_waits_for_the_lease_of_a_killed_master():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            await lease(one)
            leased = trio.current_time()
            one.close()
            await proxy.until(lambda: proxy.app.steward.master == ("", 2), "it to be missed")
            assert await two.take(frames.Master) == frames.Master(two.id, 3)
            assert trio.current_time() - leased > 0.4


@pytest.mark.parametrize("farewell", [frames.Drain(), frames.Bye()])
async def test_successor_of_a_master_that_resigns_need_not_wait(farewell):
    async with running(**sections(election={"lease": 3.0}) | {}) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            await lease(one)
            one.say(farewell)
            with trio.fail_after(2.0):
                while (await two.take(frames.Master)).node != two.id:
                    pass


async def test_a_higher_epoch_that_a_node_has_seen_is_passed():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one:
            await one.join()
            await elected(one)
            with ScriptedNode(proxy.node, epoch=41) as two:
                await two.join()
                while (master := await two.take(frames.Master)).epoch < 42:
                    pass
                assert master == frames.Master(one.id, 42)


async def test_likewise_one_that_it_has_seen_since_its_hello():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one:
            await one.join()
            await elected(one)
            one.say(frames.Heartbeat(5.0, epoch=41))
            while (master := await one.take(frames.Master)).epoch < 42:
                pass
            assert master == frames.Master(one.id, 42)


@pytest.mark.parametrize("epoch", [2**53 - 1, 2**63])
async def test_an_epoch_that_can_not_be_this_clusters_ends_the_session(epoch):
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one:
            await one.join()
            _, before = await elected(one)
            one.say(frames.Heartbeat(5.0, epoch=epoch))
            assert (await one.take(frames.Refused)).reason.startswith(f"an epoch near {before} is wanted")
            assert proxy.app.steward.epoch == before


async def test_effects_as_master_count_only_from_the_master_in_its_epoch():
    async with running(**sections()) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)

            def shout(node, epoch, what):
                node.do(frames.AsMaster(epoch, [frames.Broadcast(what, True)]))

            shout(two, 2, b"usurper")
            shout(one, 0, b"no epoch")
            shout(one, 3, b"future")
            await proxy.until(lambda: proxy.counters.stale_effects == 3)
            shout(one, 2, b"master")
            assert await client.recv() == "master"


async def test_clients_are_told_once_although_nodes_change():
    async with running(**sections()) as proxy, websocket(proxy):
        (client,) = client_ids(proxy)
        for _ in range(3):
            with ScriptedNode(proxy.node) as node:
                await node.join()
                told = [c.id for f in node.frames if isinstance(f, frames.Clients) for c in f.clients]
                assert told == [client]
                assert not [f for f in node.frames if isinstance(f, frames.Changes)]


# --- one proxy of several: the record comes from elsewhere ------------------------------------------------------------


def follow(proxy, version, *, keeper="other", master=None, alone=False, carried=True):
    """The store has this record now: with us, and one other proxy that nobody has heard of yet."""
    cluster = proxy.app.cluster
    members = (cluster.me,) if alone else (Member("other", "tcp://10.0.0.9:7510", ""), cluster.me)
    record = Record(
        version, version, master.id if master else "", master.hello.incarnation if master else 0,
        keeper or cluster.me.proxy, version, members, tuple(m.proxy for m in members), version if carried else 0,
    )  # fmt: skip
    cluster.stored(record, {}, trio.current_time(), trio.current_time())
    proxy.app.reactor.settle()


async def test_a_proxy_that_is_not_keeper_follows_and_grants_for_itself():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            follow(proxy, 9, master=two)
            assert await two.take(frames.Master) == frames.Master(two.id, 9, "other")
            assert (await lease(one)).lease == 0.0
            assert (await lease(two)).epoch == 9
            two.close()
            await proxy.until(lambda: len(proxy.app.directory) == 1)
            assert (await lease(one)).lease == 0.0
            assert proxy.app.steward.master == (two.id, 9), "others may have it; who is master is the keeper's to say"


async def test_a_master_that_is_not_established_is_granted_nothing():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one:
            await one.join()
            await elected(one)
            follow(proxy, 9, master=one, carried=False)
            await one.take(frames.Master)
            assert (await lease(one)) == frames.Heartbeat(123.0, -1.0, 9, 0.0, ballot=9, quorum=2)


async def test_another_process_of_the_masters_id_is_not_the_master():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one:
            with ScriptedNode(proxy.node, node=one.id, incarnation=one.hello.incarnation + 1) as twin:
                await twin.join()
                await elected(twin)
                follow(proxy, 9, master=one)
                await twin.take(frames.Master)
                assert (await lease(twin)) == frames.Heartbeat(123.0, -1.0, 9, 0.0, ballot=9, quorum=2)


async def test_in_a_cluster_the_news_of_an_election_may_come_after_what_the_master_does():
    async with running(**sections()) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as one:
            await one.join()
            await elected(one)
            follow(proxy, 9, master=one)
            old, new = (frames.Broadcast(text, True) for text in (b"of a former epoch", b"of the next one"))
            one.do(frames.AsMaster(8, [old]), frames.AsMaster(10, [new]))
            assert await client.recv() == "of the next one"
            assert proxy.counters.stale_effects == 1


async def test_nothing_counts_of_an_older_epoch_than_was_taken_whatever_the_record_says():
    async with running(**sections()) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            follow(proxy, 9, master=one)
            two.do(frames.AsMaster(10, [frames.Broadcast(b"of the next one", True)]))
            assert await client.recv() == "of the next one"
            one.do(frames.AsMaster(9, [frames.Broadcast(b"of the former one", True)]))
            await proxy.until(lambda: proxy.counters.stale_effects == 1)
            two.do(frames.AsMaster(2**60, [frames.Broadcast(b"of another cluster", True)]))
            await proxy.until(lambda: proxy.counters.stale_effects == 2)
            two.do(frames.AsMaster(10, [frames.Broadcast(b"of the next one still", True)]))
            assert await client.recv() == "of the next one still"


async def test_the_keeper_without_a_majority_elects_nobody():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one:
            await one.join()
            await elected(one)
            follow(proxy, 9, keeper="")
            assert await one.take(frames.Master) == frames.Master("", 9)
            await trio.sleep(0.6)  # longer than a lease: nothing must happen
            assert proxy.app.steward.master == ("", 9)
            follow(proxy, 10, keeper="", alone=True)
            while (master := await one.take(frames.Master)).node == "":
                pass
            assert master.node == one.id
            assert master.epoch > 10
