"""A client connection's descriptor: what is read, what leaves at the turn's end, and what the kernel does not take.

Owns the descriptor, what this turn has queued, the outbox, and encryption. Knows nothing of protocols and requests:
what is too much, and what happens then, the connection says.
"""

import os
import socket
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import structlog

from protocols.close import Reason
from proxy.outbox import Outbox
from proxy.reactor import READABLE, WRITABLE
from proxy.tls import TlsChannel, TlsError

if TYPE_CHECKING:
    from proxy.clients import Clients

log = structlog.get_logger("holdfast.connection")


# More than 128 KiB makes malloc use mmap: 12 us per read instead of 2 (measured). 64 KiB is as cheap as 4.
READ_BYTES: Final = 64 << 10


class State(IntEnum):
    """Whatever leaves OPEN is gone for nodes and channels at once."""

    OPEN = 0
    CLOSING = 1  # we have said so, the peer has not
    FINISHED = 2  # the protocol is over, bytes may wait
    CLOSED = 3


# Names of this module: to look up a member of an Enum costs 0.1 us, and a message does that ten times.
OPEN: Final[State] = State.OPEN
CLOSING: Final[State] = State.CLOSING
FINISHED: Final[State] = State.FINISHED
CLOSED: Final[State] = State.CLOSED


class Transport:
    """See the module. proxy.connection.Connection is the one that there is.

    pending: what this turn has queued. direct: the wire format in which a fan-out may write to `fd` itself while
    nothing is pending; None: it may not. Both are beside `fd` in memory: a fan-out to thousands is made of misses.
    """

    __slots__ = (
        "_clients", "_interest", "_outbox", "_registered", "_tls", "address", "direct", "fd", "id", "pending", "state",
    )  # fmt: skip

    def __init__(self, clients: "Clients", id: int, fd: int, address: str, tls: TlsChannel | None) -> None:
        self._clients = clients
        self.id = id
        self.fd = fd
        self.address = address
        self.state = OPEN
        self.pending: bytes | list[bytes] | None = None
        self.direct: object = None
        self._outbox: Outbox | None = None  # what the kernel has refused
        self._tls = tls
        self._interest = READABLE  # what we want to be woken for
        self._registered = READABLE  # what the reactor wakes us for

    @property
    def is_closed(self) -> bool:
        """It takes no more replies and notifications."""
        return self.state is not OPEN

    @property
    def outbox_bytes(self) -> int:
        return 0 if self._outbox is None else self._outbox.size

    def on_ready(self, events: int, now: float) -> None:
        if events & WRITABLE and self._outbox is not None:
            self._write_outbox()
        if events & ~WRITABLE and self.fd >= 0:  # readable, or an error that reading tells
            if not self._interest & READABLE and not events & ~(READABLE | WRITABLE):
                self._register()
                return
            try:
                data = os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:  # reset, timed out: a normal end
                self.abort(Reason.CLIENT_LEFT)
                return
            self._clients.counters.bytes_received += len(data)
            if self._tls is not None:
                self._receive_encrypted(data, now)
            else:
                self.receive(data, now)

    def _receive_encrypted(self, data: bytes, now: float) -> None:
        plain, is_over = self._decrypt(data)
        if plain:
            self.receive(plain, now)
        if is_over and self.fd >= 0:
            self.receive(b"", now)

    def write(self, data: bytes) -> None:
        """Queue bytes; they leave at the turn's end, joined with the others of this turn."""
        pending = self.pending
        if pending is None:
            if data:
                self.pending = data
                self._clients.touched.append(self)
        elif type(pending) is list:
            pending.append(data)
        else:
            self.pending = [pending, data]  # type: ignore[list-item]

    def flush(self) -> None:
        """Write what this turn has queued."""
        data = self.pending
        self.pending = None
        if data is None:  # closed meanwhile
            return
        if type(data) is list:
            data = b"".join(data)
        if self._tls is not None:
            data = self._tls.send(data)  # type: ignore[arg-type]
        self._write_raw(data)  # type: ignore[arg-type]

    def _write_raw(self, data: bytes) -> None:
        if not data or self.fd < 0:
            return
        if self._outbox is not None:
            self.queue(data, 0)
            return
        try:
            sent = os.write(self.fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.abort(Reason.CLIENT_LEFT)
            return
        self._clients.counters.bytes_sent += sent
        if sent != len(data):
            self.queue(data, sent)
        elif self.state is FINISHED:
            self._end()

    def queue(self, data: bytes, sent: int) -> None:
        """The kernel took only `sent` of these bytes.

        Replies may pass the high-water mark: a client may ask for much at once, and is not read meanwhile. What it has
        asked for and leaves unread has a limit of its own.
        """
        outbox = self._outbox
        if outbox is None:
            self._outbox = outbox = Outbox()
            self._set_interest()
        elif outbox.size > self._clients.max_unread_reply_bytes and self.state is OPEN:
            self._unread(outbox)
            return
        outbox.put(data)
        outbox.take(sent)

    def _write_outbox(self) -> None:
        outbox = self._outbox
        assert outbox is not None
        while outbox.size:
            data = outbox.peek()
            try:
                sent = os.write(self.fd, data)
            except BlockingIOError:
                break
            except OSError:
                self.abort(Reason.CLIENT_LEFT)
                return
            self._clients.counters.bytes_sent += sent
            outbox.take(sent)
            if sent < len(data):
                break
        if not outbox.size:
            self._outbox = None
            if self.state is FINISHED:
                self._end()
                return
        self._made_room()

    def _register(self) -> None:
        self._registered = self._interest
        self._clients.reactor.modify(self.fd, self._interest)

    def _decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """What the socket gave, in plain, and whether that is the end. A broken handshake ends the connection."""
        tls = self._tls
        assert tls is not None
        try:
            plain = tls.receive(data)
        except TlsError as error:
            log.debug("tls_failed", address=self.address, error=str(error))
            self._write_raw(tls.output())  # the alert that says why
            self.abort(Reason.PROTOCOL_ERROR)
            return b"", True
        self._write_raw(tls.output())
        return plain, not data or tls.is_over

    def _shut_down(self) -> bool:
        """Tell the peer that we send no more; it may. False: it has gone."""
        if self._tls is not None:
            try:
                os.write(self.fd, self._tls.close())
            except OSError:
                pass  # the peer is gone, or does not read: what follows finds out
        transport = socket.socket(fileno=self.fd)
        try:
            transport.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        finally:
            transport.detach()
        return True

    def _close(self) -> None:
        self._clients.reactor.unregister(self.fd)
        os.close(self.fd)
        self.fd = -1
        self.pending = None
        self._outbox = None
        self._tls = None

    # --- the connection's part ----------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """What the socket gave, decrypted; b"" is end of file."""
        raise NotImplementedError

    def abort(self, reason: Reason) -> None:
        """Close the descriptor now."""
        raise NotImplementedError

    def _end(self) -> None:
        """The protocol is over and all is written."""
        raise NotImplementedError

    def _unread(self, outbox: Outbox) -> None:
        """More replies wait than may."""
        raise NotImplementedError

    def _made_room(self) -> None:
        """The outbox has less in it than before, or is gone."""
        raise NotImplementedError

    def _set_interest(self) -> None:
        """What the reactor is to wait for may be another."""
        raise NotImplementedError
