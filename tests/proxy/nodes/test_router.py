"""Routes of the configuration, with nodes that do what the test says and clients that others wrote."""

import json
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from structlog.testing import capture_logs

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.proxy.admin.exporter import requests_of
from tests.harness import ScriptedNode, running, websocket


@asynccontextmanager
async def deployment(*routes, nodes=({"name": "one"}, {"name": "two"}), **sections):
    async with running(route=list(routes), **sections) as proxy, httpx.AsyncClient() as http:
        http.base_url = f"http://{proxy.client}"
        joined = [ScriptedNode(proxy.node, **hello) for hello in nodes]
        try:
            for node in joined:
                await node.join()
            yield proxy, http, *joined
        finally:
            for node in joined:
                node.close()


async def taken(http, node, method, target, **options):
    """That the node gets this request; it answers."""
    async with trio.open_nursery() as nursery:

        async def ask():
            assert (await http.request(method, target, **options)).text == "here"

        nursery.start_soon(ask)
        request = await node.take(frames.HttpRequest)
        assert (request.method, request.target) == (method, target)
        node.say(frames.HttpReply(request.id, request.attempt, b"here"))


async def test_requests_go_to_the_nodes_of_their_route():
    async with deployment(
        {"path": "/one/*", "nodes": "one"},
        {"method": "POST", "nodes": ["two"]},
        {"header": "X-Node: one", "nodes": "one"},
        {"host": "*.two.org", "nodes": "two"},
        {"path": "/two/{x}", "labels": {"zone": "b"}},
        nodes=({"name": "one", "labels": {"zone": "a"}}, {"name": "two", "labels": {"zone": "b"}}),
    ) as (proxy, http, one, two):
        for _ in range(3):
            await taken(http, one, "POST", "/one/x?y=/two")
            await taken(http, two, "POST", "/x")
            await taken(http, one, "GET", "/x", headers={"X-Node": "one"})
            await taken(http, two, "GET", "/x", headers={"Host": "a.two.org:80"})
            await taken(http, two, "GET", "/two/a")
        assert dict(proxy.counters.route_requests) == {f"route {number}": 3 for number in range(1, 6)}


async def test_what_no_route_takes_goes_to_every_node():
    async with deployment({"path": "/one", "nodes": "one"}) as (_, http, one, two):
        one.say(frames.Drain())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.get, "/one")
            await taken(http, two, "GET", "/other")
            nursery.cancel_scope.cancel()


async def test_messages_go_by_the_handshake_and_by_their_fields():
    async with deployment(
        {"field": {"type": "move"}, "path": "/rooms/{id}", "nodes": "one"},
        {"field": {"type": "move"}, "nodes": "two"},
        {"subprotocol": "v2", "nodes": "two"},
        {"header": {"X-Node": "two"}, "protocol": "websocket", "nodes": "two"},
        {"nodes": "one"},
    ) as (proxy, _, one, two):
        async with (
            websocket(proxy, "/rooms/5?a=b") as room,
            websocket(proxy, "/") as plain,
            websocket(proxy, "/", subprotocols=["v2", "v1"]) as second,
            websocket(proxy, "/", additional_headers={"X-Node": "two"}) as header,
        ):
            for client, node, text in (
                (room, one, '{"type":"move"}'),
                (plain, two, '{"x":[{}],"type":"move"}'),
                (plain, one, '{"type":"jump"}'),
                (plain, one, "no JSON"),
                (second, two, "x"),
                (header, two, "x"),
                (room, one, "x"),
            ):
                for _ in range(2):
                    await client.send(text)
                    assert (await node.reply()).payload == text.encode()
                    assert await client.recv() == text
            assert all(session.plan for session in proxy.app.clients.all_sessions())  # it is made once
        assert proxy.counters.route_requests["route 1"] == 2


