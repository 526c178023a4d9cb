"""holdfast.testing as a user's test would use it: real processes, and none left behind."""

import json
import os
import signal
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

import holdfast
import holdfast.testing
from holdfast import HoldfastError, Node, Request

ECHO = "examples.echo_node:node"


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def proxy_for_the_test(**settings):
    """For the length of the block, which no test makes last a minute."""
    with trio.fail_after(60):
        async with holdfast.testing.proxy(**settings) as proxy:
            yield proxy


@pytest.fixture
def node():
    node = Node("greeter")

    @node.on_request
    async def greet(request: Request) -> str:
        await node.notify("a greeting", clients=[request.client])
        return f"hello {request.payload.decode()}"

    return node


async def test_a_node_within_the_test(node):
    async with proxy_for_the_test() as proxy, proxy.node(node):
        [known] = (await proxy.status())["nodes"]
        assert (known["id"], known["state"], known["pid"]) == (node.id, "ready", os.getpid())
        async with connect(proxy.url) as client:
            await proxy.wait_until(lambda status: status["clients"] == 1)
            await client.send("Ada")
            assert [await client.recv(), await client.recv()] == ["a greeting", "hello Ada"]
        async with httpx.AsyncClient() as client:
            response = await client.post(proxy.http_url, content="Bob")
        assert (response.status_code, response.text) == (200, "hello Bob")
        await proxy.wait_until(lambda status: status["master"]["node"] == node.id)
        assert node.statistics().handled == 2


async def test_nobody_notices_that_nodes_are_killed():
    async with proxy_for_the_test(request={"parked_timeout": 25.0}) as proxy:  # a process may take long to begin
        first = await proxy.node_process(ECHO, "--name", "first")
        second = await proxy.node_process(ECHO, "--name", "second")
        assert sorted(known["name"] for known in (await proxy.status())["nodes"]) == ["first", "second"]
        async with connect(proxy.url) as client:
            first.kill()
            await client.send("to the other one")
            assert await client.recv() == "to the other one"
            second.kill()
            await client.send("to one that is yet to come")
            third = await proxy.node_process(ECHO)
            assert await client.recv() == "to one that is yet to come"
        third.terminate()
        statuses = [await process.wait() for process in (first, second, third)]
        assert statuses == [-signal.SIGKILL, -signal.SIGKILL, 0]


async def test_everything_is_gone_when_the_block_ends(node):
    with pytest.raises(AssertionError, match="of the test"):  # noqa: PT012
        async with proxy_for_the_test() as proxy:
            process = await proxy.node_process(ECHO)
            async with proxy.node(node):
                assert len((await proxy.status())["nodes"]) == 2
                raise AssertionError("of the test")
    assert not is_running(proxy.process.pid)
    assert not is_running(process.pid)
    with pytest.raises(HoldfastError, match="does not answer"):
        await proxy.status()


async def test_everything_is_gone_when_the_test_is_cancelled():
    with trio.CancelScope() as scope:
        async with proxy_for_the_test() as proxy:
            process = await proxy.node_process(ECHO)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not is_running(proxy.process.pid)
    assert not is_running(process.pid)


async def test_a_node_is_cut_off_when_its_block_ends(node):
    async with proxy_for_the_test() as proxy:
        async with proxy.node(node):
            pass
        await proxy.wait_until(lambda status: status["nodes"] == [])
        async with proxy.node(node):  # and can come again
            assert len((await proxy.status())["nodes"]) == 1


async def test_settings(monkeypatch, node):
    monkeypatch.setenv("HOLDFAST__CLIENT__MAX_MESSAGE_BYTES", "3")
    settings = {
        "max_message_bytes": "1KiB",
        "compression": False,
        "origins": ["https://a.example", "https://b.example"],
    }
    async with proxy_for_the_test(client=settings, request={"timeout": 0.25}) as proxy, proxy.node(node):
        async with connect(proxy.url, origin="https://b.example") as client:
            await client.send("x" * 1024)
            assert await client.recv() == "a greeting"
            assert await client.recv() == "hello " + "x" * 1024
            await client.send("x" * 1025)
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
        assert closed.value.rcvd.code == 1009


async def test_a_request_that_nobody_answers():
    node = Node("silent")

    @node.on_request
    async def sleep(request: Request) -> None:
        await trio.sleep_forever()

    async with proxy_for_the_test(request={"timeout": 0.25}) as proxy, proxy.node(node):
        async with connect(proxy.url) as client:
            await client.send('{"requestId": "r1"}')
            reply = json.loads(await client.recv())
    assert (reply["requestId"], reply["status"], reply["error"]["id"]) == ("r1", 504, "holdfast.deadline_exceeded")


async def test_what_does_not_start_says_so():
    with pytest.raises(HoldfastError, match="the proxy has ended with status 2"):
        async with proxy_for_the_test(client={"max_connections": "many"}):
            pytest.fail("it has started")
    async with proxy_for_the_test() as proxy:
        with pytest.raises(HoldfastError, match=r"the node examples\.nobody:node has ended with status 2"):
            await proxy.node_process("examples.nobody:node")


async def test_a_proxy_that_fails_during_the_test():
    with pytest.raises(HoldfastError, match="the proxy has failed with status -6"):  # noqa: PT012
        async with proxy_for_the_test() as proxy:
            proxy.process.send_signal(signal.SIGABRT)
            await proxy.process.wait()
    async with proxy_for_the_test() as proxy:
        proxy.process.kill()  # by the test itself: that is another matter
        await proxy.process.wait()
