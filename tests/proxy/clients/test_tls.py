import socket
import ssl

import pytest
import trio

from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes import frames
from holdfast.proxy.clients.tls import server_context
from tests.harness import ScriptedNode, running
from tests.proxy.clients.test_transport import UPGRADE, close_code, frame, frames_of
from tests.proxy.nodes.test_limits import Wire


def settings(certificate):
    return {"tls_certificate_file": certificate[0], "tls_key_file": certificate[1]}


async def test_websocket_over_tls_with_large_messages_and_notifications(certificate):
    from websockets.trio.client import connect

    async with running(client=settings(certificate)) as proxy:
        trust = ssl.create_default_context(cafile=certificate[0])
        address = f"wss://localhost:{proxy.client_port}/"
        async with connect(address, ssl=trust, compression=None, max_size=None) as client:
            with ScriptedNode(proxy.node) as node:
                await node.join()
                await client.send("x" * 300_000)
                request = await node.reply(effects=None)
                assert await client.recv() == "x" * 300_000
                node.do(frames.Notify(b"n" * 200_000, True, [], frames.pack_ids([request.client])))
                assert await client.recv() == "n" * 200_000
        await proxy.until(lambda: not proxy.app.clients.connections)


async def test_plain_bytes_on_a_tls_port_and_a_broken_handshake(certificate):
    async with running(client=settings(certificate)) as proxy:
        for junk in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 100):
            with Wire(proxy) as wire:
                await wire.send(junk)
                await wire.send(b"\0" * 70_000)
                await wire.rest()
        await proxy.until(lambda: not proxy.app.clients.connections)


async def test_a_silent_tls_client_is_closed_in_time(certificate):
    async with running(client=settings(certificate) | {"handshake_timeout": 0.3}) as proxy:
        with Wire(proxy) as wire:
            await wire.rest()


async def test_backpressure_over_tls(certificate):
    async with running(client=settings(certificate)) as proxy:
        trust = ssl.create_default_context(cafile=certificate[0])
        stream = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", proxy.client_port),
            trust,
            server_hostname="localhost",
            https_compatible=True,
        )
        async with stream:
            await stream.send_all(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with ScriptedNode(proxy.node) as node:
                await node.join()
                request = await node.take(frames.HttpRequest)
                node.say(frames.HttpReply(request.id, 1, b"b" * 8_000_000))
                await proxy.until(lambda: any(c.outbox_bytes for c in proxy.app.clients.connections.values()))
                data = b""
                while chunk := await stream.receive_some():
                    data += chunk
                assert data.endswith(b"b" * 8_000_000)


def test_files_that_are_no_certificate(tmp_path):
    (tmp_path / "x").write_text("nothing")
    with pytest.raises(ConfigError, match="tls_certificate_file"):
        server_context(str(tmp_path / "x"), "")


async def connect(proxy, certificate, **options):
    """A client for which an end without close_notify is an error, as RFC 8446 section 6.1 has it."""
    trust = ssl.create_default_context(cafile=certificate[0])
    if options.pop("protocols", None):
        trust.set_alpn_protocols(["h2"])
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    sock.connect(("127.0.0.1", proxy.client_port))
    return trio.SSLStream(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), trust, server_hostname="localhost")


async def rest_of(stream):
    """All that comes until the proxy has said that no more does."""
    data = b""
    while chunk := await stream.receive_some():
        data += chunk
    return data


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
async def test_the_end_of_the_last_reply_is_told(certificate, request_):
    async with running(client=settings(certificate)) as proxy, await connect(proxy, certificate) as stream:
        await stream.send_all(request_)
        with ScriptedNode(proxy.node) as node:
            await node.join()
            request = await node.take(frames.HttpRequest)
            node.say(frames.HttpReply(request.id, 1, b"b" * 8_000_000))
            assert (await rest_of(stream)).endswith(b"b" * 8_000_000)


async def upgraded(proxy, certificate):
    stream = await connect(proxy, certificate)
    await stream.send_all(UPGRADE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await stream.receive_some(1)
    return stream


async def test_the_end_after_the_closing_handshake_is_told(certificate):
    async with running(client=settings(certificate)) as proxy, await upgraded(proxy, certificate) as stream:
        await stream.send_all(frame(b"\x03\xe9", opcode=8))
        assert await rest_of(stream) == b"\x88\x02\x03\xe9"


@pytest.mark.parametrize("limit", ["max_unread_reply_bytes", "max_outbox_bytes"])
async def test_a_slow_consumer_can_read_whole_messages_and_why_it_is_closed(certificate, limit):
    limits = {limit: 1_000_000, "close_timeout": 0.5}
    async with (
        running(client=settings(certificate) | limits) as proxy,
        await upgraded(proxy, certificate) as stream,
    ):
        with ScriptedNode(proxy.node, capacity=100) as node:
            await node.join()
            await stream.send_all(frame(b"") * 2)
            first, second = [await node.take(frames.Request) for _ in range(2)]
            if limit == "max_outbox_bytes":
                while not proxy.counters.slow_consumers:
                    node.do(*[frames.Broadcast(b"n" * 100_000, False)] * 2)
                    await node.take(frames.Ack)
            else:
                await node.reply(first, b"r" * 8_000_000)
                await proxy.until(lambda: any(c.outbox_bytes for c in proxy.app.clients.connections.values()))
                await node.reply(second, b"s")
            *messages, last = frames_of(await rest_of(stream))
            assert {opcode for opcode, _ in messages} <= {1, 2}
            assert close_code(last) == 1013


async def test_who_speaks_only_another_protocol_is_told_that_we_do_not(certificate):
    async with running(client=settings(certificate)) as proxy:
        stream = await connect(proxy, certificate, protocols=["h2"])
        with pytest.raises(trio.BrokenResourceError) as refused:
            await stream.do_handshake()
        assert "alert no application protocol" in str(refused.value.__cause__)
        await stream.aclose()