async def test_the_subprotocol_is_the_one_that_was_agreed_on():
    async with deployment(
        {"subprotocol": "v1", "nodes": "one"}, {"nodes": "two"}, client={"subprotocols": ("v1", "v2")}
    ) as (proxy, _, one, _two):
        async with websocket(proxy, subprotocols=["v2", "v1"]) as client:
            assert client.subprotocol == "v1"
            await client.send("x")
            await one.reply()


async def test_a_share_of_the_clients_stays_with_the_canary():
    async with deployment(
        {"labels": {"version": "2"}, "share": 30, "name": "canary"},
        {"labels": {"version": "1"}, "name": "rest"},
        nodes=({"name": "n", "labels": {"version": "1"}}, {"name": "n", "labels": {"version": "2"}}),
    ) as (proxy, _, old, new):
        sides = []
        for _ in range(40):
            async with websocket(proxy) as client:
                before = proxy.counters.route_requests["canary"]
                for _ in range(3):
                    await client.send("x")
                    with trio.fail_after(10):
                        while not (requests := [f for n in (old, new) for f in n.inbox if type(f) is frames.Request]):
                            async with trio.open_nursery() as nursery:  # whichever of them hears first
                                for node in (old, new):
                                    nursery.start_soon(hear, node, nursery)
                    [request] = requests
                    node = old if request in old.inbox else new
                    node.inbox.remove(request)
                    await node.reply(request)
                    await client.recv()
                    sides.append(node is new)
                assert proxy.counters.route_requests["canary"] - before in (0, 3)
        assert all(len(set(sides[at : at + 3])) == 1 for at in range(0, len(sides), 3))
        assert 0 < sum(sides) < len(sides)
        counted = proxy.counters.route_requests
        assert (counted["canary"], counted["rest"]) == (sum(sides), len(sides) - sum(sides))


async def hear(node, nursery):
    await node.hear()
    nursery.cancel_scope.cancel()


async def test_a_fixed_answer_needs_no_node():
    async with deployment(
        {"path": "/health", "status": 200, "body": '{"ok":true}', "headers": {"Content-Type": "application/json"}},
        {"path": "/old", "redirect": "https://new.example.org{target}", "status": 301},
        {"path": "/here/*", "redirect": "/there"},
        {"path": "/gone", "status": 410, "body": "no more"},
        nodes=(),
    ) as (proxy, http):
        reply = await http.get("/health")
        assert (reply.status_code, reply.json(), reply.headers["content-type"]) == (
            200,
            {"ok": True},
            "application/json",
        )
        reply = await http.head("/health")
        assert (reply.status_code, reply.content, reply.headers["content-length"]) == (200, b"", "11")
        reply = await http.post("/old?a=b", content=b"x")
        assert (reply.status_code, reply.headers["location"]) == (301, "https://new.example.org/old?a=b")
        reply = await http.get("/here/x?y")
        assert (reply.status_code, reply.headers["location"], reply.content) == (307, "/there", b"")
        reply = await http.get("/gone")
        assert (reply.status_code, reply.text) == (410, "no more")
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        assert requests_of(proxy.app) == 0
        assert sum(proxy.counters.route_requests.values()) == 5


