"""What nodes publish to channels with history, at a real proxy: it is in the log, and comes in the order of the log."""

from contextlib import asynccontextmanager

import pytest
import trio

from holdfast.balancer.history.base import Append, Keep
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import pack_ids
from holdfast.proxy.realtime.histories import Histories
from holdfast.proxy.realtime.log_queue import LogQueue
from holdfast.proxy.realtime.publishing import note_of
from tests.harness import ScriptedNode, client_ids, running, websocket
from tests.proxy.realtime.test_log_queue import Store

KEEP = Keep(100, 0, 300.0)


@asynccontextmanager
async def room(nursery, *, is_blocking, gives_without=True):
    """A proxy with a log, a node, a client in `news`, which has one, and in `chat`, which has none."""
    store, interrupted = Store(is_blocking=is_blocking), []
    async with running() as proxy, websocket(proxy) as client:
        app = proxy.app
        queue = LogQueue(store, app.reactor, app.counters, lambda: 1e9)
        app.lanes.histories = Histories(
            queue,
            app.channels,
            app.reactor,
            app.counters,
            lambda channel: KEEP if channel == "news" else None,
            lambda channel, why: interrupted.append((channel, why)),
            "p1",
            gives_without=gives_without,
        )
        app.channels.on_last = app.lanes.histories.forget
        if is_blocking:
            nursery.start_soon(queue.run)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await proxy.until(lambda: len(client_ids(proxy)) == 1)
            [id] = client_ids(proxy)
            node.say(frames.Effects(1, [frames.Join(id, "news"), frames.Join(id, "chat")]))
            yield proxy, store, node, client, interrupted
    nursery.cancel_scope.cancel()


def notify(number, *channels):
    return frames.Effects(number, [frames.Notify(b"%d" % number, True, list(channels))])


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_it_is_logged_and_given_out(is_blocking, nursery):
    async with room(nursery, is_blocking=is_blocking) as (_, store, node, client, _):
        node.say(notify(2, "news"), notify(3, "chat"), notify(4, "news", "chat"), notify(5, "news"))
        assert [await client.recv() for _ in range(5)] == ["2", "3", "4", "4", "5"]
        assert (await node.take(frames.Ack)).number <= 5
        page = store.within.read("news", 0, 10, 1000, 1e9)
        assert [(each.offset, each.payload) for each in page.publications] == [(1, b"2"), (2, b"4"), (3, b"5")]


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_what_others_have_appended_before_comes_before(is_blocking, nursery):
    async with room(nursery, is_blocking=is_blocking) as (_, store, node, client, _):
        node.say(notify(2, "news"))
        assert await client.recv() == "2"
        store.within.append([Append("news", b"another", b"others'", True, b"", KEEP)], 1e9)
        node.say(notify(3, "news"))
        assert [await client.recv(), await client.recv()] == ["others'", "3"]


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_without_the_log_it_is_given_out_and_the_log_is_another_one_then(is_blocking, nursery, monkeypatch):
    monkeypatch.setattr("holdfast.proxy.realtime.log_queue.RETRY_INTERVAL", 0.0)
    async with room(nursery, is_blocking=is_blocking) as (_, store, node, client, interrupted):
        node.say(notify(2, "news"))
        assert await client.recv() == "2"
        store.is_away = True
        node.say(notify(3, "news"), notify(4, "chat"))
        assert sorted([await client.recv(), await client.recv()]) == ["3", "4"]
        store.is_away = False
        node.say(notify(5, "news"))
        assert await client.recv() == "5"
        page = store.within.read("news", 0, 10, 1000, 1e9)
        assert [each.payload for each in page.publications] == [b"3", b"5"], "what was given out is in it, and first"
        assert [channel for channel, _ in interrupted] == ["news"]


