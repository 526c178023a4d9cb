"""A whole proxy in this process, with a hundred raw clients and a node that are all driven by one task.

What the clients send is written before the proxy gets a turn, and the node answers in one batch: so each round is the
same work in the same turns, and can be counted. Every reply and every notification is compared.
"""

import socket
from contextlib import contextmanager

import trio
import zmq

from holdfast.protocols.nodes.frames import Changes, decode_from_proxy
from tests.harness import ScriptedNode
from tests.waiting import PATIENCE

UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: example.org\r\nUser-Agent: guard/1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Backend(ScriptedNode):
    """A node that gives batches as they came: a list of frames would count as the proxy's memory."""

    def next_batch(self):
        try:
            return self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return b""


async def gather(nodes, kind, count):
    """Wait until the nodes have so many frames of this kind. Returns the batches, by node."""
    got = {node: [] for node in nodes}
    with trio.fail_after(PATIENCE):
        while count:
            idle = True
            for node in nodes:
                batch = node.next_batch()
                if batch:
                    idle = False
                    found = sum(1 for _ in frames_in([batch], kind))
                    count -= found
                    if found:
                        got[node].append(batch)
            if idle:
                await trio.sleep(0.001)
    return got


def frames_in(batches, kind):
    """Frames of this kind, and clients that came or went."""
    for batch in batches:
        for frame in decode_from_proxy(batch)[1]:
            for each in frame.changes if isinstance(frame, Changes) else (frame,):
                if isinstance(each, kind):
                    yield each


class Clients:
    """Raw connections: what they are to send, and what must come back."""

    def __init__(self, proxy, count):
        self._address = ("127.0.0.1", proxy.client_port)
        self.sockets = [socket.socket() for _ in range(count)]

    def __len__(self):
        return len(self.sockets)

    def connect(self):
        for each in self.sockets:
            each.connect(self._address)  # the kernel does that alone
            each.setblocking(False)

    def send(self, data):
        for each in self.sockets:
            assert each.send(data) == len(data)

    async def receive(self, size):
        """Wait for so many bytes on each. Returns what each got, if it is the same for all."""
        got = {each: b"" for each in self.sockets}
        with trio.fail_after(PATIENCE):
            for each in self.sockets:
                while len(got[each]) < size:
                    try:
                        got[each] += each.recv(1 << 16)
                    except BlockingIOError:
                        await trio.sleep(0.001)
        [same] = set(got.values())
        return same

    async def upgrade(self):
        self.send(UPGRADE)
        head = await self.receive(1)
        assert head.startswith(b"HTTP/1.1 101 "), head

    def close(self):
        for each in self.sockets:
            each.close()


@contextmanager
def clients_of(proxy, count):
    clients = Clients(proxy, count)
    try:
        yield clients
    finally:
        clients.close()
