"""The master and the replicated state, through one proxy."""

import pytest
import trio

from protocols.nodes import frames
from protocols.peers.frames import Member, Record
from tests.harness import ScriptedNode, client_ids, running, websocket

QUICK = {"election": {"lease": 0.4}, "node": {"heartbeat_interval": 0.1, "heartbeat_timeout": 60.0}}


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
            assert epoch == 1
            assert (await lease(one)) == frames.Heartbeat(123.0, -1.0, 1, 0.4)
            assert (await lease(two)).lease == 0.0
            assert proxy.app.control.status().master.node == one.id


async def test_no_election_before_a_lease_of_a_former_run_can_have_ended():
    async with running(**sections()) as proxy:
        started = trio.current_time()
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await node.take(frames.Master)
            assert trio.current_time() - started > 0.35


async def test_successor_waits_for_the_lease_of_a_killed_master():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            await lease(one)
            leased = trio.current_time()
            one.close()
            vacant = await two.take(frames.Master)
            assert vacant == frames.Master("", 1)
            assert await two.take(frames.Master) == frames.Master(two.id, 2)
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


async def test_effects_as_master_count_only_from_the_master_in_its_epoch():
    async with running(**sections()) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)

            def shout(node, epoch, what):
                node.say(frames.AsMaster(epoch, [frames.Broadcast(what, True)]))

            shout(two, 1, b"usurper")
            shout(one, 0, b"no epoch")
            shout(one, 2, b"future")
            await proxy.until(lambda: proxy.counters.stale_effects == 3)
            shout(one, 1, b"master")
            assert await client.recv() == "master"


async def test_state_is_ordered_by_the_master_and_relayed_to_all():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            two.say(frames.Propose(1, "key", b"value"))
            proposed = await one.take(frames.Proposed)
            assert proposed == frames.Proposed(two.id, 1, "key", b"value")
            entry = frames.Entry(1, 1, two.id, 1, "key", b"value")
            one.say(entry)
            assert await one.take(frames.Entry) == entry
            assert await two.take(frames.Entry) == entry
            with ScriptedNode(proxy.node) as three:
                await three.join()
                (page,) = [frame for frame in three.frames if isinstance(frame, frames.State)]
                assert page == frames.State(1, 1, [frames.StateItem("key", b"value")], True)


async def test_an_entry_of_a_node_that_is_not_master_leaves_no_trace():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            two.say(frames.Entry(1, 1, two.id, 0, "key", None))
            await proxy.until(lambda: proxy.counters.stale_entries == 1)
            assert proxy.app.steward._state.position == (0, 0)


async def test_proposals_outlive_the_master_that_did_not_order_them():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            two.say(frames.Propose(7, "key", b"value"))
            await one.take(frames.Proposed)
            one.close()
            assert await two.take(frames.Proposed) == frames.Proposed(two.id, 7, "key", b"value")
            two.say(frames.Entry(2, 1, two.id, 7, "key", b"value"))
            assert (await two.take(frames.Entry)).epoch == 2


async def test_a_proposal_beyond_a_limit_is_refused_with_the_limit():
    async with running(**sections(state={"max_value_bytes": 3})) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            node.say(frames.Propose(1, "key", b"long value"))
            refused = await node.take(frames.ProposalRefused)
            assert refused.proposal == 1
            assert "max_value_bytes" in refused.reason


async def test_a_restarted_proxy_takes_the_latest_state_from_the_nodes():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node, epoch=5, state_epoch=5, state_index=9) as one:
            with ScriptedNode(proxy.node, epoch=5, state_epoch=4, state_index=3) as two:
                one.say(one.hello)
                await one.take(frames.WantState)
                two.say(two.hello)
                one.say(frames.State(5, 9, [frames.StateItem("a", b"1")], False))
                one.say(frames.State(5, 9, [frames.StateItem("b", b"2")], True))
                for node in (one, two):
                    page = await node.take(frames.State)
                    assert page == frames.State(5, 9, [frames.StateItem("a", b"1"), frames.StateItem("b", b"2")], True)
                    assert (await node.take(frames.Clients)).last
                    node.say(frames.Ready())
                master, epoch = await elected(one, two)
                assert epoch == 6
                assert master in (one, two)


