"""What others have told, of our clients while we were away and of those that we had taken over, is not told by us."""

from types import SimpleNamespace

import pytest
import trio
from msgspec.structs import replace

from holdfast.protocols.nodes import frames
from holdfast.proxy.nodes.orphans import ANSWER, LONGEST_AWAY
from tests.harness import client_ids, running, websocket
from tests.proxy.nodes.knowing import Knower, comes_and_goes, due, pack


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr("holdfast.proxy.nodes.orphans.GATHERING", 0.3)


async def test_what_others_told_of_our_clients_while_we_were_away_is_told_no_more():
    """All up to a change, or of a client; what is left may be told, and is marked."""
    async with running() as proxy:
        with Knower(proxy, name="clerk") as clerk:
            await clerk.join()
        await proxy.until(lambda: not proxy.app.directory.nodes)
        first, second, third = [await comes_and_goes(proxy) for _ in range(3)]
        until = 3  # it came, and went, and the second came
        with Knower(proxy, name="other", takes=[]) as other, Knower(proxy, name="clerk") as clerk:
            await other.join()
            other.say(frames.Orphaned(proxy.app._prefix, 9, 1, pack(third), b"", told=until))
            await other.alive()
            await clerk.join()
            calls = [await clerk.done(), await clerk.done()]
            told = sorted((call.client, call.kind, call.before) for call in calls)
            assert told == [(second, "close", 1), (third, "close", 1)]
            await proxy.until(lambda: not len(proxy.app.calls.once))
            assert first not in {call.client for call in calls}


async def test_what_waits_for_a_node_to_go_to_is_withdrawn_as_well():
    async with running() as proxy:
        with Knower(proxy, name="clerk", takes=["open"]) as clerk, Knower(proxy, name="other", takes=[]) as other:
            await clerk.join()
            await other.join()
            async with websocket(proxy):
                id = (await clerk.take(frames.Call)).client
                clerk.close()
                await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
                other.say(frames.Orphaned(proxy.app._prefix, 1, 1, pack(id)))
                await other.alive()
                with Knower(proxy, name="clerk", takes=["open"]) as again:
                    await again.join()
                    await proxy.until(lambda: not len(proxy.app.calls.once))
                    await again.alive()
                    assert not [frame for frame in again.frames if isinstance(frame, frames.Call)]
                    assert not proxy.counters.once_given_up


async def test_who_leaves_later_is_marked_if_others_told_of_our_clients():
    async with running() as proxy:
        with Knower(proxy, name="clerk", takes=["close"]) as clerk:
            await clerk.join()
            async with websocket(proxy):
                await proxy.until(lambda: client_ids(proxy))
                clerk.say(frames.Orphaned(proxy.app._prefix, 1, 0, told=1))
                await clerk.alive()
            assert (await clerk.done()).before == 1
            await comes_and_goes(proxy)
            assert (await clerk.done()).before == 0, "who came after that"


async def test_who_is_taken_for_dead_marks_what_waits():
    """A node that knows nothing of it may be the first that is there again."""
    async with running() as proxy:
        with Knower(proxy, name="clerk") as clerk:
            await clerk.join()
        await proxy.until(lambda: not proxy.app.directory.nodes)
        id = await comes_and_goes(proxy)
        us, former = proxy.app.steward._cluster.me.proxy, proxy.app.steward._cluster.membership.record
        assert former.ids == (us,)
        proxy.app.steward.followed(former, replace(former, members=()))
        with Knower(proxy, name="clerk") as clerk:
            await clerk.join()
            told = [await clerk.done() for _ in range(2)]
            assert [(call.client, call.kind, call.before) for call in told] == [(id, "open", 1), (id, "close", 1)]


async def test_what_was_taken_over_is_left_to_who_does_it_then():
    """What a node has stays there."""
    async with running() as proxy:
        orphans = proxy.app.calls.orphans
        with Knower(proxy, due(1), due(2)) as node:
            await node.join()
            state = next(iter(proxy.app.directory.nodes.values()))
            state.capacity = 1
            proxy.app.directory.refresh(state)
            node.says()
            await node.give()
            call = await node.take(frames.Call)
            is_ours, orphans.is_ours = orphans.is_ours, lambda prefix: False
            node.say(frames.Reply(call.id, call.attempt, b"", False))
            assert await node.hears(call.client) == 0, "it was told"
            await proxy.until(lambda: not len(proxy.app.calls.once))
            assert not proxy.counters.once_given_up
            orphans.is_ours = is_ours
            await node.give()
            assert (await node.done()).client in node.known


async def test_more_ids_than_a_page_has_end_the_session():
    async with running() as proxy:
        with Knower(proxy, name="clerk", takes=[]) as clerk:
            await clerk.join()
            clerk.say(frames.Orphaned(5, 9, 1, bytes(8 * 1001)))
            assert "bytes of ids" in (await clerk.take(frames.Refused)).reason


async def test_who_says_again_and_again_that_we_were_away_is_heeded_for_so_long(monkeypatch):
    """And what is later than all that we have said makes us forget nothing."""
    monkeypatch.setattr("holdfast.proxy.nodes.orphans.ANSWER", 1.0)
    async with running() as proxy:
        with Knower(proxy, name="clerk") as clerk, Knower(proxy, name="liar", takes=[]) as liar:
            await clerk.join()
            await liar.join()
            once, doubts = proxy.app.calls.once, []
            monkeypatch.setattr(once, "doubt", lambda *what: doubts.append(what))  # it looks at all that waits
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def lie() -> None:
                    while True:
                        liar.say(frames.Orphaned(proxy.app._prefix, 9, 0, told=1 << 60))
                        await trio.sleep(0.1)

                await proxy.until(lambda: proxy.app.calls.once._held_until > 0)
                id = await comes_and_goes(proxy)
                assert [(await clerk.done()).client for _ in range(2)] == [id, id]
                assert doubts == [(proxy.app._prefix, 0)]
                nursery.cancel_scope.cancel()


async def test_how_long_is_waited_for_what_nodes_say(monkeypatch):
    """A while since the first word, whoever says it, until there was none for longer than a proxy may be away."""
    async with running() as proxy:
        orphans, holds = proxy.app.calls.orphans, []
        reactor = orphans._reactor = SimpleNamespace(now=1000.0)
        monkeypatch.setattr(orphans._once, "hold", lambda seconds: holds.append(reactor.now))
        word = frames.Orphaned(proxy.app._prefix, 9, 0, told=1)
        for at in (
            1000.0,
            1000.0 + ANSWER - 0.1,
            1000.0 + ANSWER,
            1050.0,
            1060.0 + LONGEST_AWAY,
            1111.0 + LONGEST_AWAY,
        ):
            reactor.now = at
            node = object()
            orphans.said(node, word)
            orphans.said(node, word)
            orphans.lost(node)
            orphans.said(node, word)  # in its next session
            orphans.lost(node)
        assert sorted(set(holds)) == [1000.0, 1000.0 + ANSWER - 0.1, 1060.0 + LONGEST_AWAY]
        assert [holds.count(at) for at in sorted(set(holds))] == [2, 2, 2], "once a session"
        assert not orphans._spoken
        for _ in range(2):
            reactor.now += 20.0
            orphans.evicted()
            assert holds[-1] == reactor.now, "what the cluster says counts each time"
