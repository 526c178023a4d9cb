"""The garbage collector may rest only because there is nothing for it to do: both are tested here."""

import gc
import socket
import struct
import weakref

import pytest
import trio

from holdfast.balancer.ledger import Entry
from holdfast.protocols.clients.events import HttpRequest, Message
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.protocols.clients.websocket import WebSocketProtocol
from holdfast.protocols.errors import RequestError
from holdfast.protocols.nodes import frames
from holdfast.proxy.clients.connection import Connection
from holdfast.proxy.clients.session import Session
from holdfast.proxy.clients.transport import Transport
from holdfast.proxy.process.collector import YOUNG_OBJECTS, tame
from tests.harness import ScriptedNode, client_ids, running

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
GET = b"GET /thing HTTP/1.1\r\nHost: a\r\n\r\n"
MASK = b"\0\0\0\0"
OURS = (Connection, Transport, Session, WebSocketProtocol, HttpProtocol, HttpRequest, Message, Entry, RequestError)


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.fixture
def threshold():
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def test_what_was_there_is_left_alone_and_new_garbage_is_found(threshold):
    old = weakref.ref(kept := Cycle())
    tame()
    new = weakref.ref(Cycle())
    del kept
    gc.collect()
    assert old() is not None
    assert new() is None
    gc.unfreeze()
    gc.collect()
    assert old() is None


def test_new_garbage_is_found_without_being_asked_for(threshold):
    tame()
    first = weakref.ref(Cycle())
    more = 0
    while first() is not None and more < 2 * YOUNG_OBJECTS:
        Cycle()
        more += 1
    assert YOUNG_OBJECTS // 4 < more < 2 * YOUNG_OBJECTS  # a Cycle is two objects: it, and its __dict__


async def leave(stream, node, id):
    await stream.send_all(b"\x88\x80" + MASK)


async def vanish(stream, node, id):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def break_a_rule(stream, node, id):
    await stream.send_all(b"\x81\x01x")  # not masked


async def be_kicked(stream, node, id):
    node.do(frames.CloseClient(id))


async def go_with_a_request_open(stream, node, id):
    await stream.send_all(b"\x81\x88" + MASK + b"question")
    await node.take(frames.Request)
    await stream.aclose()


@pytest.mark.parametrize("end", [leave, vanish, break_a_rule, be_kicked, go_with_a_request_open])
async def test_a_connection_and_its_messages_leave_nothing_to_collect(no_collector, end):
    async with running() as proxy:
        with ScriptedNode(proxy.node) as node:
            await node.join()
            async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as stream:
                await stream.send_all(GET)
                request = await node.take(frames.HttpRequest)
                node.say(frames.HttpReply(request.id, request.attempt, b"thing"))
                await read_to(stream, b"thing")
                await stream.send_all(HANDSHAKE)
                await read_to(stream, b"\r\n\r\n")
                (id,) = client_ids(proxy)
                await stream.send_all(b"\x81\x88" + MASK + b"question")
                await node.reply(effects=[frames.Join(id, "room")])
                await read_to(stream, b"question")
                node.do(frames.Notify(b"news", True, ["room"]))
                await read_to(stream, b"news")
                await end(stream, node, id)
                if end is be_kicked:
                    await read_to(stream, b"")
            await proxy.until(lambda: not proxy.app.clients.connections)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    assert [one for one in gc.garbage if isinstance(one, OURS)] == []


async def read_to(stream, what):
    data = b""
    with trio.fail_after(5):
        while not data.endswith(what) or not data:
            data += await stream.receive_some()
