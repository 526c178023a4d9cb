"""Libraries of asyncio's as they are, in nodes that are processes: redis.asyncio with a real Redis, and httpx."""

import asyncio
import re
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from websockets.trio.client import connect

import holdfast.testing
from tests.redis_servers import RedisServer
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

MODULE = """
import asyncio
import os

import httpx
import redis.asyncio

from holdfast import Request
from holdfast.asyncio import Node

node = Node("counter")
store = redis.asyncio.Redis.from_url(os.environ["STORE"])
web = httpx.AsyncClient(trust_env=False, timeout=60)


@node.on_open
async def opened(client):
    await store.sadd("seen", client.path)


@node.on_request
async def handle(request: Request):
    words = request.payload.decode().split()
    match words:
        case ["wait", key]:
            _, value = await store.blpop(key)
            return value
        case ["web", url, text]:
            answer = await web.post(url, content=text)
            answer.raise_for_status()
            return "by the web: " + answer.text
        case ["process"]:
            process = await asyncio.create_subprocess_exec("echo", "a process", stdout=asyncio.subprocess.PIPE)
            out, _ = await process.communicate()
            return out.decode()
        case ["count"]:
            async with store.pipeline() as pipe:
                number, _ = await pipe.incr("count").incr("asked").execute()
            await node.notify(f"{number} is taken", channels=["numbers"])
            return str(number)
    return request.payload
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    server = RedisServer(tmp_path / "redis")
    try:
        server.start()
        monkeypatch.setenv("STORE", server.url)
        yield server
    finally:
        server.stop()


@pytest.fixture
def module(tmp_path, monkeypatch, store):
    (tmp_path / "asyncio_app.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "asyncio_app:node"


@asynccontextmanager
async def deployment(module, nodes=1):
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(3 * PATIENCE))
        proxy = await stack.enter_async_context(holdfast.testing.proxy(request={"timeout": "30s"}))
        yield proxy, [await proxy.node_process(module) for _ in range(nodes)]


async def ask(client, text):
    await client.send(text)
    return await client.recv()


async def test_a_library_does_its_work_and_takes_its_time(module, store):
    async with deployment(module) as (proxy, _), connect(f"{proxy.url}/one") as one, connect(f"{proxy.url}/two") as two:
        assert [await ask(one, "count"), await ask(two, "count")] == ["1", "2"]
        assert store.ask("GET", "asked") == b"2"
        await until(lambda: store.ask("SCARD", "seen") == 2)
        await one.send("wait for-this")
        await until(lambda: blocked(store) == 1)
        assert await ask(two, "still there") == "still there"
        store.ask("RPUSH", "for-this", "at last")
        assert await one.recv() == "at last"
        assert await ask(one, f"web {proxy.http_url} through") == "by the web: through"
        assert await ask(one, "process") == "a process\n"


def blocked(store):
    return store.ask("INFO", "clients")["blocked_clients"]


async def test_a_client_that_leaves_cancels_what_the_library_waits_for(module, store):
    async with deployment(module) as (proxy, _):
        async with connect(proxy.url) as client:
            await client.send("wait for-ever")
            await until(lambda: blocked(store) == 1)
        await until(lambda: blocked(store) == 0)
        async with connect(proxy.url) as client:
            assert await ask(client, "count") == "1"


async def test_sigterm_drains(module, store):
    async with deployment(module) as (proxy, [node]), connect(proxy.url) as client:
        await client.send("wait for-this")
        await until(lambda: blocked(store) == 1)
        node.send_signal(signal.SIGTERM)
        await proxy.wait_until(lambda status: status["nodes"][0]["state"] == "draining")
        store.ask("RPUSH", "for-this", "at last")
        assert await client.recv() == "at last"
        assert await node.wait() == 0


async def test_a_second_signal_stops_at_once(module, store):
    async with deployment(module) as (proxy, [node]), connect(proxy.url) as client:
        await client.send("wait for-ever")
        await until(lambda: blocked(store) == 1)
        node.send_signal(signal.SIGTERM)
        await proxy.wait_until(lambda status: status["nodes"][0]["state"] == "draining")
        node.send_signal(signal.SIGINT)
        assert await node.wait() == 1


async def test_nobody_notices_that_nodes_are_killed(module, store):
    """Each request is answered once; what the dead one had begun elsewhere is done, so numbers may be left out."""
    numbers = []

    async def count(url, path):
        async with connect(url + path) as client:
            for _ in range(20):
                numbers.append(int(await ask(client, "count")))  # noqa: PERF401 - as they come

    async with deployment(module, nodes=2) as (proxy, nodes):
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(count, proxy.url, f"/{number}")
            for _ in range(3):
                asked = len(numbers)
                await until(lambda: len(numbers) >= min(asked + 20, 200))  # noqa: B023 - awaited at once
                nodes.pop(0).kill()
                nodes.append(await proxy.node_process(module))
    assert len(numbers) == len(set(numbers)) == 200


async def test_the_page_about_it_is_true(store, tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "howto" / "asyncio-libraries.md").read_text(encoding="utf-8")
    [node, _, test] = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "counter.py").write_text(node)
    monkeypatch.syspath_prepend(tmp_path)
    async with deployment("counter:node") as (proxy, _), connect(proxy.url) as one, connect(proxy.url) as two:
        await proxy.wait_until(lambda status: status["clients"] == 2)
        assert await ask(one, "x") == "1"
        assert await ask(two, "x") in ("2", "1 asked so far")
    scope = {}
    exec(compile(test, "asyncio-libraries.md", "exec"), scope)
    asked = int(store.ask("GET", "asked"))
    for _ in range(2):
        await trio.to_thread.run_sync(lambda: asyncio.run(scope["test_who_asks_is_counted"]()))
    assert int(store.ask("GET", "asked")) == asked + 2
