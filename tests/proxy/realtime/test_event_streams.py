"""Event streams and polls, with real proxies, real nodes and real logs."""

import json

import pytest
import trio

from holdfast import Node, Refused
from holdfast.balancer.coordination.memory import MemoryCoordinator
from holdfast.protocols.close import Reason
from tests.harness import running
from tests.proxy.cluster.proxies import cluster_of
from tests.proxy.realtime.event_client import EventClient
from tests.proxy.realtime.test_history import linked
from tests.proxy.signing import SECRET, sign

RULES = [
    {"match": "log:*", "subscribe": "anyone", "history_messages": 1000},
    {"match": "short:*", "subscribe": "anyone", "history_messages": 3},
    {"match": "plain:*", "subscribe": "anyone"},
    {"match": "room:{id}", "subscribe": "node"},
    {"match": "signed:*", "subscribe": "token"},
]


def a_node(**more):
    node = Node("test", **more)
    node.came, node.left = [], []

    @node.on_request
    async def handle(request):
        return "here"

    @node.on_subscribe("room:{id}")
    def may(request, id: int):
        if id > 9:
            raise Refused(404, "no such room")
        return True

    @node.on_open
    def comes(client):
        node.came.append(client.id)

    @node.on_close
    def leaves(client, reason):
        node.left.append(client.id)

    return node


def sections(tmp_path, kind="memory", **client):
    client |= {"doors": ("sse:/events", "sse:/in/{channel}")}
    store = {"history": {"kind": kind}, "store": {"path": str(tmp_path / "store")}}
    return {"client": client, "channel": RULES, **store}


async def test_what_nodes_publish_comes_as_events(tmp_path):
    async with running(**sections(tmp_path)) as proxy, linked(a_node(), proxy) as node:
        async with await EventClient.connect(proxy) as one, await EventClient.connect(proxy) as other:
            assert await one.get("/in/plain%3A1") == 200
            assert await other.get("/events?channel=plain:1&channel=room:1&envelope=1") == 200
            await node.notify("hello", channels=["plain:1"])
            await node.notify({"a": 1}, channels=["room:1"])
            assert await one.message() == "hello"
            assert json.loads(await other.message()) == {"channel": "plain:1", "data": "hello"}
            assert json.loads(await other.message()) == {"channel": "room:1", "data": {"a": 1}}
            await proxy.until(lambda: len(node.came) == 2)
            await node.close(node.came[0])
            assert json.loads((await one.event())["data"])["reason"] == "kicked"


async def test_a_refusal_is_a_status_and_the_connection_goes_on(tmp_path):
    async with running(**sections(tmp_path)) as proxy, linked(a_node(), proxy) as node:
        async with await EventClient.connect(proxy) as client:
            for target, status in [
                ("/events?channel=plain:1&channel=secret", 403),
                ("/in/room%3A10", 404),
                ("/events?channel=signed:1", 501),
                ("/events", 400),
                ("/other", 200),
                ("/in/room%3A1", 200),
            ]:
                assert await client.get(target) == status, target
                if target == "/other":
                    assert await client.body() == b"here"
                elif status != 200:
                    assert json.loads(await client.body())["status"] == status
            await node.notify("x", channels=["plain:1", "room:1"])
            assert await client.message() == "x"  # once: it is in the room only
            await proxy.until(lambda: len(node.left) == 3)
            assert node.left == node.came[:3]
            assert len(set(node.came)) == 4  # each session is another client
            assert proxy.app.channels.subscriptions == 1
        await proxy.until(lambda: len(node.left) == 4)
        assert not proxy.app.clients.connections


async def test_who_comes_back_gets_what_it_missed_at_another_proxy_too(tmp_path):
    async with cluster_of(2, MemoryCoordinator(), **sections(tmp_path, "sqlite")) as proxies:
        async with linked(a_node(), *proxies) as node:
            id, has = "", []
            for turn in range(6):
                async with await EventClient.connect(proxies[turn % 2]) as client:
                    headers = [f"Last-Event-ID: {id}"] if id else []
                    assert await client.get("/events?channel=log:1&channel=log:2", *headers) == 200
                    for channel in ("log:1", "log:2"):
                        await node.notify(f"{channel} {turn}", channels=[channel])
                    while f"log:2 {turn}" not in has:
                        has.append(await client.message())
                    id = client.id
                for channel in ("log:1", "log:2"):
                    await node.notify(f"{channel} between {turn}", channels=[channel])
            for channel in ("log:1", "log:2"):
                of_it = [said for said in has if said.startswith(channel)]
                expected = [f"{channel} {turn}" for turn in range(6)]
                between = [f"{channel} between {turn}" for turn in range(5)]
                assert sorted(of_it) == sorted(expected + between)
                assert [said for said in of_it if "between" in said] == between


