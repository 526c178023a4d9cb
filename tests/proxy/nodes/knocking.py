"""Clients that open sessions, byte by byte, and nodes that say who may: for tests of admission."""

from contextlib import asynccontextmanager

import trio
from wsproto.frame_protocol import FrameProtocol

from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import Admitted, encode_admitted
from tests.harness import ScriptedNode

HANDSHAKE = (
    b"GET /room?token=t HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Who: ada\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ADA = Admitted("ada", b'{"team":3}', ["lobby", "team/3"])


def asked_for(proxy, name="doorman", **hello):
    return ScriptedNode(proxy.node, name, takes=["connect"], **hello)


def text(payload):
    return FrameProtocol(client=True, extensions=[]).send_data(payload, fin=True)


async def admit(node, admitted=None, call=None):
    call = call or await node.take(frames.Call)
    payload = b"" if admitted is None else encode_admitted(admitted)
    node.say(frames.Reply(call.id, call.attempt, payload, False))
    return call


async def refuse(node, *what):
    call = await node.take(frames.Call)
    node.say(frames.Failure(call.id, call.attempt, *what))
    return call


class Peer:
    """A client's socket, and what has come of it."""

    def __init__(self, stream):
        self.stream = stream
        self.came = b""

    async def until(self, wanted: bytes) -> bytes:
        """All that came, when that has."""
        while wanted not in self.came:
            data = await self.stream.receive_some()
            assert data, f"the end came after {self.came!r}"
            self.came += data
        return self.came

    async def to_the_end(self) -> bytes:
        async for data in self.stream:
            self.came += data
        return self.came


@asynccontextmanager
async def knocking(proxy, more=b"", handshake=HANDSHAKE):
    async with await trio.open_tcp_stream("127.0.0.1", proxy.client_port) as stream:
        await stream.send_all(handshake + more)
        yield Peer(stream)


def is_forgotten(proxy):
    """Nothing is left of who waited."""
    app = proxy.app
    return not len(app.ledger) and not app.clients.connections and not app.clients.held.bytes and not len(app.registry)
