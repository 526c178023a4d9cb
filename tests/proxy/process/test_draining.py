"""SIGTERM: not ready, no new connections, requests finish, clients are told 1012, nodes too; a second one stops."""

import json
import os
import signal
import ssl
from contextlib import AsyncExitStack, suppress
from functools import partial

import pytest
import structlog
import trio
from websockets.exceptions import ConnectionClosed

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.proxy.app import App, Phase
from holdfast.proxy.clients.state import OPEN
from holdfast.proxy.realtime import lanes
from tests.harness import Proxy as RunningProxy
from tests.harness import ScriptedNode, configure, websocket
from tests.waiting import PATIENCE


class Serving:
    """An App whose `run` the test lets end by itself."""

    def __init__(self, **sections):
        self.app = App(configure(**sections))
        self.ended = trio.Event()

    async def start(self, nursery):
        bound = []
        ready = trio.Event()

        def on_ready(where):
            bound.append(where)
            ready.set()

        async def run():
            await self.app.run(on_ready)
            self.ended.set()

        nursery.start_soon(run)
        await ready.wait()
        return RunningProxy(self.app, bound[0])

    async def wait_ended(self):
        with trio.fail_after(PATIENCE):
            await self.ended.wait()


async def test_drain_lets_requests_finish_and_closes_clients_with_1012():
    serving = Serving(drain={"timeout": 5.0, "spread": 0.1})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                await client.send("last question")
                request = await node.take(frames.Request)
                os.kill(os.getpid(), signal.SIGTERM)
                await proxy.until(lambda: serving.app.phase is Phase.DRAINING)
                assert serving.app.control.ready() == (False, "draining")
                with pytest.raises(OSError, match=r"."):
                    await trio.open_tcp_stream("127.0.0.1", proxy.client_port)
                await node.reply(request)
                assert await client.recv() == "last question"
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd.code == 1012
            assert isinstance(await node.take(frames.Bye), frames.Bye)
            await serving.wait_ended()


