"""HTTP requests through the proxy: what nodes see, what clients get, what may be sent again."""

import socket
import struct
from contextlib import AsyncExitStack

import httpx
import pytest
import trio

from holdfast.protocols.nodes import frames
from tests.harness import ScriptedNode, running, websocket


async def test_request_and_reply_with_everything_in_it():
    async with running() as proxy, httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            answers = []

            async def ask():
                answers.append(await http.post("/a/b?c=d", content=b"body", headers={"X-User": "anna"}))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                request = await node.take(frames.HttpRequest)
                assert (request.method, request.target, request.payload) == ("POST", "/a/b?c=d", b"body")
                assert (request.client.protocol, request.client.path, request.client.query) == ("http", "/a/b", "c=d")
                assert ("x-user", "anna") in [tuple(pair) for pair in request.client.headers]
                headers = [("Content-Type", "text/css"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
                node.say(frames.HttpReply(request.id, 1, b"made", 201, headers))
            (answer,) = answers
            assert (answer.status_code, answer.content) == (201, b"made")
            assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
            assert len(proxy.app.registry) == 0
            assert not [f for f in node.frames if isinstance(f, frames.Changes)]


async def test_streamed_reply_is_chunked():
    async with running() as proxy, httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with trio.open_nursery() as nursery:

                async def serve():
                    request = await node.take(frames.HttpRequest)
                    node.say(frames.HttpReply(request.id, 1, b"one,", 200, [("content-type", "text/plain")], True))
                    node.say(frames.HttpReply(request.id, 1, b"two", more=True))
                    node.say(frames.HttpReply(request.id, 1, b"", more=False))

                nursery.start_soon(serve)
                answer = await http.get("/")
            assert answer.text == "one,two"
            assert proxy.counters.replies == 1  # in three parts
            assert answer.headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 205)])
async def test_a_reply_in_parts_that_has_only_a_head_ends_with_that(method, status):
    """Its parts are nothing to the client: they would go on for as long as the node likes."""
    async with running() as proxy, httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            proxy.app.directory.nodes[node.id].health.failures = 1
            for number in (1, 2):  # on one connection
                async with trio.open_nursery() as nursery:

                    async def serve():
                        request = await node.take(frames.HttpRequest)
                        node.say(frames.HttpReply(request.id, 1, b"event", status, [], True))
                        assert (await node.take(frames.Cancel)).request == request.id

                    nursery.start_soon(serve)
                    answer = await http.request(method, "/")
                assert (answer.status_code, answer.content) == (status, b"")
                assert (len(proxy.app.ledger), proxy.counters.replies) == (0, number)
            known = proxy.app.directory.nodes[node.id]
            assert (known.in_flight, known.health.failures) == (0, 0), "a success, like any other"


@pytest.mark.parametrize("behind", ["another client", "the same connection"])
async def test_its_place_goes_to_who_waits_at_once(behind):
    """And not with the next tick: a node of capacity n served 10 n such replies a second."""
    ask = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with running() as proxy, AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", proxy.client_port)) for _ in "12"
        ]
        with ScriptedNode(proxy.node, capacity=1) as node:
            await node.join()
            known = proxy.app.directory.nodes[node.id]
            if behind == "another client":
                await one.send_all(ask)
                first = await node.take(frames.HttpRequest)
                await other.send_all(ask)
                await proxy.until(lambda: len(proxy.app.ledger) == 2)
            else:
                await one.send_all(ask * 2)
                first = await node.take(frames.HttpRequest)
            proxy.app.dispatch.replied(known, frames.HttpReply(first.id, 1, b"part", more=True))
            assert known.in_flight == 1, "the other one's; and this without a turn in between"
            assert (await node.take(frames.Cancel)).request == first.id
            assert (await node.take(frames.HttpRequest)).id > first.id


