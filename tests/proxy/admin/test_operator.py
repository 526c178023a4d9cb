"""What is asked on the ports of clients, over HTTP and WebSocket. The cluster has one member: this proxy."""

import json
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.times import Times
from holdfast.protocols.nodes import frames
from holdfast.protocols.peers.frames import Member
from holdfast.proxy.admin.exporter import requests_of
from holdfast.proxy.admin.operator import Operator
from holdfast.proxy.cluster.views import trouble_of, warning_of
from holdfast.proxy.config.sections import AdminSettings
from tests.balancer.cluster.views import Prompt
from tests.harness import ScriptedNode, running, websocket

TOKEN = "hush"
TIMES = Times(0.5, 2.0, 3.0, 10.0, 60.0, 2.0, 5.0)


class LonelyRunner:
    """What a cluster's runner shows, without its tasks: nothing changes but what the test changes."""

    def __init__(self):
        member = Member("p-1", "tcp://127.0.0.1:7510", "tcp://127.0.0.1:7511")
        self.cluster = Cluster(member, b"", TIMES, lambda: 1, lambda: 0, trio.current_time())
        Prompt(self.cluster.replication)
        self.cluster.found_alone(trio.current_time())
        self.resets = 0

    def trouble(self):
        return trouble_of(self.cluster, trio.current_time())

    def warning(self):
        return warning_of(self.cluster, trio.current_time())

    def reset(self):
        self.resets += 1


@asynccontextmanager
async def clustered(token=TOKEN, **sections):
    async with running(**sections) as proxy:
        app = proxy.app
        app.runner = LonelyRunner()
        app.cluster = app.runner.cluster
        app.clients.dispatch = Operator(app.control, app.dispatch.request, AdminSettings(token=token)).request
        async with httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
            yield proxy, http


async def ask(client, **message):
    await client.send(json.dumps({"controller": "cluster/cluster", **message}))
    return json.loads(await client.recv())


async def test_health_needs_the_minimum_of_nodes():
    async with clustered() as (proxy, http):
        answer = await http.get("/_plugin/cluster/health")
        assert (answer.status_code, answer.json()) == (503, "ko")
        with ScriptedNode(proxy.node) as node:
            await node.join()
            answer = await http.get("/_plugin/cluster/health?x=1")
            assert (answer.status_code, answer.json()) == (200, "ok")
            assert answer.headers["content-type"] == "application/json"
            assert (await http.head("/_plugin/cluster/health")).status_code == 200
            async with websocket(proxy) as client:
                assert await ask(client, action="health", requestId="r1") == {
                    "requestId": "r1",
                    "room": "r1",
                    "status": 200,
                    "error": None,
                    "controller": "cluster/cluster",
                    "action": "health",
                    "result": "ok",
                }
            assert not [f for f in node.frames if isinstance(f, frames.Request | frames.HttpRequest)]


async def test_health_of_a_proxy_that_is_no_member():
    async with clustered(cluster={"minimum_nodes": 0}) as (proxy, http):
        assert (await http.get("/_plugin/cluster/health")).json() == "ok"
        runner = proxy.app.runner
        runner.cluster = Cluster(runner.cluster.me, b"", TIMES, lambda: 1, lambda: 0, trio.current_time())
        assert (await http.get("/_plugin/cluster/health")).status_code == 503
        assert proxy.app.control.ready() == (False, "joining")
        async with websocket(proxy) as client:
            answer = await ask(client, action="health")
            assert (answer["status"], answer["result"], answer["error"]) == (503, "ko", None)
            assert (await ask(client, action="status"))["result"]["count"] == 1


async def test_status_is_the_same_over_both():
    async with clustered() as (proxy, http), websocket(proxy) as client:
        by_http = (await http.get("/_plugin/cluster/status")).json()
        assert by_http["count"] == 1
        assert by_http["current"] == {
            "pub": "tcp://127.0.0.1:7511",
            "router": "tcp://127.0.0.1:7510",
            "ready": True,
            "id": "p-1",
        }
        assert by_http["pool"] == []
        assert [one["id"] for one in by_http["proxies"]] == ["p-1"]
        answer = await ask(client, action="status", requestId=5)
        assert (answer["requestId"], answer["room"]) == (5, 5)
        assert answer["result"] == by_http


