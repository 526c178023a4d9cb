"""A client connection's descriptor: what is read, what leaves at the turn's end, and what the kernel does not take.

Owns the descriptor, what this turn has queued, the outbox, encryption, what the reactor waits for, and the end: how
long it may take, and whether the peer can tell it from an end that was cut short. Whoever does not take what waits is
told of to the connection, by progress and never by a fixed time. Knows nothing of protocols and requests.
"""

import os
from collections.abc import Callable
from math import inf
from typing import Final

from holdfast.protocols.close import Reason
from holdfast.proxy.clients import descriptors
from holdfast.proxy.clients.interest import Interest
from holdfast.proxy.clients.outbox import CHUNK_BYTES, Outbox
from holdfast.proxy.clients.progress import Progress, unacknowledged_bytes
from holdfast.proxy.clients.reactor import READABLE, WRITABLE
from holdfast.proxy.clients.shared import Owner, Shared
from holdfast.proxy.clients.tls import TlsChannel, TlsError

NOT_WRITABLE: Final = ~WRITABLE
# More than 128 KiB makes malloc use mmap: 12 us per read instead of 2 (measured). 64 KiB is as cheap as 4.
READ_BYTES: Final = 64 << 10
# Who reads as fast as we write would have a whole reply in one turn: with TLS 9 MB, 8 ms in which others wait.
TURN_BYTES = 1 << 20
# Below this, whoever asked is told that there is room again.
ROOM_BYTES: Final = CHUNK_BYTES

# When the peer has all of our last word we read on until it has been silent for so long, so that unread data does not
# turn our close into a reset that destroys that word on its way. Who goes on sending is heard for so long at most.
LINGER = 2.0
MAX_LINGER = 30.0
# How often one who is to take something is looked at, in parts of the time that it may take nothing.
LOOKS = 4


