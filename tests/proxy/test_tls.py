import ssl

import pytest
import trio

from protocols.errors import ConfigError
from protocols.nodes import frames
from proxy.tls import server_context
from tests.harness import ScriptedNode, running
from tests.proxy.test_limits import Wire


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed pair, made by openssl as an operator would."""
    import subprocess

    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return str(certificate), str(key)


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
                node.say(frames.Notify(b"n" * 200_000, True, [], frames.pack_ids([request.client])))
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