async def test_a_redirect_leads_nowhere_that_a_client_chooses():
    """The target of a request may be a URL, or none at all."""
    async with deployment({"redirect": "https://a.org{target}"}, nodes=()) as (proxy, _):
        async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as stream:
            for line, leads_to in ((b"GET http://evil.org/x", b"/x"), (b"OPTIONS *", b"/")):
                await stream.send_all(line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                reply = await stream.receive_some(4096)
                assert b"\r\nLocation: https://a.org" + leads_to + b"\r\n" in reply


async def test_a_fixed_answer_to_a_message():
    async with deployment(
        {"field": {"type": "ping"}, "status": 200, "body": '{"type":"pong"}'},
        {"field": {"type": "old"}, "status": 410, "body": "no more of this"},
        {"field": {"type": "late"}, "status": 503},
        nodes=(),
    ) as (proxy, _):
        async with websocket(proxy) as client:
            for _ in range(2):
                await client.send('{"type":"ping"}')
                assert await client.recv() == '{"type":"pong"}'
            await client.send('{"type":"old","requestId":"r"}')
            answer = json.loads(await client.recv())
            assert (answer["status"], answer["requestId"]) == (410, "r")
            assert (answer["error"]["id"], answer["error"]["message"]) == ("holdfast.bad_request", "no more of this")
            await client.send('{"type":"late"}')
            answer = json.loads(await client.recv())
            assert (answer["status"], answer["error"]["retryable"]) == (503, True)
            assert answer["error"]["message"] == "the route route 3 refuses this"


async def test_fixed_answers_keep_their_place_among_requests():
    """More of them at once than a client may have open, with one before them that waits for its node."""
    async with deployment(
        {"field": {"type": "ping"}, "status": 200, "body": "pong"}, nodes=({},), client={"max_in_flight": 2}
    ) as (proxy, _, node):
        async with websocket(proxy) as client:
            await client.send("first")
            request = await node.take(frames.Request)
            for _ in range(10):
                await client.send('{"type":"ping"}')
            assert [await client.recv() for _ in range(10)] == ["pong"] * 10
            await node.reply(request)
            assert await client.recv() == "first"


async def test_a_route_has_a_timeout_of_its_own():
    async with deployment({"path": "/slow", "timeout": "300ms", "nodes": "*"}, nodes=({},)) as (_, http, node):
        async with trio.open_nursery() as nursery:
            replies = []

            async def ask(path):
                replies.append(await http.get(path))

            nursery.start_soon(ask, "/other")
            other = await node.take(frames.HttpRequest)
            nursery.start_soon(ask, "/slow")
            slow = await node.take(frames.HttpRequest)
            assert (other.timeout, slow.timeout) == (10_000, 300)
            assert await node.take(frames.Cancel) == frames.Cancel(slow.id, 1)
            node.say(frames.HttpReply(other.id, 1, b"in time"))
        assert [reply.status_code for reply in replies] == [504, 200]
        assert "no reply within 0.3 s" in replies[0].text


@pytest.mark.parametrize(("path", "status"), [("/once", 502), ("/again", 200)])
async def test_a_route_has_redelivery_of_its_own(path, status):
    async with deployment({"path": "/once", "redelivery": "never"}, nodes=({},)) as (proxy, http, node):
        async with trio.open_nursery() as nursery:

            async def ask():
                assert (await http.get(path)).status_code == status

            nursery.start_soon(ask)
            await node.take(frames.HttpRequest)
            with ScriptedNode(proxy.node) as other:
                await other.join()
                node.close()
                if status == 200:
                    request = await other.take(frames.HttpRequest)
                    assert request.attempt == 2
                    other.say(frames.HttpReply(request.id, 2, b""))


async def test_a_route_has_as_many_in_flight_as_it_says():
    async with deployment({"path": "/few", "max_in_flight": 1}, nodes=({},)) as (proxy, http, node):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.get, "/few")
            request = await node.take(frames.HttpRequest)
            reply = await http.get("/few")
            assert reply.status_code == 503
            assert reply.json()["error"]["message"] == "too many requests in flight by the route route 1"
            await taken(http, node, "GET", "/other")
            node.say(frames.HttpReply(request.id, 1, b""))
        assert proxy.counters.limits_hit["request.max_in_flight"] == 1


async def test_a_sticky_route_beside_another_policy():
    async with deployment({"path": "/sticky", "policy": "sticky"}, {"policy": "round-robin"}) as (proxy, _, one, two):
        sticky, turns = [], []
        for path, found in (("/sticky", sticky), ("/", turns)):
            async with websocket(proxy, path) as client:
                for _ in range(6):
                    await client.send("x")
                    async with trio.open_nursery() as nursery:
                        for node in (one, two):
                            nursery.start_soon(answer, node, found, nursery)
                    await client.recv()
        assert len(set(sticky)) == 1
        assert turns in ([one.id, two.id] * 3, [two.id, one.id] * 3)