async def test_a_node_that_promises_a_later_state_and_dies_holds_nobody_up():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node, state_epoch=5, state_index=9) as one, ScriptedNode(proxy.node) as two:
            one.say(one.hello)
            await one.take(frames.WantState)
            two.say(two.hello)
            one.close()
            await two.finish_join()
            assert (await elected(two))[1] == 6


async def test_entries_that_come_while_a_snapshot_is_on_its_way_follow_it():
    async with running(**sections(node=QUICK["node"] | {"registry_page": 1})) as proxy:
        with ScriptedNode(proxy.node) as master:
            await master.join()
            await elected(master)
            for number in range(1, 21):
                master.say(frames.Propose(number, f"k{number}", b"v"))
                await master.take(frames.Proposed)
                master.say(frames.Entry(1, number, master.id, number, f"k{number}", b"v"))
                await master.take(frames.Entry)
            with ScriptedNode(proxy.node) as late:
                late.say(late.hello)
                await late.take(frames.Welcome)
                master.say(frames.Propose(21, "k21", b"v"))
                await master.take(frames.Proposed)
                master.say(frames.Entry(1, 21, master.id, 21, "k21", b"v"))
                await late.finish_join()
                pages = [f for f in late.frames if isinstance(f, frames.State)]
                index = pages[0].index
                keys = [item.key for page in pages for item in page.items]
                while index < 21:
                    entry = await late.take(frames.Entry)
                    assert entry.index == index + 1
                    index = entry.index
                    keys.append(entry.key)
                assert keys == [f"k{number}" for number in range(1, 22)]


async def test_clients_are_told_once_although_nodes_change():
    async with running(**sections()) as proxy, websocket(proxy):
        (client,) = client_ids(proxy)
        for _ in range(3):
            with ScriptedNode(proxy.node) as node:
                await node.join()
                told = [c.id for f in node.frames if isinstance(f, frames.Clients) for c in f.clients]
                assert told == [client]
                assert not [f for f in node.frames if isinstance(f, frames.Opened)]


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
            one.say(frames.AsMaster(8, [old]), frames.AsMaster(10, [new]))
            assert await client.recv() == "of the next one"
            assert proxy.counters.stale_effects == 1


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


async def test_only_the_keeper_takes_proposals_and_entries():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one:
            await one.join()
            await elected(one)
            follow(proxy, 9, master=one)
            one.say(frames.Propose(1, "key", b"value"), frames.Entry(9, 1, one.id, 1, "key", b"value"))
            await proxy.until(lambda: proxy.counters.stale_entries == 1)
            assert not [frame for frame in one.inbox if isinstance(frame, frames.Proposed)]
            assert proxy.app.steward.state_keys == 0


async def test_a_new_keeper_takes_the_state_from_the_node_that_has_the_most():
    async with running(**sections()) as proxy:
        with ScriptedNode(proxy.node) as one, ScriptedNode(proxy.node) as two:
            await one.join()
            await two.join()
            await elected(one, two)
            follow(proxy, 9, master=one)
            for node, index in ((one, 3), (two, 7)):
                proxy.app.directory.nodes[node.id].state_position = (9, index)
            follow(proxy, 10, keeper="", master=one, alone=True)
            await two.take(frames.WantState)
            one.say(frames.Entry(10, 8, one.id, 0, "early", b""))
            await proxy.until(lambda: proxy.counters.stale_entries == 1)
            two.say(frames.State(9, 7, [frames.StateItem("key", b"value")], True))
            for node in (one, two):
                page = frames.State(9, 7, [frames.StateItem("key", b"value")], True)
                assert await node.take(frames.State) == page
            two.say(frames.Propose(1, "next", b"1"))
            await one.take(frames.Proposed)
            one.say(frames.Entry(10, 8, two.id, 1, "next", b"1"))
            assert (await two.take(frames.Entry)).index == 8