async def test_reset_wants_the_token():
    async with clustered() as (proxy, http), websocket(proxy) as client:
        answer = await http.post("/_plugin/cluster/reset")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["error"]["id"] == "holdfast.unauthorized"
        wrong = {"authorization": "Bearer hush hush"}
        assert (await http.post("/_plugin/cluster/reset", headers=wrong)).status_code == 401
        for jwt in (None, "", "wrong"):
            answer = await ask(client, action="reset", requestId="r", jwt=jwt)
            assert (answer["status"], answer["result"], answer["requestId"]) == (401, None, "r")
        assert proxy.app.runner.resets == 0
        answer = await http.post("/_plugin/cluster/reset", headers={"authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.json()) == (200, "ok")
        assert (await ask(client, action="reset", jwt=TOKEN))["result"] == "ok"
        assert proxy.app.runner.resets == 2


async def test_without_a_token_nobody_may_reset():
    async with clustered(token="") as (proxy, http), websocket(proxy) as client:
        for authorization in ("Bearer", "Bearer x", ""):
            answer = await http.post("/_plugin/cluster/reset", headers={"authorization": authorization})
            assert answer.status_code == 403
        answer = await ask(client, action="reset", jwt="")
        assert answer["status"] == 403
        assert "admin.token" in answer["error"]["message"]
        assert proxy.app.runner.resets == 0


@pytest.mark.parametrize(
    ("method", "action", "allow"),
    [("GET", "reset", "POST"), ("POST", "health", "GET, HEAD"), ("DELETE", "status", "GET, HEAD")],
)
async def test_other_methods(method, action, allow):
    async with clustered() as (proxy, http):
        answer = await http.request(method, f"/_plugin/cluster/{action}")
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)
        assert answer.json()["error"]["message"] == f"this path takes {allow}"
        assert proxy.app.runner.resets == 0


@pytest.mark.parametrize(
    "message",
    [
        '{"controller": "chat", "action": "say", "text": "see \\"cluster/cluster\\", action health"}',
        '{"controller": "chat", "action": "health", "body": {"controller": "cluster/cluster"}}',
        '{"controller": "cluster/cluster", "action": "shutdown"}',
        '{"controller": "my/cluster", "action": "health"}',
        '{"controller": "cluster/cluster", "action": "health"',
        '{"controller": "cluster/cluster"}',
        '["cluster/cluster"]',
        '"cluster/cluster"',
        "[" * 100_000 + '"cluster/cluster"',
    ],
)
async def test_what_only_looks_like_it_is_for_nodes(message):
    async with clustered() as (proxy, _), websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send(message)
            assert (await node.reply()).payload == message.encode()
            assert await client.recv() == message


async def test_other_paths_are_for_nodes():
    async with clustered() as (proxy, http):
        with ScriptedNode(proxy.node) as node:
            await node.join()
            for target in ("/_plugin/cluster/", "/_plugin/cluster/dump", "/x/_plugin/cluster/health", "/"):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(http.get, target)
                    request = await node.take(frames.HttpRequest)
                    assert request.target == target
                    node.say(frames.HttpReply(request.id, 1, b""))


@pytest.mark.parametrize("written", ['"cluster/cluster"', '"cluster\\/cluster"'])
async def test_a_slash_may_be_escaped_and_a_message_binary(written):
    async with clustered() as (proxy, _), websocket(proxy) as client:
        await client.send(f'{{"controller": {written}, "action": "health"}}'.encode())
        assert json.loads(await client.recv())["result"] == "ko"


async def test_questions_keep_their_place_among_requests():
    """Answered at once, while a request waits for its node; and they count as no request of a node."""
    async with clustered(client={"max_in_flight": 2}) as (proxy, _), websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            await client.send("first")
            request = await node.take(frames.Request)
            for number in range(5):
                assert (await ask(client, action="health", requestId=number))["requestId"] == number
            await node.reply(request)
            assert await client.recv() == "first"
        assert requests_of(proxy.app) == 1