async def answer(node, found, nursery):
    await node.reply()
    found.append(node.id)
    nursery.cancel_scope.cancel()


async def test_without_a_node_of_the_route_a_request_is_parked_and_the_answer_names_the_route():
    async with deployment(
        {"path": "/mail", "nodes": "mail", "name": "mail"}, nodes=({"name": "chat"},), request={"parked_timeout": 0.3}
    ) as (proxy, http, chat):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.get, "/mail")
            await proxy.until(lambda: proxy.app.ledger.parked_count == 1)
            with ScriptedNode(proxy.node, name="mail") as mail:
                await mail.join()
                request = await mail.take(frames.HttpRequest)
                mail.say(frames.HttpReply(request.id, 1, b""))
        reply = await http.get("/mail")
        assert reply.status_code == 503
        assert reply.json()["error"]["message"] == "no node of the route mail was available for 0.3 s"
        assert proxy.counters.request_errors[Reason.NO_NODE] == 1
        await taken(http, chat, "GET", "/")


async def test_between_two_parts_may_pass_what_the_node_is_told_of_in_its_welcome():
    """A node ends its handler by that: with a route's own time the client had no word for as long as that."""
    async with deployment(
        {"nodes": "one", "timeout": 60.0}, nodes=({"name": "one"},), request={"timeout": 0.2, "stream_timeout": 0.3}
    ) as (proxy, _, node):
        assert [frame.stream_timeout for frame in node.frames if isinstance(frame, frames.Welcome)] == [0.3]
        async with websocket(proxy) as client:
            await client.send("x")
            request = await node.take(frames.Request)
            assert request.timeout == 60_000
            node.say(frames.Reply(request.id, 1, b"part", True, more=True))
            assert await client.recv() == "part"
            assert "no further part of the reply within 0.3 s" in await client.recv()
            assert (await node.take(frames.Cancel)).request == request.id


async def test_who_has_waited_longest_is_next_whatever_its_route():
    """Two routes with one node: the one that always has more to ask must not keep the other from it."""
    async with deployment(
        {"field": {"type": "a"}, "nodes": "n"},
        {"field": {"type": "b"}, "nodes": "n"},
        nodes=({"name": "n", "capacity": 1},),
    ) as (proxy, _, node):
        async with websocket(proxy) as client:
            kinds = "aababa"
            for kind in kinds:
                await client.send(f'{{"type":"{kind}"}}')
            await proxy.until(lambda: proxy.app.ledger.parked_count == len(kinds) - 1)
            got = []
            for _ in kinds:
                got.append(json.loads((await node.reply()).payload)["type"])
                await client.recv()
            assert "".join(got) == kinds


async def test_the_access_log_names_the_route():
    async with deployment(
        {"path": "/fixed", "status": 418, "body": "tea", "name": "fixed"},
        {"path": "/n", "nodes": "n", "name": "nodes"},
        nodes=({"name": "n"},),
        log={"access_log": True, "level": "info"},
    ) as (_, http, node):
        with capture_logs() as lines:
            await http.get("/fixed")
            await taken(http, node, "GET", "/n")
            await taken(http, node, "GET", "/other")
        access = [line for line in lines if line["event"] == "request"]
        assert [(line["route"], line["status"], line["path"]) for line in access] == [
            ("fixed", 418, "/fixed"),
            ("nodes", 200, "/n"),
            (None, 200, "/other"),
        ]
        assert (access[0]["request"], access[0]["node"], access[0]["seconds"], access[0]["reply_bytes"]) == (
            0,
            None,
            0,
            3,
        )


async def test_without_routes_nothing_stands_before_dispatch():
    async with running() as proxy:
        assert proxy.app.router is None
        assert proxy.app.clients.dispatch == proxy.app.dispatch.request
        async with websocket(proxy) as client:
            with ScriptedNode(proxy.node) as node:
                await node.join()
                await client.send("x")
                await node.reply()
                await client.recv()
                [session] = proxy.app.clients.all_sessions()
                assert session.plan is None
