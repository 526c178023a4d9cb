"""Protocols that others bring: by their name among the entry points, each on a port of its own."""

import pytest
import trio

from holdfast.protocols.clients import base
from holdfast.protocols.clients.events import Finished, Output, Switch
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ConfigError
from holdfast.protocols.nodes import frames
from holdfast.proxy.app import App
from tests.harness import ScriptedNode, configure, running
from tests.proxy.clients.test_connection import LineProtocol
from tests.waiting import until


def register(monkeypatch, name, factory):
    """As an installed package would."""

    class Point:
        def __init__(self):
            self.name = name

        def load(self):
            return factory

    found = base.entry_points
    monkeypatch.setattr(base, "entry_points", lambda group: [*found(group=group), Point()])


class AfterHttp(LineProtocol):
    """What begins as an HTTP request, on a port of its own, as docs/howto/write-a-protocol.md says."""

    def receive_data(self, data, now):
        self.head = getattr(self, "head", b"") + data
        head, end, rest = self.head.partition(b"\r\n\r\n")
        if not end:
            return [Finished(Reason.CLIENT_LEFT)] if not data else []
        assert head.startswith(b"GET /lines HTTP/1.1\r\n")
        lines = LineProtocol(*self.made_with)
        return [Output(b"HTTP/1.1 101 Lines\r\n\r\n"), Switch(lines, rest)]

    def __init__(self, *made_with):
        super().__init__(*made_with)
        self.made_with = made_with


async def test_what_begins_as_an_http_request_goes_on_as_another_protocol(monkeypatch):
    register(monkeypatch, "afterhttp", AfterHttp)
    async with running(client={"protocols": ("afterhttp://127.0.0.1:0",)}) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            host, _, port = proxy.app.listening[1].rpartition(":")
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(b"GET /lines HTTP/1.1\r\nHost: a\r\n\r\nhello\n")
                await node.take(frames.Changes)
                await node.reply(payload=b"HELLO")
                data = b""
                while not data.endswith(b"HELLO\n"):
                    data += await stream.receive_some()
                assert data == b"HTTP/1.1 101 Lines\r\n\r\nHELLO\n"


async def test_a_registered_protocol_has_a_port_of_its_own(monkeypatch):
    """As an installed package would: by its name among the entry points."""
    register(monkeypatch, "line", LineProtocol)
    async with running(client={"protocols": ("line://127.0.0.1:0",)}) as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            host, _, port = proxy.app.listening[1].rpartition(":")
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(b"hello\n")
                [opened] = (await node.take(frames.Changes)).changes
                assert opened.client.protocol == "line"
                await node.reply(payload=b"HELLO")
                assert await stream.receive_some() == b"HELLO\n"


@pytest.mark.parametrize("name", ["mqtt", "websocket"])  # which begins as an HTTP request
async def test_a_protocol_that_nobody_registered_is_named(name):
    with pytest.raises(ConfigError, match=f'no client protocol is registered as "{name}"; there are centrifuge, http$'):
        await App(configure(client={"protocols": (f"{name}://127.0.0.1:0",)})).run(lambda bound: None)


async def test_http_on_a_port_of_its_own_is_told_that_there_is_no_room():
    async with running(client={"protocols": ("http://127.0.0.1:0",), "max_connections": 1}) as proxy:
        host, _, port = proxy.app.listening[1].rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as first:
            await first.send_all(b"GET / HTTP/1.1\r\n")
            await until(lambda: proxy.app.clients.connections)
            async with await trio.open_tcp_stream(host, int(port)) as second:
                assert (await second.receive_some()).startswith(b"HTTP/1.1 503 ")
