"""The ZeroMQ link: nodes dial in with a DEALER, this is the ROUTER.

Owns the socket: every call on it is made here, between turns of the reactor, on one thread. The socket's descriptor
is edge-triggered in effect (libzmq #3641), so each use ends in `pump`, which drains until nothing is left, unless the
budget ends; then `pump` says so and must be called again without waiting.

A routing id is a session: nodes take a fresh one for each (docs/node-protocol.md). What comes from one that has not
said hello, or whose session is over, is refused; but in a cluster `stranger` is asked first, because other proxies dial
this socket too, and nodes for whom we are only the way to another proxy. Who is none of these is ended soon
(balancer.links.door). A session that comes to us by such a way has a route: what it says is given to `take`, and what
is sent to it goes there instead of to the socket.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import structlog
import zmq

from holdfast.balancer.links.base import NodeGateway, Outgoing
from holdfast.balancer.links.batches import cut
from holdfast.balancer.links.callers import Callers, Standing, descriptor_of
from holdfast.balancer.links.guard import Guard
from holdfast.balancer.links.sessions import begin, receive
from holdfast.balancer.links.sockets import bind
from holdfast.protocols.nodes.frames import MAX_BATCH_BYTES, Refused, encode_batch

log = structlog.get_logger("holdfast.link")

# Plain numbers: pyzmq's are members of enums, and to join two of them costs more than to send a message (0.7 us).
SNDMORE_NOBLOCK = int(zmq.SNDMORE | zmq.NOBLOCK)
NOBLOCK = int(zmq.NOBLOCK)
POLLIN = int(zmq.POLLIN)
EVENTS = int(zmq.EVENTS)
RCVMORE = int(zmq.RCVMORE)

# Batches for one peer within libzmq, which count as sent. More wait in the link's backlog, where bytes are counted.
SEND_HIGH_WATER_MARK = 64
RECEIVE_HIGH_WATER_MARK = 2000
BATCHES_PER_PUMP = 64  # then clients get their turn: to pass eight replies of 1 MiB on takes 15 ms
BYTES_PER_PUMP = 1 << 20
ENVELOPE_BYTES = 64 << 10  # around batches from and to nodes that other proxies send us, by whosever limits
# A turn's frames for one node leave in batches no longer than this, but for a frame that is longer: heartbeats and
# other nodes' batches should not wait behind many megabytes.
LARGE_BATCH_BYTES = 1 << 20
GARBAGE = b"\xc1"  # no batch has two parts: it is refused as what it is

Route = Callable[[bytes], bool]  # sends a batch to a session that came by another way; False: there is no room now


class ZeromqLink:
    """One session: frames of the turn, batches libzmq would not take, and the numbers of both directions."""

    __slots__ = (
        "_hub", "backlog", "backlog_bytes", "identity", "is_open", "last_seen", "outbox", "received", "route", "sent",
    )  # fmt: skip

    def __init__(self, hub: "ZeromqHub", identity: bytes, now: float, route: Route | None) -> None:
        self._hub = hub
        self.identity = identity
        self.route = route
        self.is_open = True
        self.last_seen = now
        self.outbox: list[Outgoing] = []
        self.backlog: deque[tuple[bytes, list[Outgoing]]] = deque()
        self.backlog_bytes = 0
        self.sent = 0
        self.received = 0

    @property
    def is_blocked(self) -> bool:
        return bool(self.backlog)

    @property
    def name(self) -> str:
        return self.identity.hex()

    def send(self, frame: Outgoing) -> None:
        if not self.outbox:
            self._hub.touched.append(self)
        self.outbox.append(frame)

    def close(self, reason: str, *, fatal: bool = False) -> None:
        if self.is_open:
            self._hub.end(self)
            self._hub.refuse(self.identity, reason, fatal=fatal, route=self.route)

    def break_off(self, why: str) -> None:
        self._hub.break_off(self, why)

    def unsent(self) -> list[Outgoing]:
        return [frame for _, frames in self.backlog for frame in frames] + self.outbox


class ZeromqHub:
    """The ROUTER socket and its sessions.

    max_batch_bytes: a longer one of a node ends its session. max_backlog_bytes: a node that reads so slowly is lost.
    stranger: is asked with what comes from an identity without a session. To be set before `open`, in a cluster only.
    on_end(identity): is asked whether a connection that `stranger` has dealt with has ended, or means nothing.
    """

    def __init__(
        self,
        gateway: NodeGateway,
        *,
        max_batch_bytes: int,
        max_backlog_bytes: int,
        guard: Guard | None = None,
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]]
        self.stranger: Callable[[bytes, bytes], Standing] | None = None
        self.on_end: Callable[[bytes], bool] = lambda identity: True
        self._gateway = gateway
        self._max_batch_bytes = max_batch_bytes
        self._max_backlog_bytes = max_backlog_bytes
        self._guard = Guard() if guard is None else guard
        self._links: dict[bytes, ZeromqLink] = {}
        self._blocked: set[ZeromqLink] = set()
        self._broken: list[tuple[ZeromqLink, str]] = []
        # What follows from the end of a connection, by its session: first what came by it is read, libzmq has it still.
        self._ended: dict[bytes, Callable[[], object]] = {}
        self.touched: list[ZeromqLink] = []
        self.batches_received = 0
        self.batches_sent = 0
        self.frames_sent = 0

    def open(self, addresses: Sequence[str]) -> list[str]:
        """Bind. Returns the addresses as bound (ports filled in). Raises OSError if one can't be; then it is closed."""
        self.context = zmq.Context()
        self._guard.start(self.context)
        self._socket = socket = self.context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.sndhwm, socket.rcvhwm = SEND_HIGH_WATER_MARK, RECEIVE_HIGH_WATER_MARK
        socket.maxmsgsize = self._max_batch_bytes if self.stranger is None else MAX_BATCH_BYTES + ENVELOPE_BYTES
        socket.router_mandatory = True  # else a message to a dead node vanishes without a word
        socket.router_handover = True  # else a newcomer with a used identity is ignored, and never refused
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)  # a peer that never speaks ZMTP is dropped
        self._guard.for_nodes(socket)
        self.callers = Callers(socket, self.probe, self._guard.max_strangers)
        try:
            return [bind(socket, address) for address in addresses]
        except OSError:
            self.close()  # or what is bound already keeps the process from ending
            raise

    def close(self) -> None:
        """Close the socket. What was sent and not yet written is lost: say Bye and pump before."""
        self.callers.close()
        self._socket.close(linger=0)
        self._guard.stop()
        self.context.destroy(linger=0)

    @property
    def strangers_ended(self) -> int:
        return self.callers.door.ended

    def fileno(self) -> int:
        """The descriptor to wait on. Readable means: call `pump`."""
        return int(self._socket.getsockopt(zmq.FD))

    def pump(self, now: float) -> bool:
        """Send what the turn has queued, take what has come. True: there is more to take, don't wait."""
        if self.touched or self._broken:
            self._flush()
            # libzmq's thread writes that. Where it shares our CPU it would wait until we do: this costs 0.3 us a turn,
            # and a lone request takes 30 us less, of 210.
            os.sched_yield()
        more = self._drain(now)
        if self._ended and not more:
            self._end_ended()
        if self._blocked:  # libzmq wakes us when it has room again
            self.retry()
        if self.touched or self._broken:  # what was received has caused that
            self._flush()
            more = more or _is_readable(self._socket)  # a send may have swallowed the edge of what came meanwhile
        return more or bool(self._ended)

    def _flush(self) -> None:
        while self.touched or self._broken:
            broken, self._broken = self._broken, []
            for link, why in broken:
                self._lose(link, why)
                self.refuse(link.identity, why, route=link.route)
            touched, self.touched = self.touched, []
            for link in touched:
                try:
                    self._flush_link(link)
                except Exception:  # a guard: a fault with one link must not keep back what is for others
                    log.exception("flush_crashed")
                    self.break_off(link, "internal error")

    def _flush_link(self, link: ZeromqLink) -> None:
        # The outbox keeps its frames until libzmq has taken them: a link that is lost here is asked for them.
        if not (frames := link.outbox) or not link.is_open:
            return
        batch = encode_batch(link.sent + 1, frames)
        if len(batch) <= LARGE_BATCH_BYTES or len(frames) == 1:
            self._pass(link, batch, frames)
            return
        for piece in cut(frames, LARGE_BATCH_BYTES):
            if link.is_open:
                self._pass(link, encode_batch(link.sent + 1, piece), link.outbox[: len(piece)])

    def _pass(self, link: ZeromqLink, batch: bytes, frames: list[Outgoing]) -> None:
        """The first frames of the outbox, as a batch, are sent, or kept."""
        if link.backlog or not self._send(link, batch):
            self._keep(link, batch, frames)
        if link.is_open:
            self.frames_sent += len(frames)
            link.sent += 1
            link.outbox = link.outbox[len(frames) :]

    def _send(self, link: ZeromqLink, batch: bytes) -> bool:
        """False: libzmq has no room for this node now, or its connection has ended."""
        if link.route is not None:
            if not link.route(batch):
                return False
            self.batches_sent += 1
            return True
        try:
            self._socket.send(link.identity, SNDMORE_NOBLOCK)
            self._socket.send(batch, NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._has_ended(link)  # what is for it is kept until it is lost, and goes elsewhere then
            return False
        self.batches_sent += 1
        return True

    def _keep(self, link: ZeromqLink, batch: bytes, frames: list[Outgoing]) -> None:
        link.backlog.append((batch, frames))
        link.backlog_bytes += len(batch)
        self._blocked.add(link)
        if link.backlog_bytes > self._max_backlog_bytes:
            link.break_off(f"does not read: more than {self._max_backlog_bytes} bytes wait for it")

    def retry(self) -> None:
        """Try again to send what libzmq had no room for. Called by the ticker."""
        for link in list(self._blocked):
            while link.is_open and link.backlog:
                batch = link.backlog[0][0]
                if not self._send(link, batch):
                    break
                if link.is_open:
                    link.backlog.popleft()
                    link.backlog_bytes -= len(batch)
            if not link.backlog:
                self._blocked.discard(link)

    def _drain(self, now: float) -> bool:
        recv = self._socket.recv
        option = self._socket.getsockopt
        links = self._links
        taken = 0
        for _ in range(BATCHES_PER_PUMP):
            # Asking costs half of what the exception does that recv raises when there is nothing.
            if not option(EVENTS) & POLLIN:  # type: ignore[operator]
                return False
            if taken > BYTES_PER_PUMP:
                return True
            identity = recv(NOBLOCK)
            link = links.get(identity)
            if link is None:
                taken += self._take_stranger(identity, now)
                continue
            data = recv(NOBLOCK)
            if option(RCVMORE):
                self._discard_rest()
                data = GARBAGE
            self.batches_received += 1
            taken += len(data)
            receive(self._gateway, link, data, now, self._max_batch_bytes)
        return True

    def _take_stranger(self, identity: bytes, now: float) -> int:
        """What it says that has no session. Returns how many bytes."""
        frame = self._socket.recv(NOBLOCK, copy=False)
        data = frame.bytes
        if frame.more:
            self._discard_rest()
            data = GARBAGE
        self.batches_received += 1
        fd = descriptor_of(frame)
        if fd is None:
            self.refuse(identity, "expected ZMTP 3.0 or later")
            return len(data)
        self.callers.meet(identity, fd, now)
        if self.callers.is_refused(identity, fd):
            return len(data)
        standing = Standing.NOBODY if self.stranger is None else self.stranger(identity, data)
        if standing is Standing.KNOWN or (standing is Standing.NOBODY and self._greet(identity, data, now, None)):
            self.callers.know(identity, fd)
        else:
            self.callers.refuse(identity, fd, now)
        return len(data)

    def take(self, identity: bytes, data: bytes, now: float, route: Route) -> None:
        """A batch of a session that comes by another way. End with a turn's end: answers are queued."""
        link = self._links.get(identity)
        if link is not None:
            receive(self._gateway, link, data, now, self._max_batch_bytes)
        else:
            self._greet(identity, data, now, route)

    def _greet(self, identity: bytes, data: bytes, now: float, route: Route | None) -> bool:
        link = self._links[identity] = ZeromqLink(self, identity, now, route)
        return begin(self._gateway, link, data, self._max_batch_bytes)

    def refuse(self, identity: bytes, reason: str, *, fatal: bool = False, route: Route | None = None) -> None:
        """Tell a peer that it has no session, if it can be told."""
        batch = encode_batch(0, [Refused(reason, fatal)])
        if route is not None:
            route(batch)
        else:
            self.send_raw(identity, batch)

    def send_raw(self, identity: bytes, data: bytes) -> bool:
        """To a peer without a session. False: it has gone, or has no room. Outside of a turn, end with a turn's end."""
        try:
            self._socket.send(identity, SNDMORE_NOBLOCK)
            self._socket.send(data, NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, errno.EAGAIN):
                raise
            return False
        return True

    def forget_route(self, prefix: bytes, why: str) -> None:
        """The way to these sessions is no more: those that have a route, and whose identity begins so."""
        for identity, link in self._links.items():
            if link.route is not None and identity.startswith(prefix):
                link.break_off(why)

    def when_read(self, identity: bytes, call: Callable[[], object]) -> None:
        """Call it once, when all that has come is taken."""
        self._ended.setdefault(identity, call)

    def _has_ended(self, link: ZeromqLink) -> None:
        self.when_read(link.identity, partial(self._lose, link, "disconnected"))

    def _end_ended(self) -> None:
        while self._ended:
            self._ended.popitem()[1]()

    def end(self, link: ZeromqLink) -> None:
        """Forget a session. Nothing of it is taken from now on."""
        link.is_open = False
        self._blocked.discard(link)
        self._ended.pop(link.identity, None)
        self._links.pop(link.identity, None)

    def _lose(self, link: ZeromqLink, why: str) -> None:
        if link.is_open:
            self.end(link)
            self._gateway.lost(link, why)

    def break_off(self, link: ZeromqLink, why: str) -> None:
        """Lose a session at the next flush: whoever says so may be in the middle of telling all nodes something."""
        self._broken.append((link, why))

    def _discard_rest(self) -> None:
        while self._socket.getsockopt(RCVMORE):
            self._socket.recv(NOBLOCK)

    def probe(self, identity: bytes) -> bool:
        """Whether it is there no more: libzmq raises then, if it is sent nothing."""
        self._socket.getsockopt(EVENTS)  # makes libzmq process its commands; without that it does not know yet
        link = self._links.get(identity)
        if link is None or link.route is not None:
            return self.on_end(identity)
        if link.backlog and identity not in self._ended:
            return False
        return not self._send_nothing(link)

    def _send_nothing(self, link: ZeromqLink) -> bool:
        try:
            self._socket.send(link.identity, SNDMORE_NOBLOCK)
            self._socket.send(b"", NOBLOCK)
        except zmq.Again:
            pass
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._has_ended(link)
        return link.identity not in self._ended

    async def watch(self, settle: Callable[[], object]) -> None:
        """Task: end who says nothing of itself; lose sessions whose connections have ended."""
        await self.callers.watch(settle)


def _is_readable(socket: "zmq.Socket[bytes]") -> bool:
    return bool(int(socket.getsockopt(EVENTS)) & POLLIN)
