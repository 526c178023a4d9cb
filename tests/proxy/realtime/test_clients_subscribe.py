"""Clients that subscribe and publish by themselves, with real proxies, real nodes and real logs."""

import json

import pytest
import trio

from holdfast import Node, Refused, Subscription
from holdfast.balancer.coordination.memory import MemoryCoordinator
from tests.harness import running
from tests.proxy.cluster.proxies import cluster_of
from tests.proxy.realtime.speaking import Speaker
from tests.proxy.realtime.test_history import linked

RULES = [
    {"match": "log:*", "subscribe": "node", "publish": "node", "history_messages": 1000},
    {"match": "room:{id}", "subscribe": "node", "publish": "node"},
]


def a_node():
    node = Node("test")

    @node.on_request
    async def handle(request):
        """Takes requests, so that it is known when it is ready."""

    @node.on_subscribe("room:{id}")
    async def may(request, id: int, body: dict | None = None):
        if id > 9:
            raise Refused(404, "no such room")
        await node.notify("somebody comes", channels=[request.channel])
        return Subscription(info=body)

    @node.on_subscribe("log:*")
    def all_may(request):
        return True

    @node.on_publish("room:{id}")
    async def said(request, id: int):
        return f"{request.text} in {id}"

    @node.on_publish("log:*")
    def as_it_came(request):
        """Whatever that is."""

    return node


def sections(kind, tmp_path):
    return {"history": {"kind": kind}, "store": {"path": str(tmp_path / "store")}, "channel": RULES}


async def test_a_node_lets_clients_subscribe_and_publishes_what_they_say(tmp_path):
    async with running(channel=RULES) as proxy, linked(a_node(), proxy):
        with Speaker(proxy.app) as one, Speaker(proxy.app) as other:
            assert await one.ask(subscribe="room:1", data={"a": 1}) == {"subscribed": "room:1", "info": '{"a":1}'}
            assert await other.ask(subscribe="room:1") == {"subscribed": "room:1"}
            assert await one.recv() == {"channel": "room:1", "text": "somebody comes"}
            assert await other.ask(publish="room:1", text="hello") == {"published": "room:1"}
            for client in (one, other):
                got = client.heard[-2] if client is other else await one.recv()
                assert (got["channel"], got["text"]) == ("room:1", "hello in 1")
                assert json.loads(got["sender"]) == {"client": f"{other.id:016x}", "user": ""}
            refused = await one.ask(subscribe="room:10")
            assert (refused["error"], refused["status"], refused["why"]) == ("refused", 404, "no such room")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_who_comes_back_gets_what_was_published_meanwhile_once_while_more_is(kind, tmp_path):
    """The classic race: between what it has missed and what is published from then on nothing is lost or doubled."""
    async with running(**sections(kind, tmp_path)) as proxy, linked(a_node(), proxy) as node:
        with Speaker(proxy.app) as client:
            epoch, _ = (await client.ask(subscribe="log:1"))["position"]
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def publish():
                    for number in range(1, 301):
                        await node.notify(f"{number}", channels=["log:1"])

                has, last = [], 0
                while last < 300:
                    while last % 25 or not last:
                        got = await client.recv()
                        last = got["offset"]
                        has.append(got["text"])
                    if last == 300:
                        break
                    client.say({"unsubscribe": "log:1"})
                    while "unsubscribed" not in (got := await client.recv()):
                        has.append(got["text"])
                        last = got["offset"]
                    again = await client.ask(subscribe="log:1", since=[epoch, last])
                    assert again.get("recovered") is True, again
                    has += [text for _, text in again.get("missed", [])]
                    last = again["position"][1]
            assert has == [f"{number}" for number in range(1, 301)]


async def test_at_another_proxy_it_gets_what_it_has_missed(tmp_path):
    async with cluster_of(2, MemoryCoordinator(), **sections("sqlite", tmp_path)) as proxies:
        async with linked(a_node(), *proxies):
            with Speaker(proxies[0].app) as one, Speaker(proxies[1].app) as other:
                position = (await one.ask(subscribe="log:1"))["position"]
                for number in range(5):
                    await other.ask(publish="log:1", text=f"{number}")
                first = await one.recv()
                assert (first["offset"], first["text"]) == (1, "0")
                again = await other.ask(subscribe="log:1", since=[position[0], 1])
                assert (again["recovered"], again["position"]) == (True, [position[0], 5])
                assert again["missed"] == [[2, "1"], [3, "2"], [4, "3"], [5, "4"]]


async def test_without_the_log_it_is_told_that_nothing_can_be_had(tmp_path):
    (tmp_path / "store-history").mkdir()
    async with running(**sections("sqlite", tmp_path)) as proxy, linked(a_node(), proxy) as node:
        with Speaker(proxy.app) as client:
            said = await client.ask(subscribe="log:1", since=["e", 3])
            assert said == {"subscribed": "log:1", "why": "the log can't be read at present"}
            await node.notify("all the same", channels=["log:1"])
            assert (await client.recv())["text"] == "all the same"


async def test_many_publish_and_nothing_is_lost_or_doubled_though_nodes_leave(tmp_path):
    async with running(**sections("memory", tmp_path)) as proxy:
        clients = [Speaker(proxy.app) for _ in range(4)]
        async with trio.open_nursery() as nursery:
            nodes = [a_node() for _ in range(2)]
            for node in nodes:
                await nursery.start(node.run, [proxy.node])
            for client in clients:
                await client.ask(subscribe="log:1")
            published = []

            async def publish(client, number):
                for count in range(50):
                    answer = await client.ask(publish="log:1", text=f"{number} {count}")
                    assert answer == {"published": "log:1"}
                    published.append(f"{number} {count}")
                    if len(published) == 60:
                        nodes[0].drain()

            async with trio.open_nursery() as publishing:
                for number, client in enumerate(clients):
                    publishing.start_soon(publish, client, number)
            for client in clients:
                while len([got for got in client.heard if "text" in got]) < 200:
                    await client.recv()
                got = [said for said in client.heard if "text" in said]
                assert sorted(said["text"] for said in got) == sorted(published)
                assert [said["offset"] for said in got] == list(range(1, 201))
                client.close()
            nursery.cancel_scope.cancel()