async def test_what_was_given_out_without_the_log_does_not_come_again(nursery, monkeypatch):
    """Though another proxy, for which the log was there again, has appended it to the one that began then."""
    monkeypatch.setattr("holdfast.proxy.realtime.log_queue.RETRY_INTERVAL", 0.0)
    async with room(nursery, is_blocking=True) as (proxy, store, node, client, _):
        node.say(notify(2, "news"))
        assert await client.recv() == "2"
        store.is_away = True
        node.say(notify(3, "news"))
        assert await client.recv() == "3"
        store.is_away = False
        node.say(notify(4, "news"))
        assert await client.recv() == "4"
        [it] = proxy.app.directory
        identity = b"%b %d 3 0" % (it.id.encode(), it.incarnation)
        store.within.append([Append("news", identity, b"3", True, b"", KEEP)], 1e9)
        node.say(notify(5, "news"))
        assert await client.recv() == "5"


@pytest.mark.parametrize("is_read", [False, True])
async def test_who_is_excluded_does_not_get_it(is_read, nursery):
    """However it comes."""
    async with room(nursery, is_blocking=True) as (proxy, store, node, client, _):
        [id] = client_ids(proxy)
        node.say(notify(2, "news"))
        assert await client.recv() == "2"
        excluded = pack_ids([id])
        if is_read:
            store.within.append([Append("news", b"another", b"others'", True, note_of(b"", excluded), KEEP)], 1e9)
        else:
            node.say(frames.Effects(3, [frames.Notify(b"3", True, ["news"], b"", excluded)]))
        node.say(notify(4, "news"))
        assert await client.recv() == "4"


async def test_nobody_is_there(nursery):
    """It is in the log all the same, and the node goes on publishing to it."""
    async with room(nursery, is_blocking=True) as (proxy, store, node, client, _):
        node.say(notify(2, "news"))
        assert await client.recv() == "2"
        [id] = client_ids(proxy)
        node.say(frames.Effects(3, [frames.Leave(id, "news")]), notify(4, "news"), notify(5, "chat"))
        assert await client.recv() == "5"
        page = store.within.read("news", 0, 10, 1000, 1e9)
        assert page.last == 2
        with trio.fail_after(20):
            while (await node.take(frames.Ack)).number < 5:
                pass


def live(number, *channels, clients=b"", **more):
    return frames.Effects(number, [frames.Notify(b"%d" % number, True, list(channels), clients, history=False, **more)])


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_what_is_not_to_be_kept_is_given_out_in_its_nodes_order(is_blocking, nursery):
    async with room(nursery, is_blocking=is_blocking) as (proxy, store, node, client, _):
        [id] = client_ids(proxy)
        node.say(notify(2, "news"), live(3, "news"), notify(4, "news"), live(5, "news", "chat", clients=pack_ids([id])))
        node.say(live(6, "chat"), live(7, "news", tail=b"!"), notify(8, "news"))
        said = [await client.recv() for _ in range(9)]
        assert said == ["2", "3", "4", "5", "5", "5", "6", "7news!", "8"]
        page = store.within.read("news", 0, 10, 1000, 1e9)
        assert [(each.offset, each.payload) for each in page.publications] == [(1, b"2"), (2, b"4"), (3, b"8")]


async def test_of_what_is_not_to_be_kept_who_is_excluded_gets_nothing(nursery):
    async with room(nursery, is_blocking=True) as (proxy, _, node, client, _):
        [id] = client_ids(proxy)
        node.say(live(2, "news", "chat", exclude=pack_ids([id])), notify(3, "news"))
        assert await client.recv() == "3"


async def test_where_nobody_is_a_channel_with_history_is_not_muted_by_what_is_not_to_be_kept(nursery):
    async with room(nursery, is_blocking=False) as (proxy, store, node, _, _):
        [id] = client_ids(proxy)
        node.say(frames.Effects(2, [frames.Leave(id, "news"), frames.Leave(id, "chat")]))
        node.say(live(3, "news", "chat"), live(4, "news"), notify(5, "news"))
        assert (await node.take(frames.Mute)).channels == ["chat"]
        while (await node.take(frames.Ack)).number < 5:
            pass
        assert [frame.channels for frame in node.frames if isinstance(frame, frames.Mute)] == [["chat"]]
        assert len(proxy.app.mutes) == 1
        assert store.within.read("news", 0, 10, 1000, 1e9).last == 1
