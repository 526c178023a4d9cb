"""The endpoint of a node's metrics, as whoever can reach it may use it."""

import math
import socket

import httpx
import pytest
import trio

from holdfast import ConfigError
from holdfast.node import exposition
from tests.waiting import PATIENCE


@pytest.fixture
async def address(nursery, capsys):
    bound = await nursery.start(exposition.serve, "127.0.0.1:0", lambda: (b"some 1\n", "text/plain; version=1"))
    assert capsys.readouterr().out == f"metrics http://{bound}/metrics\n"
    return bound


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/metrics", 200, "some 1\n"),
        ("GET", "/metrics?x=1", 200, "some 1\n"),
        ("HEAD", "/metrics", 200, ""),
        ("HEAD", "/", 404, ""),
        ("GET", "/", 404, "the metrics are at /metrics\n"),
        ("POST", "/metrics", 405, "expected GET\n"),
    ],
)
async def test_what_it_answers(address, method, path, status, text):
    async with httpx.AsyncClient() as client:
        reply = await client.request(method, f"http://{address}{path}")
    assert (reply.status_code, reply.text) == (status, text)
    if status == 200:
        assert reply.headers["content-type"] == "text/plain; version=1"


@pytest.mark.parametrize("data", [b"\x00\x01\r\n\r\n", b"GET /" + b"x" * exposition.MAX_REQUEST_BYTES])
async def test_what_is_no_request(address, data):
    host, _, port = address.partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(data)
        with trio.fail_after(PATIENCE):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 4")


async def test_those_who_ask_nothing_are_few_and_keep_nobody_out(address, monkeypatch):
    monkeypatch.setattr(exposition, "TIMEOUT", math.inf)  # it is for want of room that one has to go
    host, _, port = address.partition(":")
    silent = [await trio.open_tcp_stream(host, int(port)) for _ in range(exposition.MAX_CONNECTIONS)]
    with trio.fail_after(PATIENCE):
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{address}/metrics")).text == "some 1\n"
        try:
            assert await silent[0].receive_some() == b""  # who has been there for the longest time makes room
        except trio.BrokenResourceError:
            pass
        for stream in silent[1:]:
            await stream.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    for stream in silent:
        await stream.aclose()


@pytest.mark.parametrize("address", ["", "9100", ":9100", "host:", "host:x", "127.0.0.1:70000", "127.0.0.1:²"])
async def test_an_address_that_is_none(address):
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        await exposition.serve(address, lambda: (b"", ""))


async def test_an_address_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--metrics 127.0.0.1:{port}: "):
            await exposition.serve(f"127.0.0.1:{port}", lambda: (b"", ""))


async def test_what_fails_ends_one_connection(nursery):
    bound = await nursery.start(exposition.serve, "127.0.0.1:0", lambda: 1 / 0)
    for _ in range(2):
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://{bound}/metrics")