@pytest.mark.parametrize(
    ("method", "again"), [("GET", True), ("PUT", True), ("DELETE", True), ("POST", False), ("PATCH", False)]
)
async def test_what_a_lost_node_had(method, again):
    async with running() as proxy, httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
        with ScriptedNode(proxy.node) as first, ScriptedNode(proxy.node) as second:
            await first.join()
            answers = []

            async def ask():
                answers.append(await http.request(method, "/"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await first.take(frames.HttpRequest)
                await second.join()
                first.close()
                if again:
                    request = await second.take(frames.HttpRequest)
                    assert request.attempt == 2
                    second.say(frames.HttpReply(request.id, 2, b"saved"))
            (answer,) = answers
            if again:
                assert answer.text == "saved"
            else:
                assert answer.status_code == 502
                assert answer.json()["error"]["id"] == "holdfast.node_lost"


async def test_what_a_node_leaves_undone_that_has_said_goodbye_is_no_fault_of_its_own():
    """It was drained, and its time was up. The client stays."""
    async with running() as proxy, httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()

            async def leave():
                await node.take(frames.HttpRequest)
                node.say(frames.Bye())

            async with websocket(proxy) as client, trio.open_nursery() as nursery:
                await client.send("stream")
                request = await node.take(frames.Request)
                node.say(frames.Reply(request.id, 1, b"part", False, True))
                assert await client.recv() == b"part"
                nursery.start_soon(leave)
                answer = await http.post("/")
                assert (answer.status_code, answer.json()["error"]["id"]) == (503, "holdfast.draining")
                assert "connection" not in answer.headers
                assert "holdfast.draining" in await client.recv()
            assert proxy.counters.nodes_lost == 0


async def test_a_reply_that_breaks_off_ends_the_connection_and_never_looks_whole():
    async with running() as proxy, httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with trio.open_nursery() as nursery:

                async def serve():
                    request = await node.take(frames.HttpRequest)
                    node.say(frames.HttpReply(request.id, 1, b"half", more=True))
                    node.say(frames.Heartbeat(0.0))
                    await node.take(frames.Heartbeat)
                    node.close()

                nursery.start_soon(serve)
                with pytest.raises(httpx.TransportError):
                    await http.get("/")


@pytest.mark.parametrize(
    "reply",
    [
        {"status": 42},
        {"status": 200, "headers": [("x", "a\r\nSet-Cookie: evil=1")]},
        {"status": 200, "headers": [("bad name", "x")]},
    ],
)
async def test_a_reply_that_is_no_http_is_a_502(reply):
    async with running() as proxy, httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with trio.open_nursery() as nursery:

                async def serve():
                    request = await node.take(frames.HttpRequest)
                    node.say(frames.HttpReply(request.id, 1, b"x", **reply))

                nursery.start_soon(serve)
                answer = await http.get("/")
            assert answer.status_code == 502
            assert "evil" not in str(answer.headers)


async def test_failure_with_a_status_of_its_own():
    async with running() as proxy, httpx.AsyncClient(base_url=f"http://{proxy.client}") as http:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with trio.open_nursery() as nursery:

                async def serve():
                    request = await node.take(frames.HttpRequest)
                    node.say(frames.Failure(request.id, 1, 404, "no such thing"))

                nursery.start_soon(serve)
                answer = await http.get("/")
            assert (answer.status_code, answer.json()["error"]["message"]) == (404, "no such thing")


async def test_no_node_is_a_503_with_retry_after():
    async with (
        running(request={"parked_timeout": 0.1}) as proxy,
        httpx.AsyncClient(base_url=f"http://{proxy.client}") as http,
    ):
        answer = await http.get("/")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert (await http.get("/")).status_code == 503  # on the same connection
        assert proxy.counters.connections_accepted == 1


async def test_who_waits_for_a_reply_is_not_read_meanwhile():
    """The next request stays in the socket, which wakes the proxy once for it and not in every turn."""
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as client:
                await client.send_all(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
                first = await node.take(frames.HttpRequest)
                received = proxy.counters.bytes_received
                events = proxy.app.reactor.events
                await client.send_all(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
                for _ in range(5):
                    node.say(frames.Heartbeat(0.0))
                    await node.take(frames.Heartbeat)
                assert proxy.app.reactor.events - events < 20
                assert proxy.counters.bytes_received == received
                node.say(frames.HttpReply(first.id, 1, b""))
                second = await node.take(frames.HttpRequest)
                assert second.target == "/2"
                node.say(frames.HttpReply(second.id, 1, b""))
                await proxy.until(lambda: proxy.counters.replies == 2)
                await client.send_all(b"GET /3 HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await node.take(frames.HttpRequest)).target == "/3"


async def test_requests_behind_a_large_reply_are_served_once_that_is_read():
    """They have come with the first, and nothing more comes. Of a client with so much to read no more is taken yet."""
    size = 6 << 20
    async with running(client={"max_outbox_bytes": 1 << 16}) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as client:
                await client.send_all(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)))
                for payload in (bytes(size), b"small"):
                    request = await node.take(frames.HttpRequest)
                    node.say(frames.HttpReply(request.id, 1, payload))
                await proxy.until(lambda: proxy.counters.replies == 2)
                node.say(frames.Heartbeat(0.0))
                await node.take(frames.Heartbeat)
                assert not any(isinstance(frame, frames.HttpRequest) for frame in node.inbox)
                got = 0
                while got < size:
                    got += len(await client.receive_some(1 << 20))
                assert (await node.take(frames.HttpRequest)).target == "/2"


async def test_who_resets_is_gone_and_who_closes_may_wait_for_its_answer():
    """The end of what a client sends is no end of what it reads, as HTTP/1.1 has it."""
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            for has_closed in (False, True):
                stream = await trio.open_tcp_stream("127.0.0.1", proxy.client_port)
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                request = await node.take(frames.HttpRequest)
                if has_closed:
                    await stream.send_eof()
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await stream.aclose()
                assert await node.take(frames.Cancel) == frames.Cancel(request.id, 1)

            stream = await trio.open_tcp_stream("127.0.0.1", proxy.client_port)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            request = await node.take(frames.HttpRequest)
            await stream.send_eof()
            async with websocket(proxy) as other:  # by whose request it has been seen
                await other.send("x")
                await node.reply(await node.take(frames.Request), b"x")
                await other.recv()
            node.say(frames.HttpReply(request.id, 1, b"here it is", 200, []))
            assert (b"".join([part async for part in stream])).endswith(b"here it is")
            await stream.aclose()