async def test_a_reply_whose_effects_take_several_turns_is_waited_for(monkeypatch):
    """It is taken, so the request is none that is open any more; but its client has not got it."""
    monkeypatch.setattr(lanes, "SLICE", 1)
    serving = Serving(drain={"timeout": 4 * PATIENCE, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                await client.send("last question")
                request = await node.take(frames.Request)
                await node.reply(request, effects=[frames.Join(request.client, f"{n}") for n in range(5000)])
                await proxy.until(lambda: serving.app.dispatch.late and not len(serving.app.ledger))
                monkeypatch.setattr(lanes, "SLICE", 0)  # it goes on no more
                with structlog.testing.capture_logs() as lines:
                    os.kill(os.getpid(), signal.SIGTERM)
                    await proxy.until(lambda: any(line["event"] == "draining" for line in lines))
                await (await client.ping()).wait()
                assert serving.app.dispatch.late
                assert [connection.state for connection in serving.app.clients.connections.values()] == [OPEN]
                monkeypatch.setattr(lanes, "SLICE", 256)
                assert await client.recv() == "last question"
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd.code == 1012
            await serving.wait_ended()


async def test_what_was_asked_while_it_drains_is_answered_too_and_nothing_more_is_taken():
    serving = Serving(drain={"timeout": 4 * PATIENCE, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as early, websocket(proxy) as late:
                await early.send("before")
                before = await node.take(frames.Request)
                with structlog.testing.capture_logs() as lines:
                    os.kill(os.getpid(), signal.SIGTERM)
                    await proxy.until(lambda: any(line["event"] == "draining" for line in lines))
                await late.send("meanwhile")
                meanwhile = await node.take(frames.Request)
                await node.reply(before)
                assert await early.recv() == "before"
                with pytest.raises(ConnectionClosed):
                    await early.recv()
                await late.send("too late")
                await node.reply(meanwhile)
                assert await late.recv() == "meanwhile"
                with pytest.raises(ConnectionClosed) as closed:
                    await late.recv()
                assert closed.value.rcvd.code == 1012
            assert isinstance(await node.take(frames.Bye), frames.Bye)
            assert not any(isinstance(frame, frames.Request) for frame in node.inbox)
            await serving.wait_ended()


async def test_what_a_rate_has_held_back_is_answered_in_a_drain():
    """No reply is to come that would have it gone on with."""
    serving = Serving(
        drain={"timeout": 4 * PATIENCE, "spread": 0.0}, client={"max_in_flight": 1, "max_message_rate": 2}
    )
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                (connection,) = proxy.app.clients.connections.values()
                connection.receive(
                    b"".join(b"\x81\x81\0\0\0\0%d" % number for number in range(9)), proxy.app.reactor.now
                )
                await node.reply(await node.take(frames.Request))
                assert await client.recv() == "0"
                assert (connection.in_flight, connection.has_asked) == (0, True)
                with structlog.testing.capture_logs() as lines:
                    os.kill(os.getpid(), signal.SIGTERM)
                    answers = await answered_until_closed(node, client)
                    await serving.wait_ended()
    assert len(answers) == 8
    assert not any(line["event"] == "drain_timeout" for line in lines)


async def answered_until_closed(node, client):
    """What a client hears, of a node that echoes."""
    heard = []

    async def reply_to_all():
        while True:
            await node.reply(await node.take(frames.Request))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reply_to_all)
        with suppress(ConnectionClosed):
            while True:
                heard.append(await client.recv())
        nursery.cancel_scope.cancel()
    return heard


async def test_what_waits_above_max_in_flight_is_answered_too():
    serving = Serving(drain={"timeout": 4 * PATIENCE, "spread": 0.0}, client={"max_in_flight": 2})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as client:
                (connection,) = proxy.app.clients.connections.values()
                now = proxy.app.reactor.now
                connection.receive(b"".join(b"\x81\x81\0\0\0\0%d" % number for number in range(5)), now)
                requests = [await node.take(frames.Request) for _ in range(2)]
                os.kill(os.getpid(), signal.SIGTERM)
                await proxy.until(lambda: proxy.app.phase.value == "draining")
                for number in range(5):
                    await node.reply(requests[number])
                    if number == 1:
                        await proxy.until(lambda: connection.is_hushed)
                    if number < 3:
                        requests.append(await node.take(frames.Request))
                assert [await client.recv() for _ in range(5)] == ["0", "1", "2", "3", "4"]
                with pytest.raises(ConnectionClosed):
                    await client.recv()
            await serving.wait_ended()


async def test_closing_is_spread_over_time():
    serving = Serving(drain={"timeout": 5.0, "spread": 0.5})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        times = []

        async def stay(*, task_status):
            async with websocket(proxy) as client:
                task_status.started()
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                times.append(trio.current_time())

        for _ in range(20):
            await nursery.start(stay)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving.wait_ended()
        assert len(times) == 20
        assert max(times) - min(times) > 0.2


async def test_http_in_flight_gets_its_reply_and_connection_close():
    import httpx

    serving = Serving(drain={"timeout": 5.0, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            answers = []

            async def ask():
                async with httpx.AsyncClient() as http:
                    answers.append(await http.get(f"http://{proxy.client}/"))

            async with trio.open_nursery() as asking:
                asking.start_soon(ask)
                request = await node.take(frames.HttpRequest)
                os.kill(os.getpid(), signal.SIGTERM)
                await proxy.until(lambda: serving.app.phase is Phase.DRAINING)
                node.say(frames.HttpReply(request.id, 1, b"done"))
            assert answers[0].text == "done"
            await serving.wait_ended()


async def test_http_that_is_asked_while_it_drains_is_told_that_no_more_is_taken():
    serving = Serving(drain={"timeout": 4 * PATIENCE, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with websocket(proxy) as early, await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as late:
                await early.send("before")
                before = await node.take(frames.Request)
                await late.send_all(GET)  # it is accepted before the port is closed
                await proxy.until(lambda: len(proxy.app.clients.connections) == 2)
                with structlog.testing.capture_logs() as lines:
                    os.kill(os.getpid(), signal.SIGTERM)
                    await proxy.until(lambda: any(line["event"] == "draining" for line in lines))
                await late.send_all(b"\r\n")
                meanwhile = await node.take(frames.HttpRequest)
                await node.reply(before)
                assert await early.recv() == "before"
                with pytest.raises(ConnectionClosed):
                    await early.recv()
                node.say(frames.HttpReply(meanwhile.id, 1, b"done"))
                said, _ = await all_of(late)
                assert said.endswith(b"done")
                assert b"\r\nConnection: close\r\n" in said
            await serving.wait_ended()


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
UPGRADE = (
    GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE = b"\x81\x81\0\0\0\0?"
LARGE = 16_000_000  # more than the kernel takes for who does not read
# A client that then says no more: what it sends, and what a node replies to it (-1: no node does).
MUTE = {
    "new": (b"", None),
    "half of a head": (GET, None),
    "half of a body": (GET + b"Content-Length: 9\r\n\r\n?", None),
    "keep-alive": (GET + b"\r\n", 1),
    "no answer": (GET + b"\r\n", -1),
    "reads nothing": (GET + b"\r\n", LARGE),
    "WebSocket": (UPGRADE, None),
    "WebSocket, half of a message": (UPGRADE + MESSAGE[:4], None),
    "WebSocket, no answer": (UPGRADE + MESSAGE, -1),
    "WebSocket, reads nothing": (UPGRADE + MESSAGE, LARGE),
    "half of a TLS handshake": (b"\x16\x03\x01\x02\x00\x01", None),
}
NEVER = 1000.0  # seconds


@pytest.mark.parametrize("kind", MUTE)
async def test_clients_that_do_not_answer_cannot_hold_it_up(kind, certificate):
    said, size = MUTE[kind]
    client = dict.fromkeys(("close_timeout", "handshake_timeout", "body_timeout", "keepalive_timeout"), NEVER)
    if "TLS" in kind:
        client |= {"tls_certificate_file": certificate[0], "tls_key_file": certificate[1]}
    limits = {"max_message_bytes": LARGE, "max_body_bytes": LARGE}
    serving = Serving(
        drain={"timeout": 0.5, "spread": 0.0},
        client=client | limits,
        node={"max_frame_bytes": 2 * LARGE},
        request={"timeout": NEVER},
    )
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as stream:
                await stream.send_all(said)
                if size is not None:
                    request = await node.take(frames.Request | frames.HttpRequest)
                    if size >= 0 and isinstance(request, frames.Request):
                        await node.reply(request, b"x" * size)
                    elif size >= 0:
                        node.say(frames.HttpReply(request.id, 1, b"x" * size))
                await proxy.until(lambda: proxy.counters.bytes_received >= len(said) and proxy.app.clients.connections)
                if size is not None and size >= 0:
                    await proxy.until(lambda: len(proxy.app.ledger) == 0)
                os.kill(os.getpid(), signal.SIGTERM)
                await serving.wait_ended()


async def test_who_was_not_told_in_time_is_told_at_the_end():
    serving = Serving(drain={"timeout": 0.0, "spread": NEVER})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        async with websocket(proxy) as first, websocket(proxy) as second, websocket(proxy) as third:
            os.kill(os.getpid(), signal.SIGTERM)
            for client in (first, second, third):
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd.code == 1012
            await serving.wait_ended()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_second_signal_stops_at_once(number):
    serving = Serving(drain={"timeout": 60.0, "spread": 60.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        async with websocket(proxy) as client, websocket(proxy):
            os.kill(os.getpid(), signal.SIGTERM)
            await proxy.until(lambda: serving.app.phase is Phase.DRAINING)
            os.kill(os.getpid(), number)
            await serving.wait_ended()
            with pytest.raises(ConnectionClosed):
                await client.recv()


async def test_a_node_that_comes_while_the_proxy_leaves_is_told_to_go():
    serving = Serving(drain={"timeout": 5.0, "spread": 0.0})
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        serving.app.gateway.leave()
        with ScriptedNode(proxy.node) as node:
            node.say(node.hello)
            refused = await node.take(frames.Refused)
            assert not refused.fatal
        os.kill(os.getpid(), signal.SIGTERM)
        await serving.wait_ended()


async def all_of(stream):
    """What comes until the end, and whether that is a reset."""
    said = b""
    try:
        async for data in stream:
            said += data
    except trio.BrokenResourceError:
        return said, True
    return said, False


async def test_whose_time_is_up_is_told_so_and_no_node_is_blamed():
    """Over HTTP as by WebSocket: an error where none of the reply is out, else a reset; and what is logged is ours.

    What waits for the client's others is open, too, and no node gets it now.
    """
    logged = {"access_log": True, "level": "info"}
    serving = Serving(
        drain={"timeout": 0.0, "spread": NEVER}, request={"timeout": NEVER}, log=logged, client={"max_in_flight": 2}
    )
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node, structlog.testing.capture_logs() as lines:
            await node.join()
            async with websocket(proxy) as client, AsyncExitStack() as stack:
                (connection,) = proxy.app.clients.connections.values()
                connection.receive(MESSAGE * 5, proxy.app.reactor.now)
                requests = [await node.take(frames.Request) for _ in range(2)]
                dial = partial(trio.open_tcp_stream, "127.0.0.1", proxy.client_port)
                streams = [await stack.enter_async_context(await dial()) for _ in range(4)]
                for stream in streams[:3]:
                    method = b"POST" if stream is streams[0] else b"GET"
                    await stream.send_all(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
                    requests.append(await node.take(frames.HttpRequest))
                node.say(frames.HttpReply(requests[-1].id, 1, b"part", 201, [], True))
                assert b"part" in await streams[2].receive_some()
                received = proxy.counters.bytes_received
                await streams[3].send_all(MUTE["half of a body"][0])
                await proxy.until(lambda: proxy.counters.bytes_received > received)
                os.kill(os.getpid(), signal.SIGTERM)
                for _ in range(5):
                    assert json.loads(await client.recv())["error"]["id"] == "holdfast.draining"
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd.code == 1012
                for stream in (streams[0], streams[1], streams[3]):
                    said, is_reset = await all_of(stream)
                    assert not is_reset
                    assert said.startswith(b"HTTP/1.1 503 ")
                    assert b"\r\nConnection: close\r\n" in said
                    assert b"\r\nRetry-After: " in said
                assert (await all_of(streams[2]))[1]
            cancelled = {(await node.take(frames.Cancel)).request for _ in range(5)}
            assert cancelled == {request.id for request in requests}
            assert not any(isinstance(frame, frames.Request) for frame in node.inbox)
            await serving.wait_ended()
    access = [line for line in lines if line["event"] == "request"]
    assert [(line["protocol"], line["status"], line["node"]) for line in access] == [
        *[("websocket", 503, node.id)] * 2,
        *[("http", 503, node.id)] * 3,
        *[("websocket", 503, None)] * 3,
    ]
    assert proxy.counters.request_errors[Reason.DRAINING] == 8
    assert "node_lost" not in str(lines)


@pytest.mark.parametrize("said", ["half of a head", "half of a body", "keep-alive"])
async def test_its_end_is_told_by_tls_too(said, certificate):
    """Else a client can't know that the answer is whole but by its length."""
    files = {"tls_certificate_file": certificate[0], "tls_key_file": certificate[1]}
    serving = Serving(drain={"timeout": 0.0, "spread": NEVER}, client=files)
    context = ssl.create_default_context(cafile=certificate[0])
    async with trio.open_nursery() as nursery:
        proxy = await serving.start(nursery)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            port = proxy.client_port
            async with await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=context) as stream:
                await stream.send_all(MUTE[said][0])
                if said == "keep-alive":
                    request = await node.take(frames.HttpRequest)
                    node.say(frames.HttpReply(request.id, 1, b"done"))
                    assert b"done" in await stream.receive_some()
                else:
                    await proxy.until(
                        lambda: [c for c in proxy.app.clients.connections.values() if c.protocol.held_bytes]
                    )
                os.kill(os.getpid(), signal.SIGTERM)
                answer, is_broken = await all_of(stream)
                assert (answer[:13], is_broken) == (b"" if said == "keep-alive" else b"HTTP/1.1 503 ", False)
            await serving.wait_ended()
