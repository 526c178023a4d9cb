"""What fits in no limit, in every way there is: a clear answer, and nobody else is disturbed."""

import gzip
import json
import os
import socket
import struct
import zlib
from http import HTTPStatus

import pytest
import trio

from holdfast.protocols.close import Reason
from holdfast.protocols.nodes import frames
from tests.harness import ScriptedNode, running, websocket

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SMALL = {
    "max_message_bytes": 1000,
    "max_header_bytes": 2000,
    "max_headers": 20,
    "max_target_bytes": 500,
    "max_body_bytes": 5000,
    "close_timeout": 0.3,
}
# Only where time is the limit: what is to be refused for its size may come late on a busy machine.
IMPATIENT = {"handshake_timeout": 0.4, "body_timeout": 0.4}


def frame(payload: bytes, opcode=1, fin=True, masked=True, length=None) -> bytes:
    """A client's frame; `length` is what its header claims."""
    size = len(payload) if length is None else length
    head = bytes([opcode | 0x80 * fin])
    if size < 126:
        head += bytes([size | 0x80 * masked])
    elif size < 65536:
        head += bytes([126 | 0x80 * masked]) + struct.pack(">H", size)
    else:
        head += bytes([127 | 0x80 * masked]) + struct.pack(">Q", size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


class Wire:
    """A client of bare bytes, on a thread's blocking socket."""

    def __init__(self, proxy):
        self.socket = socket.create_connection(("127.0.0.1", proxy.client_port), timeout=10.0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    async def send(self, data: bytes, slice_bytes: int | None = None):
        def send():
            try:
                for start in range(0, len(data), slice_bytes or len(data) or 1):
                    self.socket.sendall(data[start : start + (slice_bytes or len(data))])
            except OSError:
                pass  # it has answered and closed: what it said is what counts

        await trio.to_thread.run_sync(send)

    async def rest(self) -> bytes:
        def read():
            data = b""
            try:
                while chunk := self.socket.recv(65536):
                    data += chunk
            except ConnectionResetError:
                pass
            self.socket.close()
            return data

        return await trio.to_thread.run_sync(read)

    async def upgrade(self):
        await self.send(UPGRADE)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await trio.to_thread.run_sync(self.socket.recv, 1)
        assert b" 101 " in head


HTTP_FAULTS = {
    "endless headers": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000, 431),
    "one huge header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 1_000_000, 431),
    "too many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A:b\r\n" * 30 + b"\r\n", 431),
    "a long target": (b"GET /" + b"a" * 600 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a declared body": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", 413),
    "a chunked body": (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"400\r\n" + b"x" * 1024 + b"\r\n") * 100,
        413,
    ),
    "a zip bomb": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        % len(gzip.compress(bytes(4_000_000)))
        + gzip.compress(bytes(4_000_000)),
        413,
    ),
    "a bomb in a bomb": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: deflate, gzip\r\nContent-Length: %d\r\n\r\n"
        % len(gzip.compress(zlib.compress(bytes(100_000_000))))
        + gzip.compress(zlib.compress(bytes(100_000_000))),
        413,
    ),
    "smuggling": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "no HTTP at all": (os.urandom(64) + b"\r\n\r\n", 400),
    "another version": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "a head that never ends": (b"GET / HTTP/1.1\r\nHost: x", 408),
    "a body that never ends": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc", 408),
    "silence": (b"", 408),
    "a wrong WebSocket version": (UPGRADE.replace(b"Version: 13", b"Version: 8"), 426),
}


@pytest.mark.parametrize(("data", "status"), HTTP_FAULTS.values(), ids=HTTP_FAULTS.keys())
async def test_http_beyond_a_limit(data, status):
    limits = SMALL | (IMPATIENT if status == 408 else {})
    async with running(client=limits) as proxy, websocket(proxy) as other:
        with ScriptedNode(proxy.node) as node, Wire(proxy) as wire:
            await node.join()
            await wire.send(data)
            answer = await wire.rest()
            assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
            await other.send("undisturbed")
            assert (await node.reply()).payload == b"undisturbed"
            assert await other.recv() == "undisturbed"
            await proxy.until(lambda: len(proxy.app.clients.connections) == 1)


