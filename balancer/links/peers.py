"""The sockets between proxies: a PUB for what we say to all, and for each peer a SUB and a DEALER to ask it on.

What peers ask us comes on the ROUTER that nodes dial (balancer.links.zeromq). Messages stand alone, so libzmq may
connect again by itself whenever it has to: nothing of an old connection can be mistaken for anything, and what was lost
shows by the numbers of the messages. Nothing is kept here for a peer that does not read: PUB drops, and a question that
can't be sent is asked again.
"""

from collections.abc import Callable, Sequence
from itertools import count
from secrets import token_bytes

import structlog
import trio
import zmq

from holdfast.balancer.links.door import Door
from holdfast.balancer.links.guard import Guard
from holdfast.balancer.links.sockets import bind
from holdfast.complaints import Complaints
from holdfast.names import look_up
from holdfast.protocols.endpoints import name_in
from holdfast.protocols.peers.frames import Member

log = structlog.get_logger("holdfast.peers")

NOBLOCK = int(zmq.NOBLOCK)
POLLIN = int(zmq.POLLIN)
# Messages that wait for one peer. Published ones are small. On a DEALER a message may be a node's batch, on its way
# through us: of some 1 MiB, so it is libzmq's and the kernel's buffers that carry them, and not a long queue.
PUB_HIGH_WATER_MARK = 1000
ASK_HIGH_WATER_MARK = 64
BURST = 64  # messages taken before others get their turn
# What is said to a PUB is the handshake, a subscription to everything, and pings.
MAX_SUBSCRIPTION_BYTES = 4 << 10
WATCH_INTERVAL = 0.02  # of connections of which libzmq makes something at a million subscriptions a second
PARTS = 4  # of the time after which a peer is not heard: so long libzmq waits before it looks whether it is there


class PeerPort:
    """What this proxy publishes on."""

    def __init__(self) -> None:
        self._socket: zmq.Socket[bytes] | None = None

    def open(self, address: str, context: "zmq.Context[zmq.Socket[bytes]]", guard: Guard) -> str:
        """Bind; `watch` is to be run then. Returns the address as bound. Raises OSError if it can't be."""
        socket = context.socket(zmq.PUB)
        socket.linger = 0
        socket.sndhwm = PUB_HIGH_WATER_MARK
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        socket.maxmsgsize = MAX_SUBSCRIPTION_BYTES
        guard.for_peers(socket)
        self.door = Door(socket, is_one_way=True, limit=guard.max_strangers)
        try:
            bound = bind(socket, address)
        except OSError:
            self.door.close()
            socket.close(linger=0)
            raise
        self._socket = socket
        return bound

    def publish(self, data: bytes) -> None:
        """To every peer that is subscribed and reads."""
        assert self._socket is not None  # it is open
        self._socket.send(data, NOBLOCK)

    async def watch(self) -> None:
        """Task: end who says much, or nothing at all."""
        descriptor = self.door.fileno()
        while True:
            now = trio.current_time()
            self.door.take_events(now)
            self.door.look(now, lambda: None)
            with trio.move_on_after(WATCH_INTERVAL if self.door.has_work else float("inf")):
                await trio.lowlevel.wait_readable(descriptor)

    def close(self) -> None:
        if self._socket is not None:
            self.door.close()
            self._socket.close(linger=0)


class PeerLink:
    """The connections to one peer, from `run` to `end`. timeout: seconds of silence after which they are made anew."""

    def __init__(self, member: Member, timeout: float) -> None:
        self.member = member
        self._timeout = timeout
        self._complaints = Complaints()
        self._life = trio.CancelScope()
        self._nap: trio.CancelScope | None = None  # while we wait for an answer
        self._asking: zmq.Socket[bytes] | None = None
        self._has_heard = False  # what the peer publishes

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
        guard: Guard,
        received: Callable[[Sequence[bytes]], None],
    ) -> None:
        """Task: connect, and give messages as they come, in order. Names are looked up, and one after another of what
        they stand for is tried, whenever nothing is heard."""
        member = self.member
        is_named = name_in(member.pub) is not None or name_in(member.router) is not None
        limiter = trio.CapacityLimiter(1)  # of this peer alone: a name that nobody answers for holds up no other
        with self._life:
            for attempt in count():
                pubs = await look_up(member.pub, limiter, self._complaints)
                routers = await look_up(member.router, limiter, self._complaints)
                if pubs and routers:
                    pub, router = pubs[attempt % len(pubs)], routers[attempt % len(routers)]
                    await self._connected(context, guard, received, pub, router, is_named)
                if not is_named:
                    return
                await trio.sleep(self._timeout / PARTS)

    async def _connected(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        guard: Guard,
        received: Callable[[Sequence[bytes]], None],
        pub: str,
        router: str,
        is_named: bool,
    ) -> None:
        """Until the end; if they are named, until nothing has been heard for too long."""
        listening = self._socket(context, zmq.SUB)
        asking = self._socket(context, zmq.DEALER)
        guard.to_peers_port(listening)
        guard.to_nodes_port(asking)
        try:
            listening.connect(pub)
            asking.connect(router)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, listening, received)
                self._asking = asking
                if is_named:
                    nursery.start_soon(self._end_when_silent, nursery.cancel_scope)
                await self._read(asking, received)
        except zmq.ZMQError as error:  # of connect: the addresses are the peer's words
            if self._complaints.is_due(error.strerror, trio.current_time()):
                log.warning("bad_peer_address", router=router, pub=pub, error=error.strerror)
        finally:
            self._asking = None
            listening.close(linger=0)
            asking.close(linger=0)

    async def _end_when_silent(self, scope: trio.CancelScope) -> None:
        """Counted in naps and not by the clock: while this process stands still nobody is silent."""
        naps = 0
        while naps < PARTS:
            self._has_heard = False
            await trio.sleep(self._timeout / PARTS)
            naps = 0 if self._has_heard else naps + 1
        scope.cancel(reason="nothing is heard")

    def _socket(self, context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
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
        return socket

    async def _read(self, socket: "zmq.Socket[bytes]", received: Callable[[Sequence[bytes]], None]) -> None:
        descriptor = int(socket.getsockopt(zmq.FD))
        taken = 0
        while True:
            burst: list[bytes] = []
            while len(burst) < BURST and _is_readable(socket):
                burst.append(socket.recv(NOBLOCK))
            if burst:
                self._has_heard |= socket is not self._asking
                received(burst)
                taken += len(burst)
                if taken >= BURST:  # else to wait is soon enough: a turn of the loop for each message is half its cost
                    taken = 0
                    await trio.lowlevel.checkpoint()
                continue
            taken = 0
            if socket is not self._asking:
                await trio.lowlevel.wait_readable(descriptor)
                continue
            with trio.CancelScope() as self._nap:
                await trio.lowlevel.wait_readable(descriptor)
            self._nap = None


def _is_readable(socket: "zmq.Socket[bytes]") -> bool:
    return bool(int(socket.getsockopt(zmq.EVENTS)) & POLLIN)
