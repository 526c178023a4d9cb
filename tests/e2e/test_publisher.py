"""Publishers from outside at a cluster of real processes, some of which are killed."""

import threading
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

import holdfast.testing
from holdfast import AsyncPublisher, Node, Publisher, PublishError, Request
from holdfast.proxy.admin.http import JSON
from tests.holdfast.cli.conftest import command, environment
from tests.waiting import PATIENCE

ECHO = "examples.echo_node:node"


class Listener:
    """A client that keeps what it hears."""

    def __init__(self):
        self.heard = []
        self.last = trio.Event()
        self.is_closed = trio.Event()

    async def run(self, client):
        try:
            async for message in client:
                if message == "the last":
                    self.last.set()
                else:
                    self.heard.append(message)
        except ConnectionClosed as closed:
            self.closed = closed.rcvd
            self.is_closed.set()


@pytest.mark.slow
async def test_a_node_is_killed_and_each_message_has_come_once(tmp_path):
    """Two proxies, a client at each, publishers of both kinds at one of them: all messages are at both, once."""
    store = {"kind": "sqlite", "path": tmp_path / "store"}
    cluster = {"pub": "tcp://127.0.0.1:*"}
    options = {"store": store, "cluster": cluster, "admin": {"bind": "127.0.0.1:0", "tokens": ["*:hush"]}}
    options["request"] = {"max_attempts": 3}  # two nodes are killed, perhaps both with the same one
    headers = {"Authorization": "Bearer hush"}
    with trio.fail_after(4 * PATIENCE):
        async with AsyncExitStack() as stack:
            proxies = [await stack.enter_async_context(holdfast.testing.proxy(**options)) for _ in range(2)]
            http = await stack.enter_async_context(httpx.AsyncClient(headers=headers))
            nodes = [await node_process(stack, http, proxies, ECHO) for _ in range(3)]
            listening = await stack.enter_async_context(trio.open_nursery())
            listeners, ids = [], []
            publisher = await stack.enter_async_context(AsyncPublisher(proxies[0].admin_url, "hush"))
            for proxy in proxies:
                client = await stack.enter_async_context(connect(proxy.url))
                await client.send("hello")
                await client.recv()
                page = (await http.get(f"{proxy.admin_url}/api/clients")).json()
                ids.append(page["clients"][0]["id"])
                await publisher.join(ids[-1], "all")
                listeners.append(Listener())
                listening.start_soon(listeners[-1].run, client)
            while (await http.get(f"{proxies[0].admin_url}/api/channels/all")).json()["count"] < 2:
                pass

            sent, to_kill = threading.Semaphore(0), trio.Event()
            with Publisher(proxies[0].admin_url, "hush") as in_threads:

                def publish(thread):
                    for number in range(100):
                        in_threads.publish(f"{thread} {number}", channels=["all"])
                        sent.release()

                async def publish_awaited(task):
                    for number in range(100):
                        await publisher.publish(f"{task} {number}", channels=["all"])
                        if number == 20:
                            to_kill.set()

                async def kill():
                    await to_kill.wait()
                    for node in nodes[:2]:
                        node.kill()
                        for _ in range(20):
                            await trio.to_thread.run_sync(sent.acquire)

                async with trio.open_nursery() as publishing:
                    publishing.start_soon(kill)
                    for thread in range(3):
                        publishing.start_soon(trio.to_thread.run_sync, partial(publish, thread))
                    for task in range(3, 5):
                        publishing.start_soon(publish_awaited, task)
                in_threads.broadcast("the last")
            for listener in listeners:
                await listener.last.wait()
            expected = [f"{one} {number}" for one in range(5) for number in range(100)]
            for listener in listeners:
                assert Counter(listener.heard) == Counter(expected)
            # at the proxy that was asked, in each one's order
            assert sorted(listeners[0].heard, key=lambda message: message[0]) == expected
            await publisher.leave(ids[0], "all")
            assert (await http.get(f"{proxies[0].admin_url}/api/channels/all")).json()["count"] == 1
            for client in ids:
                await publisher.close_client(client, code=4001, reason="signed out")
            for listener in listeners:
                await listener.is_closed.wait()
    assert [(one.closed.code, one.closed.reason) for one in listeners] == [(4001, "signed out")] * 2


async def test_while_there_is_no_node():
    with trio.fail_after(2 * PATIENCE):
        async with holdfast.testing.proxy(request={"parked_timeout": "100ms"}) as proxy:
            async with AsyncPublisher(proxy.admin_url, timeout=0.5) as publisher:
                with pytest.raises(PublishError) as failure:
                    await publisher.broadcast("is anybody here?")
                assert failure.value.status == 503
            headers = {"Content-Type": JSON}
            async with httpx.AsyncClient(headers=headers) as http:
                body = b'{"everybody": true, "payload": 1}'
                answer = await http.post(f"{proxy.admin_url}/api/publish", content=body)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


async def test_where_clients_connect_is_no_admin_server():
    """Whatever is answered there: that there is no node, that nothing takes the path, or what a publisher hopes for."""
    node = Node("apis")
    node.on_request("/other")(lambda request: "other")

    @node.on_request("/api/publish", method="POST")
    async def publish(request: Request) -> dict:
        return {"messages": 1}

    with trio.fail_after(2 * PATIENCE):
        async with holdfast.testing.proxy(request={"parked_timeout": "50ms"}) as proxy:
            async with AsyncPublisher(proxy.http_url) as publisher:
                with pytest.raises(PublishError, match=r"is no admin server of Holdfast: clients connect there$"):
                    await publisher.broadcast("is anybody here?")
                async with proxy.node(node):
                    with pytest.raises(PublishError, match=r"is no admin server of Holdfast: clients connect there$"):
                        await publisher.join(1, "a")
                    with pytest.raises(PublishError, match=r"is no admin server of Holdfast: status 200$"):
                        await publisher.broadcast("is anybody here?")


@pytest.mark.parametrize("kind", [Publisher, AsyncPublisher])
async def test_who_waits_for_less_than_the_proxy_does_is_told_that_there_is_no_node(kind):
    """request.parked_timeout is 30 s here, and the publisher gives up after 2."""
    with trio.fail_after(2 * PATIENCE):
        request = {"parked_timeout": "30s", "timeout": "60s"}
        async with holdfast.testing.proxy(request=request) as proxy:
            publisher = kind(proxy.admin_url, timeout=2)
            call = partial(publisher.broadcast, "is anybody here?")
            with pytest.raises(PublishError, match=r"^no node was available for 1(\.\d)? s$") as failure:
                await (trio.to_thread.run_sync(call) if kind is Publisher else call())
            publisher.close()
    assert failure.value.status == 503


async def node_process(stack, http, proxies, node):
    """Ready at each of the proxies. holdfast.testing asks without a token."""
    join = ["node", node, "--join", proxies[0].node_address]
    process = await trio.lowlevel.open_process(command(join), env=environment({}))
    stack.push_async_callback(end, process)
    for proxy in proxies:
        while True:
            nodes = (await http.get(f"{proxy.admin_url}/api/nodes")).json()["nodes"]
            if any(one["pid"] == process.pid and one["state"] == "ready" for one in nodes):
                break
    return process


async def end(process):
    process.kill()
    with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
        await process.wait()