async def test_what_is_not_kept_any_more_is_told(tmp_path):
    async with running(**sections(tmp_path)) as proxy, linked(a_node(), proxy) as node:
        async with await EventClient.connect(proxy) as client:
            assert await client.get("/events?channel=short:1") == 200
            await node.notify("0", channels=["short:1"])
            assert await client.message() == "0"
            id = client.id
        for number in range(1, 6):
            await node.notify(f"{number}", channels=["short:1"])
        async with await EventClient.connect(proxy) as client:
            for shown in (id, "nonsense"):
                assert await client.get("/events?channel=short:1&poll", f"Last-Event-ID: {shown}") == 200
                answer = json.loads(await client.body())
                assert [lost["channel"] for lost in answer["unrecovered"]] == ["short:1"]
                assert answer["messages"] == []
            assert await client.get("/events?channel=short:1", f"Last-Event-ID: {id}") == 200
            await client.event()
            told = await client.event()
            assert told["event"] == "unrecovered"
            assert json.loads(told["data"])["message"]


async def test_polls_on_one_connection_miss_nothing(tmp_path):
    async with running(**sections(tmp_path)) as proxy, linked(a_node(), proxy) as node:
        async with await EventClient.connect(proxy) as client:
            has = await client.poll("/events?channel=log:1&channel=log:2&poll")
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def publish():
                    for number in range(200):
                        await node.notify(number, channels=[f"log:{1 + number % 2}"])

                while len(has) < 200:
                    has += await client.poll("/events?channel=log:1&channel=log:2&poll")
            for channel in (1, 2):
                of_it = [message["data"] for message in has if message["channel"] == f"log:{channel}"]
                assert of_it == [number for number in range(200) if 1 + number % 2 == channel]
            await proxy.until(lambda: len(proxy.app.registry) == 0)  # the last one was answered
        await proxy.until(lambda: node.left == node.came)
        assert len(set(node.came)) == len(node.came)
        assert proxy.app.channels.subscriptions == 0


async def test_a_poll_without_news_is_answered_when_its_time_is_over(tmp_path):
    async with running(**sections(tmp_path)) as proxy, linked(a_node(), proxy):
        async with await EventClient.connect(proxy) as client:
            for _ in range(2):
                assert await client.poll("/events?channel=plain:1&poll=0.01") == []


async def test_tokens_say_who_may_have_a_stream_and_which_channel(tmp_path):
    keys = {"jwt_keys": SECRET, "jwt_required": True, "jwt_from": ("header", "query:token")}
    async with running(**sections(tmp_path, **keys)) as proxy, linked(a_node(), proxy):
        mine, channels = sign({"sub": "u"}), sign({"sub": "u", "channels": ["signed:1"]})
        for query, status in [
            ("", 401),
            (f"&token={mine}", 401),
            (f"&token={mine}&channel_token={channels}", 200),
            (f"&channel_token={channels}", 401),
        ]:
            async with await EventClient.connect(proxy) as client:
                assert await client.get(f"/events?channel=signed:1{query}") == status
                assert ("www-authenticate" in client.headers) is (status == 401)


async def test_who_does_not_read_is_cut_off(tmp_path):
    limits = {"max_outbox_bytes": 64 << 10, "send_buffer_bytes": 8 << 10}
    async with running(**sections(tmp_path, **limits)) as proxy, linked(a_node(), proxy) as node:
        async with await EventClient.connect(proxy) as client:
            assert await client.get("/events?channel=plain:1") == 200
            while not proxy.counters.slow_consumers:
                await node.notify("x" * 10_000, channels=["plain:1"])
            while (event := await client.event()) and event.get("event") != "closed":
                pass
            assert json.loads(event["data"])["reason"] == "slow_consumer"


async def test_where_the_proxy_drains_a_browser_is_told_to_come_back(tmp_path):
    async with running(**sections(tmp_path)) as proxy, linked(a_node(), proxy):
        async with await EventClient.connect(proxy) as client:
            assert await client.get("/events?channel=plain:1") == 200
            [connection] = proxy.app.clients.connections.values()
            connection.close(Reason.DRAINING, "restart")
            assert "retry" in await client.event()
            assert (await client.event())["event"] == "closed"
            assert await client.event() is None


@pytest.mark.parametrize("ordered", [False, True])
async def test_more_channels_than_may_be_asked_for_at_once(tmp_path, ordered):
    few = {"max_in_flight": 2, "ordered": ordered}
    async with running(**sections(tmp_path, **few)) as proxy, linked(a_node(), proxy):
        async with await EventClient.connect(proxy) as client:
            query = "&".join(f"channel=room:{number}" for number in range(10))
            assert await client.get(f"/events?{query}") == 200
            assert proxy.app.channels.subscriptions == 10
            assert await client.get(f"/events?{query}&poll=0") == 200 if False else True
