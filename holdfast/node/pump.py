"""One DEALER socket, and the batches that it carries.

Owns the socket: only `run` calls it. The descriptor is edge-triggered in effect (libzmq #3641): it says nothing of what
is queued if the socket was not drained, nor of what came while we sent. So each turn drains until nothing is left,
sends, and looks at EVENTS again before it sleeps. Frames queued in one pass of Trio's scheduler leave as one batch.

When it has ended another pump must take over; ZeroMQ never reconnects this one, because a socket's queue would survive
that.
"""

from secrets import token_bytes
from typing import NamedTuple, cast

import trio
import zmq
import zmq.utils.monitor

from holdfast.node.batches import MAX_OUTBOX_BYTES, Batches, Owner
from holdfast.protocols.errors import ConfigError, FrameError
from holdfast.protocols.nodes.frames import MAX_BATCH_BYTES_TO_NODE, Via, encode_batch

HIGH_WATER_MARK = 16  # batches in libzmq, each way; more of ours wait in the outbox, where they are counted
BURST = 32  # batches taken before handlers get their turn
# For a connection to come, and again for its handshake: where nobody answers, nor refuses, the next attempt has to be
# soon (holdfast.node.backoff). It is libzmq's thread there that answers, however busy the proxy is.
CONNECT_TIMEOUT = 1.0
LINGER = 2.0  # for a goodbye to leave before the socket is closed: what matters was read before, or is given up

_ENDINGS = {
    zmq.EVENT_DISCONNECTED: "the connection was lost",
    zmq.EVENT_CLOSED: "can't connect",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "the handshake failed",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "the handshake failed",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the handshake failed: our key is not one that the proxy authorizes",
}


class Curve(NamedTuple):
    """Keys for an encrypted and authenticated link, in ZeroMQ's Z85: the proxies' public one, and our own pair."""

    server_key: bytes
    public_key: bytes
    secret_key: bytes


class Pump(Batches):
    """One connection to `address`, from `run` to its end.

    via: what the proxy there is told first: to which one all of it is to be passed.
    """

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", address: str, curve: Curve | None, via: Via | None = None
    ) -> None:
        super().__init__()
        self._context = context
        self._address = address
        self._curve = curve
        self._via = via
        self._blocked: bytes | None = None  # the first batch, encoded, while libzmq has no room for it

    async def run(self, owner: Owner) -> None:
        socket = self._socket()
        # Before it connects: a refusal may come at once, and who is not listening then never hears of it.
        monitor = socket.get_monitor_socket(sum(_ENDINGS))
        try:
            self._connect(socket)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, monitor)
                await self._turns(socket, owner)
                nursery.cancel_scope.cancel(reason=self.ended)
        finally:
            socket.disable_monitor()
            monitor.close(linger=0)
            socket.close(linger=int(LINGER * 1000) if self._is_finishing else 0)
            self.end("stopped")

    def _socket(self) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.DEALER)
        # A routing id is a session (docs/node-protocol.md). One that begins with a zero byte is reserved by ZeroMQ.
        socket.routing_id = b"N" + token_bytes(15)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = HIGH_WATER_MARK
        socket.maxmsgsize = MAX_BATCH_BYTES_TO_NODE
        socket.reconnect_ivl = -1
        socket.connect_timeout = socket.handshake_ivl = int(CONNECT_TIMEOUT * 1000)
        socket.ipv6 = "[" in self._address
        if self._curve is not None:
            socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = self._curve
        return socket

    def _connect(self, socket: "zmq.Socket[bytes]") -> None:
        try:
            socket.connect(self._address)
        except zmq.ZMQError as error:
            why = f"expected tcp://HOST:PORT ({zmq.strerror(error.errno or 0)})"
            raise ConfigError(f"can't connect to {self._address!r}: {why}") from error
        if self._via is not None:
            socket.send(encode_batch(0, [self._via]), zmq.NOBLOCK)  # a new socket has room

    async def _turns(self, socket: "zmq.Socket[bytes]", owner: Owner) -> None:
        descriptor = _number(socket, zmq.FD)
        while True:
            now = trio.current_time()
            owner.tick(now)
            received = not self.ended and self._drain(socket, owner, now)
            # What came before the end, and has not begun, is for nobody any more.
            if not self.ended and (owner.wake_handlers(now) or received):
                await trio.lowlevel.checkpoint()  # most handlers need not wait: their replies make one batch
            if self.ended:
                return
            self._flush(socket)
            if self._is_finishing and not self._ready:
                self.end("finished")
                return
            events = _number(socket, zmq.EVENTS)
            if events & zmq.POLLIN or (events & zmq.POLLOUT and self._ready) or owner.wake_handlers(now):
                continue
            with trio.CancelScope(deadline=owner.next_tick) as self._nap:
                await trio.lowlevel.wait_readable(descriptor)
            self._nap = None

    def _drain(self, socket: "zmq.Socket[bytes]", owner: Owner, now: float) -> bool:
        """Take what has come. True: something has."""
        for burst in range(BURST):
            try:
                data = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return burst > 0
            if not data:
                continue  # the proxy probes whether the connection lives
            try:
                owner.receive(self._decode(data), now)
            except FrameError as error:
                self.end(f"protocol error: {error}")
            if self.ended:
                break
        return True

    def _flush(self, socket: "zmq.Socket[bytes]") -> None:
        while self._ready or self._open:
            if not self._ready:
                self._close_batch()
            if self._blocked is None:
                self._sent += 1
                self._blocked = encode_batch(self._sent, self._ready[0][0])
            try:
                socket.send(self._blocked, zmq.NOBLOCK)
            except zmq.Again:
                break
            self._blocked = None
            self._ready_bytes -= self._ready.popleft()[1]
        if self._is_full and self._ready_bytes <= MAX_OUTBOX_BYTES:
            self._is_full = False
            self._room.set()

    async def _watch(self, monitor: "zmq.Socket[bytes]") -> None:
        while True:
            while _number(monitor, zmq.EVENTS) & zmq.POLLIN:
                event = zmq.utils.monitor.recv_monitor_message(monitor, zmq.NOBLOCK)["event"]
                self.end(self._why(zmq.Event(event)))
            await trio.lowlevel.wait_readable(_number(monitor, zmq.FD))

    def _why(self, event: zmq.Event) -> str:
        why = _ENDINGS.get(event, "the connection ended")
        if event not in (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL):
            return why
        if self._curve:
            return f"{why}: is it a proxy, has it CURVE on, as we have, and is the key that we know of it its own?"
        return f"{why}: is it a proxy, and has it CURVE on? We have not"


def _number(socket: "zmq.Socket[bytes]", option: int) -> int:
    return cast("int", socket.getsockopt(option))