WEBSOCKET_FAULTS = {
    "an oversized frame": (frame(b"", length=1001), 1009),
    "a lie about a length": (frame(b"abc", length=2**62), 1009),
    "a length with the top bit": (b"\x81\xff" + b"\xff" * 8 + b"\0" * 4, 1002),
    "fragments beyond the limit": (frame(b"x" * 600, fin=False) + frame(b"x" * 600, opcode=0), 1009),
    "an unmasked frame": (frame(b"hello", masked=False), 1002),
    "text that is not UTF-8": (frame(b"\xff\xfe"), 1007),
    "a reserved opcode": (frame(b"", opcode=3), 1002),
    "a reserved bit": (b"\xc1\x80\0\0\0\0", 1002),
    "a fragmented ping": (frame(b"", opcode=9, fin=False), 1002),
    "a long ping": (frame(b"x" * 126, opcode=9), 1002),
    "a continuation of nothing": (frame(b"x", opcode=0), 1002),
    "a slow sender": (frame(b"x", length=500), 1008),
    "a message that never ends": (frame(b"x", fin=False), 1008),
    "a close code of nobody": (frame(struct.pack(">H", 1005), opcode=8), 1002),
}


@pytest.mark.parametrize(("data", "code"), WEBSOCKET_FAULTS.values(), ids=WEBSOCKET_FAULTS.keys())
async def test_websocket_beyond_a_limit(data, code):
    limits = SMALL | (IMPATIENT if code == 1008 else {})
    async with running(client=limits) as proxy, websocket(proxy) as other:
        with ScriptedNode(proxy.node) as node, Wire(proxy) as wire:
            await node.join()
            await wire.upgrade()
            await wire.send(data)
            answer = await wire.rest()
            assert answer[0] == 0x88
            assert struct.unpack(">H", answer[2:4])[0] == code
            await other.send("undisturbed")
            assert (await node.reply()).payload == b"undisturbed"
            assert await other.recv() == "undisturbed"
            await proxy.until(lambda: len(proxy.app.clients.connections) == 1)


async def test_a_byte_at_a_time_is_slow_but_legal():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node, Wire(proxy) as wire:
            await node.join()
            await wire.send(UPGRADE, 1)
            await wire.send(frame(b"hello"), 1)
            assert (await node.reply()).payload == b"hello"


async def test_a_thousand_pipelined_requests_are_answered_in_order():
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node, Wire(proxy) as wire:
            await node.join()
            await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(999)))
            await wire.send(b"GET /999 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            for number in range(1000):
                request = await node.take(frames.HttpRequest)
                assert request.target == f"/{number}"
                assert proxy.app.ledger.in_flight == 1
                node.say(frames.HttpReply(request.id, request.attempt, b"<%d>" % number))
            answer = await wire.rest()
            assert answer.count(b"HTTP/1.1 200 ") == 1000
            assert [part.split(b">")[0] for part in answer.split(b"<")[1:]] == [b"%d" % n for n in range(1000)]


async def test_a_thousand_pipelined_requests_without_a_node_are_all_refused():
    async with running(request={"max_parked": 0}) as proxy:
        with Wire(proxy) as wire:
            await wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 999)
            await wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await wire.rest()
            assert answer.count(b"HTTP/1.1 503 ") == 1000


async def test_messages_beyond_max_in_flight_wait_in_order():
    async with running(client={"max_in_flight": 2}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node, capacity=100) as node:
            await node.join()
            for number in range(10):
                await client.send(str(number))
            first, second = await node.take(frames.Request), await node.take(frames.Request)
            node.say(frames.Heartbeat(0.0))
            await node.take(frames.Heartbeat)
            assert not [f for f in node.inbox if isinstance(f, frames.Request)]
            await node.reply(second)
            await node.reply(first)
            for _ in range(8):
                await node.reply()
            assert [await client.recv() for _ in range(10)] == ["1", "0", *"23456789"]
            assert proxy.counters.limits_hit["client.max_in_flight"] >= 0


