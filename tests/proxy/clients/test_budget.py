"""What all clients together make the proxy hold: that it is counted exactly, and who makes way when it is too much."""

import gzip
import json
import random
import socket
import struct
import zlib
from contextlib import asynccontextmanager

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import pack_ids
from holdfast.proxy.clients.budget import LIMIT, TIGHT_SHARE
from holdfast.proxy.clients.held import Held
from holdfast.proxy.clients.outbox import Outbox
from tests.harness import ScriptedNode, client_ids, running, websocket

KIB = 1 << 10
BUDGET = 1024 * KIB
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


@asynccontextmanager
async def deployment(*, capacity=1000, **client):
    client.setdefault("max_buffered_bytes", BUDGET)
    async with running(client=client) as proxy:
        proxy.streams = []
        with ScriptedNode(proxy.node, capacity=capacity) as node:
            await node.join()
            yield proxy, node
        for stream in proxy.streams:
            await trio.aclose_forcefully(stream)


async def connected(proxy, data=b""):
    stream = await trio.open_tcp_stream("127.0.0.1", proxy.client_port)
    proxy.streams.append(stream)
    await stream.send_all(data)
    return stream


async def all_of(stream):
    """Until its end."""
    data = b""
    while chunk := await stream.receive_some(1 << 16):
        data += chunk
    return data


def held(proxy):
    return proxy.app.budget.held_bytes


async def until_held(proxy, least, most=None):
    most = least if most is None else most
    await proxy.until(lambda: least <= held(proxy) <= most, f"{least} to {most} bytes to be held")


def frame(first, payload, rest=0):
    """A frame whose last bytes are missing."""
    size = struct.pack(">BQ", 0xFF, len(payload)) if len(payload) >> 16 else struct.pack(">BH", 0xFE, len(payload))
    return bytes((first,)) + size + bytes(4) + payload[: len(payload) - rest]


def deflated(payload):
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


NOISE = random.Random(5).randbytes(20_000)
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

# What a client says, and the least and the most that is held of it then.
UNFINISHED = {
    "a body": (POST % 20_000 + bytes(15_000), 15_000, 15_000),
    "a body in chunks": (CHUNKED + b"3a98\r\n" + bytes(15_000) + b"\r\n", 15_000, 15_000),
    "a head": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9_000, 9_000, 9_100),
    "a message": (UPGRADE % b"" + frame(0x82, bytes(20_000), 1), 19_999, 19_999),
    "parts of a message": (UPGRADE % b"" + frame(0x02, bytes(9_000)) + frame(0x00, bytes(6_000)), 15_000, 15_000),
    "a message that inflates": (
        UPGRADE % DEFLATE + frame(0xC2, deflated(bytes(200_000)) + b"more", 4),
        200_000,
        300_000,
    ),
}


@pytest.mark.parametrize(("said", "least", "most"), UNFINISHED.values(), ids=UNFINISHED)
async def test_what_is_unfinished_is_counted_until_its_client_goes(said, least, most):
    async with deployment(compression=True) as (proxy, _):
        stream = await connected(proxy, said)
        await until_held(proxy, least, most)
        await stream.aclose()
        await until_held(proxy, 0)


async def test_a_request_is_counted_until_its_reply():
    async with deployment() as (proxy, node):
        async with websocket(proxy) as client:
            await client.send(bytes(50_000))
            request = await node.take(frames.Request)
            assert held(proxy) == 50_000
            await node.reply(request, b"done")
            assert await client.recv() == b"done"
            assert held(proxy) == 0
        body = gzip.compress(NOISE)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        stream = await connected(proxy, head + body)
        request = await node.take(frames.HttpRequest)
        assert held(proxy) == len(NOISE)
        node.say(frames.HttpReply(request.id, request.attempt, b"", 200, []))
        await stream.receive_some(1)
        assert held(proxy) == 0


async def test_large_headers_are_counted_for_as_long_as_their_request_is():
    async with deployment() as (proxy, node):
        stream = await connected(proxy, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9_000 + b"\r\n\r\n")
        request = await node.take(frames.HttpRequest)
        await until_held(proxy, 9_000, 9_100)
        node.say(frames.HttpReply(request.id, request.attempt, b"", 200, []))
        await stream.receive_some(1)
        assert held(proxy) == 0


