"""`client.ordered`: no message goes to a node before the former one of its connection has its reply."""

from contextlib import asynccontextmanager

import pytest
import trio
from websockets.trio.client import connect

import holdfast.testing
from holdfast import Node
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import RequestError
from holdfast.protocols.nodes import frames
from holdfast.proxy.clients.reactor import READABLE
from tests.harness import ScriptedNode, running, websocket
from tests.proxy.clients.test_connection import Rig


@asynccontextmanager
async def ordered(**settings):
    rig = Rig(ordered=True, **settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.reactor.run)
        yield rig
        nursery.cancel_scope.cancel()
    rig.clients.close()
    rig.reactor.close()


def asked(rig):
    return [event.payload for _, event in rig.requests]


async def test_each_waits_for_the_reply_of_the_former_one():
    async with ordered() as rig:
        connection, theirs = rig.connect()
        other, other_theirs = rig.connect()
        with theirs, other_theirs:
            theirs.send(b"one\ntwo\n")
            await rig.until(lambda: rig.requests)
            theirs.send(b"three\nping\n")
            assert await rig.read(theirs, 5) == b"pong\n"  # it is read, and answered, meanwhile
            other_theirs.send(b"else\n")
            await rig.until(lambda: len(rig.requests) == 2)
            assert asked(rig) == [b"one", b"else"]
            assert rig.clients.held.bytes == len(b"twothree")
            assert connection.reply(rig.requests[0][1], None, b"1", True, True)  # a part
            assert len(rig.requests) == 2
            connection.reply(rig.requests[0][1], None, b"", True, False)
            assert asked(rig) == [b"one", b"else", b"two"]
            connection.fail(rig.requests[2][1], RequestError("x", Reason.NO_NODE))
            assert asked(rig) == [b"one", b"else", b"two", b"three"]
            connection.reply(rig.requests[3][1], None, b"3", True, False)
            assert (connection.in_flight, rig.clients.held.bytes) == (0, 0)
            assert rig.counters.limits_hit["client.max_in_flight"] == 0
            other.reply(rig.requests[1][1], None, b"x", True, False)
            theirs.send(b"four\n")
            await rig.until(lambda: len(rig.requests) == 5)


async def test_its_end_is_seen_while_one_waits_for_its_reply():
    async with ordered() as rig:
        connection, theirs = rig.connect()
        theirs.send(b"one\ntwo\n")
        await rig.until(lambda: rig.requests)
        theirs.close()
        await rig.until(lambda: rig.closed == [(connection, Reason.CLIENT_LEFT)])
        assert (asked(rig), rig.clients.held.bytes) == ([b"one"], 0)


async def test_so_many_wait_and_the_rest_is_not_read():
    async with ordered(max_in_flight=4) as rig:
        connection, theirs = rig.connect()
        with theirs:
            for number in range(4):
                theirs.send(b"%d\n" % number)
                await rig.until(lambda: connection.has_asked)
            await rig.until(lambda: not connection.transport.interest & READABLE)
            assert rig.counters.limits_hit["client.max_in_flight"] == 1
            theirs.send(b"".join(b"%d\n" % number for number in range(4, 500)))
            for number in range(500):
                await rig.until(lambda number=number: len(rig.requests) > number)
                assert connection.in_flight == 1
                connection.reply(rig.requests[number][1], None, b"", True, False)
                rig.reactor.settle()
            assert asked(rig) == [b"%d" % number for number in range(500)]
            assert await rig.read(theirs, 500) == b"\n" * 500
            await rig.until(lambda: rig.clients.held.bytes == 0)


async def test_those_that_are_answered_at_once_are_in_order_too():
    async with ordered(max_in_flight=4) as rig:
        connection, theirs = rig.connect()

        def dispatch(connection, event):
            rig.requests.append((connection, event))
            connection.reply(event, None, event.payload, True, False)

        rig.clients.dispatch = dispatch
        with theirs:
            data = b"".join(b"%d\n" % number for number in range(500))
            theirs.send(data)
            assert await rig.read(theirs, len(data)) == data
            assert connection.in_flight == 0


async def test_replies_that_are_not_read_are_waited_for():
    async with ordered(max_outbox_bytes=1 << 16, send_buffer_bytes=4096) as rig:
        connection, theirs = rig.connect()
        with theirs:
            theirs.send(b"one\ntwo\nthree\n")
            await rig.until(lambda: rig.requests)
            for number in range(2):
                connection.reply(rig.requests[number][1], None, b"x" * (1 << 20), True, False)
                rig.reactor.settle()
            assert asked(rig) == [b"one", b"two"]
            assert not connection.transport.interest & READABLE
            await rig.read(theirs, 2 << 20)
            await rig.until(lambda: asked(rig) == [b"one", b"two", b"three"])


async def test_when_all_hold_much_fewer_wait():
    async with ordered(max_in_flight=64) as rig:
        rig.clients.share_in_flight(16)
        assert (rig.clients.max_in_flight, rig.clients.max_asked) == (1, 4)
        rig.clients.share_in_flight(1)
        assert (rig.clients.max_in_flight, rig.clients.max_asked) == (1, 64)


@pytest.mark.parametrize("is_ordered", [True, False])
async def test_through_several_nodes(is_ordered):
    """A request that was lost with its node is still before the next one."""
    async with running(client={"ordered": is_ordered}) as proxy, websocket(proxy) as client:
        with ScriptedNode(proxy.node) as first:
            await first.join()
            await client.send("one")
            await client.send("two")
            await first.take(frames.Request)
            if not is_ordered:
                assert (await first.take(frames.Request)).payload == b"two"
                return
            with ScriptedNode(proxy.node) as second:
                await second.join()
                first.close()
                for expected in (b"one", b"two"):
                    assert (await second.reply()).payload == expected
                    assert await client.recv() == expected.decode()


async def test_a_handler_that_waits_shorter_for_each_next_one():
    """A whole proxy, and two nodes: without order the last one would be answered first."""
    nodes, seen = [], []
    for number in range(2):
        node = Node(f"node-{number}")

        @node.on_request
        async def handle(request):
            await trio.sleep(0.02 / int(request.payload))
            seen.append(int(request.payload))
            return request.payload

        nodes.append(node)
    async with holdfast.testing.proxy(client={"ordered": True}) as proxy:
        async with proxy.node(nodes[0]), proxy.node(nodes[1]):
            async with connect(proxy.url) as client:
                for number in range(1, 21):
                    await client.send(str(number))
                assert [int(await client.recv()) for _ in range(20)] == list(range(1, 21))
        assert seen == list(range(1, 21))
