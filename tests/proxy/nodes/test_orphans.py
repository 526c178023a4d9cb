"""Clients of a proxy that is no more: one node is told that they went, and if need be came, as nodes knew them."""

from types import SimpleNamespace

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from holdfast.balancer.directory import Directory
from holdfast.balancer.settings import BalanceSettings, ElectionSettings
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.orphans import COUNT, GIVE, SETTLED
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.steward import Steward
from tests.balancer.cluster.views import TIMES, member, membership, record_of
from tests.harness import ScriptedNode, client_ids, running, websocket
from tests.proxy.nodes.knowing import BOTH, PREFIX, Knower, client, due, heard_of, heirs, pack


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr("holdfast.proxy.nodes.orphans.GATHERING", 0.3)


async def test_each_is_told_by_itself_and_marked_because_nobody_knows_who_was_told():
    async with running() as proxy:
        with Knower(proxy, due(1), due(2, "idle")) as node:
            await node.join()
            node.says()
            assert (await node.give()).what == GIVE
            first, second = await node.take(frames.Call), await node.take(frames.Call)
            assert [(c.kind, c.client, c.payload, c.before, c.attempt) for c in (first, second)] == [
                ("close", client(1).id, b"", 1, 1),
                ("close", client(2).id, b"idle", 1, 1),
            ]
            assert frames.decode_client(first.info) == client(1)
            node.say(frames.Reply(second.id, second.attempt, b"", False))
            assert await node.hears(client(2).id) == 0, "though the first takes its time"
            node.say(frames.Reply(first.id, first.attempt, b"", False))
            assert await node.hears(client(1).id) == 0
            assert (await node.give()).what == GIVE
            assert (await node.give()).what == SETTLED
            assert not len(proxy.app.calls.once)


async def test_that_it_came_is_told_before_that_it_went_if_that_is_due():
    async with running() as proxy:
        with Knower(proxy, due(1, "kicked", came=True)) as node:
            await node.join()
            node.says()
            await node.give()
            opened = await node.take(frames.Call)
            assert (opened.kind, opened.before) == ("open", 1)
            node.say(frames.Heartbeat(1.0))
            await node.take(frames.Heartbeat)
            assert len(proxy.app.calls.once) == 1, "not both"
            node.say(frames.Reply(opened.id, opened.attempt, b"", False))
            assert await node.hears(client(1).id) == 1
            closed = await node.done()
            assert (closed.kind, closed.payload, closed.before) == ("close", b"kicked", 1)
            assert await node.hears(client(1).id) == 0


async def test_nothing_is_told_while_the_proxy_may_have_its_clients_or_it_is_another_s_to_tell():
    async with running() as proxy:
        orphans = proxy.app.calls.orphans
        is_ours, orphans.is_ours = orphans.is_ours, lambda prefix: False
        with Knower(proxy, due(1)) as node:
            await node.join()
            node.says()
            await proxy.until(lambda: orphans._houses)
            now = proxy.app.reactor.now
            await proxy.until(lambda: proxy.app.reactor.now > now + 0.8)
            assert not [frame for frame in node.frames if isinstance(frame, frames.WantOrphans)]
            orphans.is_ours = is_ours
            await node.give()
            assert (await node.done()).client == client(1).id


async def test_our_own_clients_are_no_orphans():
    async with running() as proxy:
        assert not proxy.app.steward.inherits(proxy.app._prefix)
        assert proxy.app.steward.inherits(PREFIX)


def test_who_was_frozen_may_come_back_for_longer_than_nodes_wait_for_it():
    """What is told once is not taken back. Not so who is known dead, nor when it is another's to tell."""
    c = replace(member("c"), prefix=PREFIX)
    it = membership("ab")
    it.adopt(replace(it.record, version=6, members=(*it.record.members, c)), 0.0, from_store=True)
    it.adopt(record_of("ab", 7), 0.0)
    steward = Steward(Directory(BalanceSettings()), Counters(), ElectionSettings())
    steward.start(SimpleNamespace(membership=it))

    def inherits(now):
        it.heard("b", now)
        return at(now, lambda: steward.inherits(PREFIX))

    assert TIMES.sleep > TIMES.grace + 1.0
    assert not any(inherits(now) for now in (1.0, TIMES.grace + 0.1, TIMES.sleep))
    assert PREFIX not in it.prefixes(TIMES.grace + 0.1)
    assert inherits(TIMES.sleep + 0.1)
    it.died("c")
    assert inherits(1.0)
    it.adopt(replace(record_of("ab", 8), keeper="b"), 1.0)
    assert not inherits(1.0)


def at(now, function):
    """What it gives at that time."""

    async def run():
        await trio.sleep_until(now)
        return function()

    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.0))


async def test_who_was_told_the_latest_is_asked_and_who_knew_less_is_told_that_all_is_over():
    async with running() as proxy:
        late = Knower(proxy, due(1), due(2), number=8, takes=[])
        with late, Knower(proxy, due(2), number=9, name="other") as node:
            async with heirs(late, node):
                late.says()
                node.says()
                await node.give()
                assert (await node.done()).client == client(2).id
                assert await node.hears(client(2).id) == 0
                await node.give()
                assert (await node.give()).what == SETTLED
                assert (await late.give()).what == SETTLED
                late.says()
                assert (await late.give()).what == SETTLED, "once more, whenever it says it"
                assert not len(proxy.app.calls.once)


