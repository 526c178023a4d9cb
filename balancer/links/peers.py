"""The sockets between proxies: a PUB for what we say to all, and for each peer a SUB and a DEALER to ask it on.

What peers ask us comes on the ROUTER that nodes dial (balancer.links.zeromq). Messages stand alone, so libzmq may
connect again by itself whenever it has to: nothing of an old connection can be mistaken for anything, and what was lost
shows by the numbers of the messages. Nothing is kept here for a peer that does not read: PUB drops, and a question that
can't be sent is asked again.
"""

from collections.abc import Callable, Sequence
from secrets import token_bytes

import structlog
import trio
import zmq

from balancer.links.curve import Curve
from protocols.peers.frames import Member

log = structlog.get_logger("holdfast.peers")

NOBLOCK = int(zmq.NOBLOCK)
POLLIN = int(zmq.POLLIN)
# Messages that wait for one peer. Published ones are small. On a DEALER a message may be a node's batch, on its way
# through us: of some 1 MiB, so it is libzmq's and the kernel's buffers that carry them, and not a long queue.
PUB_HIGH_WATER_MARK = 1000
ASK_HIGH_WATER_MARK = 64
BURST = 64  # messages taken before others get their turn
PARTS = 4  # of the time after which a peer is not heard: so long libzmq waits before it looks whether it is there


class PeerPort:
    """What this proxy publishes on."""

    def __init__(self) -> None:
        self._socket: zmq.Socket[bytes] | None = None

    def open(self, address: str, context: "zmq.Context[zmq.Socket[bytes]]", curve: Curve | None) -> str:
        """Bind. Returns the address as bound. Raises OSError if it can't be."""
        socket = context.socket(zmq.PUB)
        socket.linger = 0
        socket.sndhwm = PUB_HIGH_WATER_MARK
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        socket.ipv6 = "[" in address
        if curve is not None:
            curve.apply(socket)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            raise OSError(error.errno, f"can't bind {address}: {zmq.strerror(error.errno or 0)}") from error
        self._socket = socket
        return socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def publish(self, data: bytes) -> None:
        """To every peer that is subscribed and reads."""
        assert self._socket is not None  # it is open
        self._socket.send(data, NOBLOCK)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)


class PeerLink:
    """The connections to one peer, from `run` to `end`. timeout: seconds of silence after which they are made anew."""

    def __init__(self, member: Member, timeout: float) -> None:
        self.member = member
        self._timeout = timeout
        self._life = trio.CancelScope()
        self._nap: trio.CancelScope | None = None  # while we wait for an answer
        self._asking: zmq.Socket[bytes] | None = None

    def send(self, data: bytes) -> bool:
        """To the peer itself. False: it is not connected, or does not read."""
        socket = self._asking
        if socket is None:
            return False
        try:
            socket.send(data, NOBLOCK)
        except zmq.Again:
            return False
        # That may have swallowed the edge of an answer that came meanwhile.
        if self._nap is not None and _is_readable(socket):
            self._nap.cancel(reason="an answer is there")
        return True

    def end(self) -> None:
        """Have `run` return soon."""
        self._life.cancel(reason="hung up")

    async def run(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        curve: Curve | None,
        received: Callable[[Sequence[bytes]], None],
    ) -> None:
        """Task: connect, and give messages as they come, in order."""
        listening = self._socket(context, zmq.SUB, curve)
        asking = self._socket(context, zmq.DEALER, curve)
        try:
            listening.connect(self.member.pub)
            asking.connect(self.member.router)
            with self._life:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, listening, received)
                    self._asking = asking
                    await self._read(asking, received)
        except zmq.ZMQError as error:  # of connect: the addresses are the peer's words
            log.warning("bad_peer_address", router=self.member.router, pub=self.member.pub, error=error.strerror)
        finally:
            self._asking = None
            listening.close(linger=0)
            asking.close(linger=0)

    def _socket(self, context: "zmq.Context[zmq.Socket[bytes]]", kind: int, curve: Curve | None) -> "zmq.Socket[bytes]":
        socket = context.socket(kind)
        socket.linger = 0
        socket.ipv6 = True  # as well
        # A network that is cut leaves connections that TCP would believe in for minutes.
        patience = int(self._timeout * 1000)
        socket.connect_timeout = socket.handshake_ivl = patience
        socket.heartbeat_ivl, socket.heartbeat_timeout, socket.heartbeat_ttl = patience // PARTS, patience, patience
        if kind == zmq.SUB:
            socket.subscribe(b"")
        else:
            socket.sndhwm = ASK_HIGH_WATER_MARK
            socket.immediate = True  # nothing waits for a connection: what is asked then would be answered too late
            socket.routing_id = b"P" + token_bytes(15)
        if curve is not None:
            curve.apply_to_peer(socket)
        return socket

    async def _read(self, socket: "zmq.Socket[bytes]", received: Callable[[Sequence[bytes]], None]) -> None:
        descriptor = int(socket.getsockopt(zmq.FD))
        while True:
            burst: list[bytes] = []
            while len(burst) < BURST and _is_readable(socket):
                burst.append(socket.recv(NOBLOCK))
            if burst:
                received(burst)
                await trio.lowlevel.checkpoint()
                continue
            with trio.CancelScope() as nap:
                if socket is self._asking:
                    self._nap = nap
                await trio.lowlevel.wait_readable(descriptor)


def _is_readable(socket: "zmq.Socket[bytes]") -> bool:
    return bool(int(socket.getsockopt(zmq.EVENTS)) & POLLIN)
