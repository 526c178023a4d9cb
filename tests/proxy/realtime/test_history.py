"""Channels with history as a proxy of a configuration has them: real proxies, a real node, real logs."""

from contextlib import asynccontextmanager

import pytest
import trio

from holdfast import Node, Position, RequestError
from holdfast.balancer.coordination.memory import MemoryCoordinator
from holdfast.proxy.realtime import history as module
from tests.harness import client_ids, running, websocket
from tests.proxy.cluster.proxies import cluster_of
from tests.waiting import PATIENCE, until

RULES = [{"match": "news:*", "history_messages": 3, "history_age": 60}, {"match": "room:{id}", "history_messages": 100}]


@asynccontextmanager
async def linked(node, *proxies):
    """The node, ready at all of them."""
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run, [proxies[0].node])
        for proxy in proxies:
            await proxy.until(lambda: node.id in [it.id for it in proxy.app.dispatch.pool.available], "it")  # noqa: B023
        yield node
        nursery.cancel_scope.cancel()


def a_node():
    node = Node("test")

    @node.on_request
    async def handle(request):
        """Takes requests, so that it is known when it is ready."""

    return node


def sections(kind, tmp_path):
    return {"history": {"kind": kind}, "store": {"path": str(tmp_path / "store")}, "channel": RULES}


def offsets(page):
    return [each.offset for each in page.publications]


def texts(page):
    return [each.text for each in page.publications]


async def kept(node, channel, count):
    """When so many are."""
    with trio.fail_after(PATIENCE):
        while (page := await node.history(channel)).last < count:
            pass
    return page


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_a_node_publishes_is_delivered_kept_and_read(kind, tmp_path):
    async with running(**sections(kind, tmp_path)) as proxy, websocket(proxy) as client:
        async with linked(a_node(), proxy) as node:
            [id] = client_ids(proxy)
            for channel in ("room:1", "news:a", "chat"):
                await node.join(id, channel)
            for number in range(5):
                await node.notify(f"{number}", channels=["room:1", "news:a", "chat"])
                await node.notify("typing", channels=["room:1", "news:a"], history=False)
            said = [await client.recv() for _ in range(25)]
            assert said == [word for number in range(5) for word in [f"{number}"] * 3 + ["typing"] * 2]
            room = await kept(node, "room:1", 5)
            assert (texts(room), offsets(room)) == (["0", "1", "2", "3", "4"], [1, 2, 3, 4, 5])
            assert (room.first, room.last, room.is_more, room.is_whole) == (1, 5, False, True)
            assert abs(room.publications[0].at - room.publications[4].at) < 60 < room.publications[0].at
            news = await kept(node, "news:a", 5)
            assert (texts(news), news.first) == (["2", "3", "4"], 3)
            assert texts(await node.history("room:1", since=Position(room.epoch, 3))) == ["3", "4"]
            first = await node.history("room:1", since=0, limit=2)
            assert (texts(first), first.is_more, first.position) == (["0", "1"], True, Position(room.epoch, 2))
            assert not (await node.history("news:a", since=0)).is_whole
            for channel, since, status in (("chat", None, 404), ("room:1", Position("x", 3), 409), ("room:1", 6, 409)):
                with pytest.raises(RequestError) as refused:
                    await node.history(channel, since=since)
                assert refused.value.status == status
            assert offsets(await node.history("room:2")) == []


async def test_a_handler_reads_it_and_what_it_does_is_there_after_its_reply(tmp_path):
    node = a_node()

    @node.on_message("type", "say")
    async def say(request):
        before = (await node.history("room:1")).last
        await node.notify("hello", channels=["room:1"])
        within = (await node.history("room:1")).last
        return {"before": before, "within": within}

    async with running(**sections("sqlite", tmp_path)) as proxy, websocket(proxy) as client, linked(node, proxy):
        await client.send('{"type": "say"}')
        assert await client.recv() == '{"before":0,"within":0}'
        assert texts(await kept(node, "room:1", 1)) == ["hello"]


async def test_the_log_outlives_its_proxy(tmp_path):
    for run in range(2):
        async with running(**sections("sqlite", tmp_path)) as proxy, linked(a_node(), proxy) as node:
            await node.notify(f"{run}", channels=["room:1"])
            page = await kept(node, "room:1", run + 1)
    assert texts(page) == ["0", "1"]


async def test_two_proxies_with_one_log(tmp_path):
    """Each appends what the node publishes, and it is there once."""
    async with cluster_of(2, MemoryCoordinator(), **sections("sqlite", tmp_path)) as proxies:
        async with linked(a_node(), *proxies) as node, websocket(proxies[0]) as one, websocket(proxies[1]) as other:
            await until(lambda: all(map(client_ids, proxies)), "clients")
            for proxy in proxies:
                await node.join(client_ids(proxy)[0], "room:1")
            for number in range(20):
                await node.notify(f"{number}", channels=["room:1"])
            for client in (one, other):
                assert [await client.recv() for _ in range(20)] == [f"{number}" for number in range(20)]
            assert offsets(await node.history("room:1")) == list(range(1, 21))
            asked = [proxy.app.history.asks for proxy in proxies]
            assert all(asks._log is not None for asks in asked)


async def test_a_log_that_is_away(tmp_path):
    (tmp_path / "store-history").mkdir()
    async with running(**sections("sqlite", tmp_path)) as proxy, websocket(proxy) as client:
        async with linked(a_node(), proxy) as node:
            with pytest.raises(RequestError) as refused:
                await node.history("room:1")
            assert refused.value.status == 503
            [id] = client_ids(proxy)
            await node.join(id, "room:1")
            await node.notify("all the same", channels=["room:1"])
            assert await client.recv() == "all the same"


async def test_what_has_ended_is_forgotten_though_nothing_is_published(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CLEAN_INTERVAL", 0.0)
    monkeypatch.setattr(module, "NEWS_INTERVAL", 0.001)
    async with running(**sections("memory", tmp_path)) as proxy, linked(a_node(), proxy) as node:
        await node.notify("x", channels=["room:1"])
        await kept(node, "room:1", 1)
        log = proxy.app.history._log
        assert len(log._logs) == 1
        log._now += 1000.0  # its clock
        await until(lambda: not log._logs, "the log to end")


async def test_without_such_rules_there_is_nothing_of_it():
    async with running(channel=[{"match": "room:*", "subscribe": "node"}]) as proxy, linked(a_node(), proxy) as node:
        assert (proxy.app.lanes.histories, proxy.app.channels.on_last) == (None, None)
        with pytest.raises(RequestError) as refused:
            await node.history("room:1")
        assert refused.value.status == 404