async def test_what_any_node_has_heard_of_as_told_is_not_told_again():
    """By a proxy that is lost as well: the node that was told by it may know less of the clients than another one."""
    async with running() as proxy:
        with Knower(proxy, due(1, came=True), due(2)) as node, Knower(proxy, number=3, name="other", takes=[]) as other:
            async with heirs(node, other):
                other.say(frames.Orphaned(PREFIX, 3, 1, pack(client(1).id), pack(client(2).id)))
                node.says()
                assert (await node.give()).what == GIVE
                call = await node.done()
                assert (call.kind, call.client) == ("close", client(1).id)
                while node.known:
                    await heard_of(node)
                assert not any(call.kind == "open" for call in node.frames if isinstance(call, frames.Call))
                assert not len(proxy.app.calls.once)


async def test_of_one_change_who_knows_the_most_as_told_is_believed():
    async with running() as proxy:
        with Knower(proxy, due(1)) as late, Knower(proxy, name="other") as node:
            async with heirs(late, node):
                late.says()
                node.says()
                assert (await late.give()).what == SETTLED
                assert not len(proxy.app.calls.once)


async def test_another_one_is_asked_when_that_node_is_lost_and_nothing_is_told_twice():
    async with running() as proxy:
        with Knower(proxy, due(1), due(2), due(3), number=9) as node:
            with Knower(proxy, due(1), due(2), due(3), number=8, name="other", takes=[]) as other:
                async with heirs(node, other):
                    node.says()
                    other.says()
                    await node.give(client(1).id)
                    await node.done()
                    assert await node.hears(client(1).id) == 0
                    node.close()
                    with Knower(proxy, name="third") as third:
                        await third.join()
                        await other.give(client(1).id, client(2).id)  # it has not heard of the first yet
                        assert (await third.done()).client == client(2).id
                        assert await other.hears(client(1).id) == 0
                        await other.give(client(3).id)
                        assert (await third.done()).client == client(3).id
                        await proxy.until(lambda: not len(proxy.app.calls.once))


async def test_it_waits_for_somebody_who_wants_to_be_told():
    async with running() as proxy:
        with Knower(proxy, due(1), takes=[]) as node:
            await node.join()
            node.says()
            orphans = proxy.app.calls.orphans
            await proxy.until(lambda: orphans._houses)
            now = proxy.app.reactor.now
            await proxy.until(lambda: proxy.app.reactor.now > now + 0.8)
            assert not [frame for frame in node.frames if isinstance(frame, frames.WantOrphans)]
            with Knower(proxy, name="other", takes=["close"]) as other:
                await other.join()
                await node.give()
                assert (await other.done()).client == client(1).id


async def test_clients_that_are_none_of_that_proxy_end_the_session():
    async with running() as proxy:
        with Knower(proxy, due(1)) as node:
            await node.join()
            node.says()
            while (await node.take(frames.WantOrphans)).what == COUNT:
                node.says()
            foreign = frames.Due(frames.Client(7, "websocket", "192.0.2.1:5", "/", []), "")
            node.say(frames.Orphans(PREFIX, [foreign]))
            await proxy.until(lambda: not proxy.app.directory.nodes)
            assert not len(proxy.app.calls.once)


async def test_nodes_know_of_our_clients_what_is_due():
    """As it is when they are told of it, and in the snapshot of who comes later."""
    async with running() as proxy:
        with ScriptedNode(proxy.node, "clerk", takes=BOTH) as clerk:
            await clerk.join()
            async with websocket(proxy) as peer:
                opened = await clerk.take(frames.Call)
                (id,) = client_ids(proxy)
                changes = [change for f in clerk.frames if isinstance(f, frames.Changes) for change in f.changes]
                assert [(change.client.id, change.due) for change in changes] == [(id, True)], "before the call"
                with ScriptedNode(proxy.node, "late") as late:
                    page = await page_of(late)
                    assert list(frames.unpack_ids(page.due)) == [id]
                    clerk.say(frames.Reply(opened.id, opened.attempt, b"", False))
                    (change,) = (await late.take(frames.Changes)).changes
                    assert (change.client.id, change.due) == (id, False)
                await peer.aclose()
            closed = await clerk.take(frames.Call)
            with ScriptedNode(proxy.node, "last") as last:
                page = await page_of(last)
                assert [(each.client.id, each.reason, each.came) for each in page.gone] == [(id, "client_left", False)]
                clerk.say(frames.Reply(closed.id, closed.attempt, b"", False))
                (change,) = (await last.take(frames.Changes)).changes
                assert (change.client, change.due) == (id, 0)


async def page_of(node):
    await node.join()
    (page,) = [frame for frame in node.frames if isinstance(frame, frames.Clients)]
    return page