class Transport(Interest):
    """See the module. Each has one `owner`, the connection, which it tells of what comes and of its end.

    pending: what this turn has queued. direct: the wire format in which a fan-out may write to `fd` itself while
    nothing is pending; None: it may not. outbox: what the kernel has refused, or None.
    """

    __slots__ = ("_progress", "_tls", "_wire_format", "outbox", "owner")

    owner: Owner

    def __init__(self, clients: Shared, fd: int, tls: TlsChannel | None) -> None:
        super().__init__(clients, fd)
        self._wire_format: object = None
        self.outbox: Outbox | None = None
        self._progress: Progress | None = None  # while something is to be taken
        self._tls = tls

    @property
    def outbox_bytes(self) -> int:
        return 0 if self.outbox is None else self.outbox.size

    @property
    def due(self) -> float:
        """When `check` is to be called."""
        return inf if self._progress is None else self._progress.due

    @property
    def has_unsent(self) -> bool:
        return self.pending is not None or self.outbox is not None

    def peer_name(self) -> str:
        return descriptors.peer_name(self.fd)

    # --- reading ----------------------------------------------------------------------------------------------

    def on_ready(self, events: int, now: float) -> None:
        if self.outbox is not None and events & WRITABLE:
            self._write_outbox(now)
            if self.fd >= 0 and not self._is_finishing:
                self.owner.made_room(now)
        if events & NOT_WRITABLE and self.fd >= 0:  # readable, or an error that reading tells
            if not self.interest & READABLE:
                if not events & ~(READABLE | WRITABLE):
                    self._register()
                    return
                if not self._is_finishing:  # reset: what came before can't be answered
                    self.owner.lost()
                    return
            try:
                data = os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:  # reset, timed out: a normal end
                self.owner.lost()
                return
            self._clients.counters.bytes_received += len(data)
            if self._is_finishing:
                self._discard(data, now)
            elif self._tls is not None:
                self._receive_encrypted(data, now)
            else:
                if not data:
                    self._end_of_file()
                self.owner.receive(data, now)

    def on_crash(self) -> None:
        self.owner.abort(Reason.INTERNAL_ERROR)

    @property
    def is_in_handshake(self) -> bool:
        return self._tls is not None and not self._tls.is_ready

    def take_up(self, now: float) -> None:
        self.waits_for_turn = False
        self._register()
        if self.kept_bytes and self.interest & READABLE and not self._is_finishing:
            self._receive_encrypted(None, now)
        else:
            self.on_ready(READABLE, now)

    def _receive_encrypted(self, data: bytes | None, now: float) -> None:
        """What the socket gave; None: what is kept."""
        tls = self._tls
        assert tls is not None
        try:
            plain = tls.resume() if data is None else tls.receive(data)
        except TlsError as error:
            self.pending = None  # nothing can be encrypted any more, and what waits is plain
            if self.outbox is not None:
                self.outbox.keep_sealed()
            self._write_sealed(tls.output(), now)  # the alert that says why
            if self.fd >= 0:
                self.owner.refused(str(error), now)
            return
        self._write_sealed(tls.output(), now)
        if plain and self.fd >= 0:
            self.owner.receive(plain, now)
        if (tls.has_more or self.kept_bytes) and self.fd >= 0:
            self._keep(len(tls.kept) if tls.has_more else 0)
        if tls.is_over and not self._is_finishing and self.fd >= 0:
            self._end_of_file()
            self.owner.receive_end(now)

    # --- writing ----------------------------------------------------------------------------------------------

    def set_wire_format(self, wire_format: object) -> None:
        """Notifications in this format may be written. None: none may."""
        self._wire_format = wire_format
        self.direct = wire_format if self.outbox is None and self._tls is None else None

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
        if self.outbox is not None:
            self.queue(data, 0)  # type: ignore[arg-type]
        elif self._tls is not None:
            self._flush_encrypted(data, self._tls)  # type: ignore[arg-type]
        else:
            self._write_now(data)  # type: ignore[arg-type]

    def _write_now(self, data: bytes) -> None:
        try:
            sent = os.write(self.fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.owner.lost()
            return
        self._clients.counters.bytes_sent += sent
        if sent != len(data):
            self.queue(data, sent)
        elif self._is_finishing:
            self._end_writing(self._clients.reactor.now)

    def _flush_encrypted(self, data: bytes, tls: TlsChannel) -> None:
        now = self._clients.reactor.now
        if tls.is_ready:
            self._begin_outbox().put(data)
            self._write_outbox(now)
        elif self._is_finishing:  # before the handshake's end there is nobody to whom anything could be said
            self._end_writing(now)

    def _write_sealed(self, data: bytes, now: float) -> None:
        """Encrypted bytes that are no record of ours: parts of a handshake, an alert."""
        if data:
            (self.outbox or self._begin_outbox()).put_sealed(data)
            self._write_outbox(now)

    def queue(self, data: bytes, sent: int) -> None:
        """The kernel took only `sent` of these bytes.

        Replies may pass the high-water mark: a client may ask for much at once, and is not read meanwhile. What it has
        asked for and leaves unread has a limit of its own.
        """
        outbox = self.outbox
        if outbox is None:
            outbox = self._begin_outbox()
            outbox.put(data)
            outbox.take(sent)
            self._wait_for_room(outbox, self._clients.reactor.now)
        elif outbox.size <= self._clients.max_unread_reply_bytes or not self.owner.overflowed():
            outbox.put(data)
            outbox.take(sent)

    def _begin_outbox(self) -> Outbox:
        self.outbox = outbox = Outbox(self._clients.held)
        self.direct = None
        return outbox

    def _write_outbox(self, now: float) -> None:
        """As much as the kernel takes, and about a share of a turn. When that is all, there is no outbox any more."""
        outbox, tls = self.outbox, self._tls
        assert outbox is not None
        left = TURN_BYTES
        try:
            while outbox.size and left > 0:
                data = outbox.peek() if tls is None else outbox.peek_sealed(tls.seal)
                sent = os.write(self.fd, data)
                self._clients.counters.bytes_sent += sent
                left -= sent
                if tls is None:
                    outbox.take(sent)
                else:
                    outbox.take_sealed(sent)
                if sent < len(data):
                    break
        except BlockingIOError:
            pass
        except OSError:
            self.owner.lost()
            return
        if outbox.size:
            self._wait_for_room(outbox, now)
        else:
            self.outbox = self._progress = None
            self._set_interest(self.interest & ~WRITABLE)
            self.set_wire_format(self._wire_format)
            if self._is_finishing:
                self._end_writing(now)
        if outbox.size < ROOM_BYTES and outbox.on_room is not None:
            told, outbox.on_room = outbox.on_room, None
            for callback in told:
                callback()

    def _wait_for_room(self, outbox: Outbox, now: float) -> None:
        if not self.interest & WRITABLE:
            self._set_interest(self.interest | WRITABLE)
            self._progress = Progress(self.fd, outbox.size, now)
            self._look_again(self._progress, now + self._clients.stall_timeout / LOOKS)

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call it once, as soon as no more than ROOM_BYTES wait, perhaps at once. Dropped with the connection."""
        if self.pending is not None:
            self.flush()  # what the kernel takes of it does not wait
        if self.outbox is None or self.outbox.size < ROOM_BYTES:
            callback()
        elif self.outbox.on_room is None:
            self.outbox.on_room = [callback]
        else:
            self.outbox.on_room.append(callback)

    def truncate(self) -> None:
        """Forget what waits, but for what has begun to leave. The time to take that begins anew."""
        self.pending = None
        if self.outbox is not None:
            self.outbox.truncate()

    # --- progress ---------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """`due` may have come: does the peer take what waits for it?"""
        progress = self._progress
        if progress is None or now < progress.due:
            return
        stalled_for = progress.look(self.fd, self.outbox_bytes, now)
        timeout = self._clients.stall_timeout
        if self.outbox is None:
            left = unacknowledged_bytes(self.fd)
            if stalled_for < timeout if left else progress.is_heard(now, LINGER, MAX_LINGER):
                self._look_again(progress, now + LINGER)
            else:
                self.owner.ended(is_whole=not left)
        elif stalled_for < timeout:
            self._look_again(progress, now + timeout / LOOKS)
        elif self._is_finishing:
            self.owner.ended(is_whole=False)
        else:
            self._look_again(progress, now + timeout / LOOKS)
            self.owner.stalled()

    def _look_again(self, progress: Progress, when: float) -> None:
        progress.due = when
        self.owner.schedule(when)

    def is_taking(self, now: float) -> bool:
        """Does a peer that says nothing take what was sent to it? Then it is alive, and our ping waits behind that.

        When it is asked for the first time, whether anything waits: that may take until the next time.
        """
        if self.outbox is None and not unacknowledged_bytes(self.fd):
            self._progress = None
            return False
        if self._progress is None:
            self._progress = Progress(self.fd, self.outbox_bytes, now)
            return True
        return self._progress.look(self.fd, self.outbox_bytes, now) < self._clients.stall_timeout

    # --- the end ----------------------------------------------------------------------------------------------

    def finish(self, now: float) -> None:
        """Nothing more will be said: what waits leaves for as long as the peer takes it. Then `ended` is called."""
        self._is_finishing = True
        self.set_wire_format(None)
        if self.has_unsent:
            self.set_reading(True)
        else:
            self._end_writing(now)

    def _end_writing(self, now: float) -> None:
        """All is with the kernel. Say that we send no more; the peer may, which is not listened to."""
        farewell = b"" if self._tls is None else self._tls.close()
        if farewell:
            self._write_sealed(farewell, now)  # which comes back here
        elif self.has_eof or not descriptors.shut_down(self.fd):
            self.owner.ended(is_whole=True)
        else:
            self.set_reading(True)
            self._progress = Progress(self.fd, 0, now)
            self._look_again(self._progress, now + LINGER)

    def _discard(self, data: bytes, now: float) -> None:
        if data:
            if self._progress is not None:
                self._progress.heard_at = now
            return
        self._end_of_file()
        if not self.has_unsent:
            self.owner.ended(is_whole=True)

    def close(self, *, is_whole: bool) -> None:
        """Close the descriptor now. Not whole: so that the peer can't take what came for all there was."""
        self._clients.reactor.unregister(self.fd)
        descriptors.close(self.fd, is_whole=is_whole)
        self.fd = -1
        if self.outbox is not None:
            self.outbox.close()
        self._keep(0)
        self.pending = self.direct = self._wire_format = self.outbox = self._progress = self._tls = None
