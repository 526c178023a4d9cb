"""One step, from a test that is sync, Trio's or asyncio's."""

import asyncio  # noqa: TID251 - as somebody's tests have it
import contextvars
import threading

import pytest

from holdfast import Node, RequestError
from holdfast.testing import Broadcast, Failure, Join, call, client, close, open

SETTING = contextvars.ContextVar("setting", default="none")


@pytest.fixture
def node():
    node = Node("test")

    @node.on_request
    async def count(request):
        if request.text == "refuse":
            raise RequestError(403, "no")
        if request.text == "fail":
            raise KeyError("of the author's")
        n = await node.state.update("n", lambda n: n + 1, default=0)
        await node.broadcast({"n": n})
        return [n, SETTING.get(), threading.get_ident()]

    @node.on_open
    async def opened(client):
        await node.join(client, "all")

    @node.on_close
    async def closed(client, reason):
        await node.broadcast(reason)

    return node


def check(node):
    """All of it, from wherever."""
    SETTING.set("of the test")
    result = call(node, "x", state={"n": 4})
    n, setting, thread = result.json()
    assert (n, setting) == (5, "of the test")
    assert (result.effects, result.state) == ([Broadcast({"n": 5})], {"n": 5})
    assert call(node, "x").json()[0] == 1  # of another test
    assert call(node, "x", state=result.state).json()[0] == 6
    assert call(node, "refuse").failure == Failure(403, "no")
    with pytest.raises(KeyError, match="of the author's"):
        call(node, "fail")
    ada = client()
    assert open(node, ada).effects == [Join(ada, "all")]
    assert close(node, ada, "kicked").effects == [Broadcast("kicked")]
    return thread


def test_from_a_test_without_a_loop(node):
    assert check(node) == threading.get_ident()


async def test_from_a_test_of_trio(node):
    assert check(node) != threading.get_ident()


def test_from_a_test_of_asyncio(node):
    async def test():
        loop = asyncio.get_running_loop()
        assert check(node) != threading.get_ident()
        assert (await asyncio.to_thread(call, node, "x")).json()[0] == 1
        assert asyncio.get_running_loop() is loop

    asyncio.run(test())