async def test_message_rate_is_a_429_and_the_connection_lives():
    async with running(client={"max_message_rate": 5.0}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            for number in range(6):
                await client.send(json.dumps({"requestId": f"r{number}"}))
            for _ in range(5):
                await node.reply(payload=b"ok")
            answers = [await client.recv() for _ in range(6)]
            (refused,) = [json.loads(answer) for answer in answers if answer != "ok"]
            assert (refused["requestId"], refused["status"]) == ("r5", 429)
            assert proxy.counters.limits_hit["client.max_message_rate"] == 1
            await trio.sleep(0.25)  # one message's time at this rate, and some
            await client.send("again")
            await node.reply()
            assert await client.recv() == "again"


@pytest.mark.parametrize(("limit", "status"), [("max_connections", 503), ("max_connections_per_address", 429)])
async def test_connection_limits(limit, status):
    async with running(client={limit: 1}) as proxy, websocket(proxy) as first:
        with Wire(proxy) as second:
            head, _, body = (await second.rest()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode()))
            assert {b"Server: holdfast", b"Retry-After: 1", b"Connection: close"} <= set(head.split(b"\r\n"))
            told = json.loads(body)
            assert told.keys() == {"requestId", "room", "status", "error", "result"}
            assert (told["status"], told["error"]["status"]) == (status, status)
            assert (told["error"]["retryable"], told["error"]["retryAfter"]) == (True, 1.0)
        assert proxy.counters.limits_hit[f"client.{limit}"] == 1
        await first.aclose()
        await proxy.until(lambda: not proxy.app.clients.connections)
        async with websocket(proxy):
            pass


async def test_origin():
    async with running(client={"origins": ("https://good.example",)}) as proxy:
        async with websocket(proxy, origin="https://good.example"):
            pass
        from websockets.exceptions import InvalidStatus

        with pytest.raises(InvalidStatus) as refused:
            async with websocket(proxy, origin="https://evil.example"):
                pass
        assert refused.value.response.status_code == 403


async def test_many_half_open_handshakes_do_not_keep_others_out():
    async with running(client={"handshake_timeout": 0.3}) as proxy:
        wires = [Wire(proxy) for _ in range(200)]
        for wire in wires:
            wire.socket.sendall(b"GET / HTTP/1.1\r\nHost:")
        async with websocket(proxy) as client:
            with ScriptedNode(proxy.node) as node:
                await node.join()
                await client.send("hello")
                await node.reply()
                assert await client.recv() == "hello"
            await proxy.until(lambda: len(proxy.app.clients.connections) == 1)
        for wire in wires:
            assert (await wire.rest()).startswith(b"HTTP/1.1 408 ")
            wire.socket.close()


async def test_idle_client_is_pinged_and_then_closed():
    async with running(client={"ping_interval": 0.2, "ping_timeout": 0.3, "close_timeout": 0.2}) as proxy:
        with Wire(proxy) as wire:
            await wire.upgrade()
            answer = await wire.rest()
            assert answer[:1] == b"\x89"
            assert struct.pack(">H", Reason.IDLE.websocket) in answer
        assert proxy.counters.connections_closed[Reason.IDLE] == 1


async def test_reset_in_the_middle_of_everything():
    async with running() as proxy, websocket(proxy) as other:
        with ScriptedNode(proxy.node, capacity=1000) as node:
            await node.join()
            for _ in range(20):
                wire = Wire(proxy)
                await wire.upgrade()
                await wire.send(frame(b"question"))
                request = await node.take(frames.Request)
                node.do(frames.Join(request.client, "room"))
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                wire.socket.close()  # RST
                node.do(frames.Notify(b"x" * 1000, True, ["room"]))
                await node.reply(request)
            await proxy.until(lambda: len(proxy.app.clients.connections) == 1)
            await proxy.until(lambda: len(proxy.app.ledger) == 0)
            assert len(proxy.app.channels) == 0
            await other.send("fine")
            await node.reply()
            assert await other.recv() == "fine"