async def test_what_waits_above_max_in_flight_is_counted():
    async with deployment(max_in_flight=2) as (proxy, node):
        message = bytes((0x82, 0x80 | 100)) + bytes(4 + 100)
        stream = await connected(proxy, UPGRADE % b"" + message * 10)
        await proxy.until(lambda: held(proxy) == 1000, "ten messages to be held")
        await node.reply()
        await proxy.until(lambda: held(proxy) == 900, "one of them to be done")
        await stream.aclose()
        await until_held(proxy, 0)


async def test_what_is_parked_is_counted_and_what_expires_is_not():
    async with running(client={"max_buffered_bytes": BUDGET}, request={"parked_timeout": 0.2}) as proxy:
        async with websocket(proxy) as client:
            await client.send(bytes(50_000))
            await until_held(proxy, 50_000)
            assert json.loads(await client.recv())["status"] == 503
            await until_held(proxy, 0)


async def test_unread_replies_are_counted_until_they_are_read():
    size = 12 << 20  # more than two kernels take
    async with deployment(send_buffer_bytes=64 * KIB, max_buffered_bytes=4 * size) as (proxy, node):
        stream = await connected(proxy, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        request = await node.take(frames.HttpRequest)
        node.say(frames.HttpReply(request.id, request.attempt, bytes(size), 200, []))
        await until_held(proxy, size, size + KIB)
        got = 0
        while got < size:
            got += len(await stream.receive_some(1 << 16))
        await until_held(proxy, 0)


def test_what_waits_in_many_outboxes_is_counted_once():
    held = Held()
    first, second = Outbox(held), Outbox(held)
    shared, own = bytes(1000), bytes(500)
    for outbox in (first, second):
        outbox.put(shared)
    first.put(own)
    first.put_sealed(b"record")
    assert held.bytes == 1506
    assert (first.share_bytes, second.share_bytes) == (1006, 500)  # an equal part of what both wait for
    first.take_sealed(6)
    first.take(1200)
    assert (held.bytes, first.share_bytes, second.share_bytes) == (1500, 500, 1000)
    first.truncate()  # what has begun stays
    second.truncate()
    assert (held.bytes, second.size) == (500, 0)
    first.close()
    second.close()
    assert (held.bytes, first.size) == (0, 0)


async def test_a_notification_to_many_who_do_not_read_is_held_once():
    async with deployment(send_buffer_bytes=4096, max_outbox_bytes=BUDGET) as (proxy, node):
        streams = []
        for _ in range(10):
            streams.append(await connected(proxy))
            streams[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await streams[-1].send_all(UPGRADE % b"")
        await proxy.until(lambda: len(client_ids(proxy)) == 10, "ten clients")
        node.do(frames.Notify(bytes(500 * KIB), False, [], pack_ids(client_ids(proxy))))
        await proxy.until(
            lambda: all(each.outbox_bytes > 1 for each in proxy.app.clients.connections.values()), "all to be behind"
        )
        assert 500 * KIB < held(proxy) < 501 * KIB
        assert proxy.counters.limits_hit[LIMIT] == 0


# --- too much ------------------------------------------------------------------------------------------------------


async def test_who_holds_most_of_unfinished_bodies_is_told_503_and_who_holds_little_goes_on():
    async with deployment() as (proxy, node):
        small = await connected(proxy, POST % 1000 + bytes(900))
        large = [await connected(proxy, POST % (300 * KIB) + bytes(200 * KIB)) for _ in range(5)]
        await until_held(proxy, 1000 * KIB, BUDGET)
        assert proxy.counters.limits_hit[LIMIT] == 0
        largest = await connected(proxy, POST % (400 * KIB) + bytes(250 * KIB))
        said = await all_of(largest)
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in head + b"\r\n"
        assert json.loads(body)["error"]["id"] == "holdfast.overloaded"
        assert held(proxy) <= BUDGET - BUDGET // 8
        assert proxy.counters.limits_hit[LIMIT] == proxy.counters.connections_closed[Reason.OVERLOADED]
        await small.send_all(bytes(100))
        request = await node.take(frames.HttpRequest)
        assert len(request.payload) == 1000
        for each in (small, *large):
            await each.aclose()
        await proxy.until(lambda: held(proxy) == 1000, "the request alone to be held")


async def test_a_message_without_end_is_closed_with_1013():
    async with deployment(max_message_bytes=2 * BUDGET, close_timeout=0.1) as (proxy, _):
        stream = await connected(proxy, UPGRADE % b"" + frame(0x82, bytes(BUDGET + 2 * KIB), 1))
        said = await all_of(stream)
        close = said[said.index(b"\r\n\r\n") + 4 :]
        assert close[0] == 0x88
        assert struct.unpack(">H", close[2:4])[0] == 1013
        await until_held(proxy, 0)


async def test_requests_that_are_too_much_are_answered_and_their_nodes_told():
    async with deployment() as (proxy, node):
        async with websocket(proxy) as small, websocket(proxy) as first, websocket(proxy) as second:
            await small.send("small")
            asked = await node.take(frames.Request)
            await first.send(bytes(600 * KIB))
            await node.take(frames.Request)
            await second.send(bytes(500 * KIB))
            reply = json.loads(await first.recv())
            assert (reply["status"], reply["error"]["id"]) == (503, "holdfast.overloaded")
            assert reply["error"]["retryable"]
            await node.take(frames.Cancel)
            assert held(proxy) == 500 * KIB + len("small")
            await node.reply(asked)
            assert await small.recv() == "small"
            await first.send("lives")
            await node.take(frames.Request)  # of the second
            await node.reply()
            assert await first.recv() == "lives"
        assert proxy.counters.request_errors[Reason.OVERLOADED] == 1


async def test_what_asks_goes_with_a_connection_that_ends():
    """Its unfinished message is the largest; the requests it has open are no longer wanted by anybody."""
    async with deployment(max_message_bytes=BUDGET, close_timeout=0.1) as (proxy, node):
        stream = await connected(proxy, UPGRADE % b"" + frame(0x82, bytes(400 * KIB)))
        await node.take(frames.Request)
        await stream.send_all(frame(0x82, bytes(700 * KIB), 1))
        await node.take(frames.Cancel)
        await until_held(proxy, 0)
        assert proxy.counters.limits_hit[LIMIT] == 2  # at once, and not when the ticker finds them
        assert b"\x03\xf5" in await all_of(stream)  # 1013


async def test_who_does_not_read_what_it_has_asked_for_is_reset():
    async with deployment(send_buffer_bytes=4096) as (proxy, node):
        stream = await connected(proxy)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        request = await node.take(frames.HttpRequest)
        node.say(frames.HttpReply(request.id, request.attempt, bytes(BUDGET + KIB), 200, []))
        await until_held(proxy, 0)
        with pytest.raises(trio.BrokenResourceError):  # not an end that the reply could be taken for
            await all_of(stream)


async def test_a_session_that_does_not_read_is_reset_if_it_can_not_be_told():
    async with deployment(send_buffer_bytes=4096) as (proxy, node):
        async with websocket(proxy, max_queue=1, max_size=None) as client:
            await client.send("x")
            await node.reply(None, b"y" * (8 * BUDGET))
            await proxy.until(lambda: proxy.counters.connections_closed[Reason.OVERLOADED] == 1, "it to be closed")
            await until_held(proxy, 0)
            with pytest.raises(ConnectionClosed):
                await client.recv()


async def test_from_half_of_it_on_each_client_may_ask_less_at_once():
    async with deployment(max_in_flight=2 * TIGHT_SHARE) as (proxy, node):
        body = await connected(proxy, POST % BUDGET + bytes(BUDGET // 2 + 1))
        await until_held(proxy, BUDGET // 2 + 1)
        async with websocket(proxy) as client:
            for _ in range(5):
                await client.send("x")
            await proxy.until(lambda: len(proxy.app.ledger) == 2, "two of them to be with the node")
            for _ in range(3):
                await node.reply()
                assert await client.recv() == "x"
            assert len(proxy.app.ledger) == 2
            await body.aclose()
            await until_held(proxy, 2)
            await node.reply()  # it is read again from then on
            for _ in range(5):
                await client.send("x")
            await proxy.until(lambda: len(proxy.app.ledger) == 6, "all to be with the node")


async def test_bodies_that_inflate_are_looked_at_while_they_do():
    """Each is small, and within its own limits."""
    layered = gzip.compress(gzip.compress(bytes(400 * KIB)))
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(layered)
    async with deployment() as (proxy, _):
        most = 0
        step = proxy.app.budget.step

        def watch(now):
            nonlocal most
            most = max(most, held(proxy))
            return step(now)

        proxy.app.reactor._steps[-2] = watch
        streams = [await connected(proxy, head + layered) for _ in range(20)]
        await proxy.until(lambda: proxy.counters.limits_hit[LIMIT] > 0, "somebody to make way")
        await proxy.until(
            lambda: len(proxy.app.ledger) + proxy.counters.limits_hit[LIMIT] == len(streams), "all to be done"
        )
        assert held(proxy) == 400 * KIB * len(proxy.app.ledger)
        assert most < 2 * BUDGET
