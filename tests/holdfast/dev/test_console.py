"""The console of `holdfast dev`: whatever is typed and whatever answers, there is a line, and it goes on."""

import re

import pytest
import trio
from websockets.sync.server import serve
from wsproto.utilities import generate_accept_token

from holdfast.dev import console as console_module
from holdfast.dev.console import Console
from tests.waiting import PATIENCE, until

ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


@pytest.fixture
async def proxy():
    """One that says what it was asked for; its URL."""

    def said(connection):
        connection.send(connection.request.path)
        for message in connection:
            connection.send(message)

    with serve(said, "127.0.0.1", 0) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, server.serve_forever)
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
            server.shutdown()


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("/a b", "/a%20b"),
        ("/küche", "/k%C3%BCche"),
        ("/a\tb\x00\x1b[31m\ufffd", "/a%09b%00%1B[31m%EF%BF%BD"),
        ("//x", "//x"),
        ("/[", "/["),
        ("/?", "/?"),
        ("/a?b=ü#c", "/a?b=%C3%BC"),
        ("/%zz%2Fa", "/%zz%2Fa"),
        ("/@:8?://x", "/@:8?://x"),
        ('/"<>\\^`{|}', '/"<>\\^`{|}'),
    ],
)
async def test_any_path_is_one(proxy, nursery, typed, path):
    lines = []
    console = Console(proxy, lines.append, lambda: None)
    with trio.fail_after(PATIENCE):
        await console._obey(f"/path {typed}", nursery)
        await until(lambda: lines == [f"< {path}"], lines)
        await console._obey("hello", nursery)
        await until(lambda: lines[1:] == ["< hello"], lines)
        await console._obey(f"/get {typed.replace(' ', '')}", nursery)
        await until(lambda: lines[2:], lines)
        assert lines[2].startswith("< 426 ")
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 404 \r\nContent-Length: 4\r\n\r\nnone",
        b"HTTP/1.1 301 Moved\r\nLocation: \x1b\r\n\r\n",
        ACCEPTED % b"wrong",
        b"x" * 70_000,
    ],
)
async def test_who_is_no_proxy_gets_a_line_each_time(nursery, answer, monkeypatch):
    monkeypatch.setattr(console_module, "CONNECT_TIMEOUT", 0.5)  # the library waits on when nothing comes any more

    async def say(stream):
        await stream.receive_some()
        await stream.send_all(answer)
        await stream.aclose()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, say, [listener])
    url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}"
    lines = []
    console = Console(url, lines.append, lambda: None)
    with trio.fail_after(PATIENCE):
        for number in (1, 2):
            await console._obey("/path /x", nursery)
            assert len(lines) == number
            assert lines[-1].startswith(f"dev: {url}/x: no WebSocket: ")
            assert lines[-1].isprintable()
        await console._obey("/get /x", nursery)
        await until(lambda: lines[2:], lines)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("frames", [b"\xff" * 50, b"\x88\x01x", b"\x81\x02\xff\xff", b"\x83\x7f" + 8 * b"\xff", b""])
async def test_what_is_no_message_ends_the_connection(nursery, frames):
    """And the next line opens another one."""
    count = 0

    async def say(stream):
        nonlocal count
        count += 1
        head = await stream.receive_some()
        [key] = re.findall(rb"(?i)sec-websocket-key: (\S+)", head)
        await stream.send_all(ACCEPTED % generate_accept_token(key) + frames)
        await stream.aclose()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, say, [listener])
    lines = []
    console = Console(f"ws://127.0.0.1:{listener.socket.getsockname()[1]}", lines.append, lambda: None)
    with trio.fail_after(PATIENCE):
        await console._obey("/path /x", nursery)
        await until(lambda: lines, lines)
        await console._obey("hello", nursery)
        await until(lambda: count > 1, count)
    assert all(line.startswith("dev: ") for line in lines)
    nursery.cancel_scope.cancel()
