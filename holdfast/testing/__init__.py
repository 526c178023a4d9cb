"""Tests of your own nodes: a handler by itself, or a whole proxy with its nodes.

A handler by itself takes about a millisecond, in tests that are sync, Trio's or asyncio's:

    from holdfast.testing import Join, Notify, call, client

    def test_who_moves_is_heard_in_the_room():
        ada = client(path="/rooms/7")
        result = call(node, {"type": "move", "to": "e4"}, client=ada)
        assert result.json() == {"ok": True}
        assert result.effects == [Notify({"moved": "e4"}, channels=["room-7"])]

It is the real node with a link in memory: see `call`, `alone`. With `proxy` the whole of it runs, real processes and
sockets included:

    async def test_nobody_notices_that_a_node_is_killed():
        async with holdfast.testing.proxy(request={"timeout": "5s"}) as proxy:
            first = await proxy.node_process("chat:node")
            await proxy.node_process("chat:node")
            async with connect(proxy.url) as client:  # of websockets.trio.client, or any other
                first.kill()
                await client.send("hello")
                assert "hello" in await client.recv()

alone      a node without a proxy, for as many steps as you like; calls: one of them, from wherever
hosting    where it runs: in the test's loop, or in a thread; nursery: in which
standin    what is in the proxy's place there (kept: its channels with history)
tellings   whose doing is what a node does at once
given      what a test gives, and what is told of a mistake in it
clients    clients that a test makes up
results    what came of a call (outcome: from frames); effects: what a handler did through the node, as values
processes  a proxy as a process, and nodes within the test or as processes
"""

from holdfast.testing.alone import Alone as Alone
from holdfast.testing.alone import alone as alone
from holdfast.testing.calls import ask as ask
from holdfast.testing.calls import call as call
from holdfast.testing.calls import close as close
from holdfast.testing.calls import connect as connect
from holdfast.testing.calls import open as open
from holdfast.testing.calls import publish as publish
from holdfast.testing.calls import subscribe as subscribe
from holdfast.testing.clients import client as client
from holdfast.testing.effects import Broadcast as Broadcast
from holdfast.testing.effects import Close as Close
from holdfast.testing.effects import Effect as Effect
from holdfast.testing.effects import Join as Join
from holdfast.testing.effects import Leave as Leave
from holdfast.testing.effects import Notify as Notify
from holdfast.testing.effects import Update as Update
from holdfast.testing.processes import Proxy as Proxy
from holdfast.testing.processes import Status as Status
from holdfast.testing.processes import proxy as proxy
from holdfast.testing.results import Failure as Failure
from holdfast.testing.results import Result as Result

__all__ = [
    "Alone",
    "Broadcast",
    "Close",
    "Effect",
    "Failure",
    "Join",
    "Leave",
    "Notify",
    "Proxy",
    "Result",
    "Status",
    "Update",
    "alone",
    "ask",
    "call",
    "client",
    "close",
    "connect",
    "open",
    "proxy",
    "publish",
    "subscribe",
]
