"""Who is at the door: connections to one of our ZeroMQ sockets, of which libzmq says no more than that they are there.

libzmq takes a message of any permitted length from whoever connects, before it knows who that is, and has no limit that
ends with the handshake. So we look at the connections beside it, by their descriptors: how much has come, and for how
long. Owns who has not said yet who it is, and ends those who send more before, take longer, or are too many. Nothing is
in the way of what is sent, and nothing is done for those who are known: for them a connection costs two events.

A descriptor may be another connection's by the time we hear of it, so each is held by a duplicate of it, for as long as
it is a stranger's: what we end is what we have looked at.
"""

import errno
import os
import struct
from collections.abc import Callable
from math import inf
from socket import IPPROTO_TCP, SHUT_RDWR, TCP_INFO, socket

import structlog
import zmq
import zmq.utils.monitor

from holdfast.masses import Masses, quietly

log = structlog.get_logger("holdfast.door")

NOBLOCK = int(zmq.NOBLOCK)
ACCEPTED = int(zmq.EVENT_ACCEPTED)
EVENTS = int(zmq.EVENTS)
POLLIN = int(zmq.POLLIN)
# Who a peer is fits into 2 KiB, CURVE's handshake included; a hello with many labels may be longer.
MAX_BYTES = 16 << 10
# libzmq reads into blocks of 8 KiB, and a part of a message holds the block that it came in: who sends little at a time
# has it hold two hundred times as much. A hello of 16 KiB has some 40 with the smallest packets that there are.
MAX_SEGMENTS = 48
PATIENCE = 5.0  # so long it may take somebody to say it
# So long somebody who was refused may stay: by then it has read why, and a node that has goes by itself.
FAREWELL = 1.0
LONGEST_LOOK = 0.5  # of that, what may pass between two looks: longer, and it was we who stood still
MAX_STRANGERS = 256  # at once: all nodes may come back at one moment
# Between two looks. It is what a stranger can send in this time that we hold: some tens of MiB of all together.
INTERVAL = 0.01
# Of a socket on which nobody has anything to say but that it is there: ZMTP's pings.
BYTES_PER_SECOND = 256
MAX_SILENCE = 120.0
OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
# Of struct tcp_info: last_data_recv in ms; bytes_received, and data_segs_in.
SILENCE, RECEIVED, INFO_BYTES = struct.Struct("=52xI"), struct.Struct("=128xQ16xI"), 156


class Stranger:
    """fd: libzmq's. handle: ours, of the same connection. refused_at: inf if it was not."""

    __slots__ = ("fd", "handle", "refused_at", "since")

    def __init__(self, fd: int, now: float) -> None:
        self.fd = fd
        self.since = now
        self.refused_at = inf
        ours = os.dup(fd)
        try:
            self.handle = socket(fileno=ours)
        except OSError:  # it is no connection any more
            os.close(ours)
            raise

    def received(self) -> tuple[int, int, float]:
        """How many bytes have come, in how many segments, and how long ago the last did. Not to be had of a Unix
        socket: 0, 0, 0.0."""
        try:
            info = self.handle.getsockopt(IPPROTO_TCP, TCP_INFO, INFO_BYTES)
            (silence,), (received, segments) = SILENCE.unpack_from(info), RECEIVED.unpack_from(info)
        except (OSError, struct.error):  # older than Linux 4.6
            return 0, 0, 0.0
        return received, segments, silence / 1000

    def end(self) -> None:
        try:
            self.handle.shutdown(SHUT_RDWR)
        except OSError:
            pass  # it has ended by itself
        self.handle.close()


class Door:
    """watched: the socket, not bound yet. is_one_way: nobody has to say anything there, and so nobody may: all stay
    strangers. left: told the descriptor of each connection that has ended.
    """

    def __init__(
        self,
        watched: "zmq.Socket[bytes]",
        *,
        is_one_way: bool = False,
        left: Callable[[int], object] = lambda fd: None,
        limit: int = MAX_STRANGERS,
    ) -> None:
        self._socket = watched
        self._is_one_way = is_one_way
        self._left = left
        self._limit = limit
        self._strangers: dict[int, Stranger] = {}  # the oldest first
        self._looked_at = float("-inf")
        self.ended = 0
        self._masses = Masses(quietly)
        self.monitor: zmq.Socket[bytes] = watched.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)

    def __len__(self) -> int:
        return len(self._strangers)

    @property
    def has_work(self) -> bool:
        """`look` is to be called, every INTERVAL."""
        return bool(self._strangers) or self._masses.has_unsaid

    def fileno(self) -> int:
        return int(self.monitor.getsockopt(zmq.FD))

    def take_events(self, now: float) -> None:
        """All that libzmq has told. Its descriptor tells of nothing that was there before."""
        while int(self.monitor.getsockopt(EVENTS)) & POLLIN:
            told = zmq.utils.monitor.recv_monitor_message(self.monitor, NOBLOCK)
            fd = int(told["value"])
            self.forget(fd)
            if int(told["event"]) == ACCEPTED:
                self._admit(fd, now)
            else:
                self._left(fd)

    def _admit(self, fd: int, now: float) -> None:
        if len(self._strangers) >= self._limit:
            self._end(self._whom_to_end(now), "too many that have not said who they are", now)
        stranger = self._hold(fd, now)
        if stranger is not None:
            self._strangers[fd] = stranger
            if len(self._strangers) > self._limit:
                self._end(stranger, "too many connections", now)

    def _hold(self, fd: int, now: float) -> Stranger | None:
        while True:
            try:
                return Stranger(fd, now)
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS or not self._strangers:
                    return None  # it has gone already
            self._end(next(iter(self._strangers.values())), "no descriptors", now)

    def _whom_to_end(self, now: float) -> Stranger | None:
        """The oldest of those that may still be in the handshake. libzmq ends those who take too long about that."""
        for stranger in self._strangers.values():
            if now - stranger.since < PATIENCE:
                return stranger
        return None

    def forget(self, fd: int) -> None:
        """It is known who that is, or it has gone."""
        stranger = self._strangers.pop(fd, None)
        if stranger is not None:
            stranger.handle.close()

    def refuse(self, fd: int, now: float) -> bool:
        """It has said who it is, and may not be that here: it was told, and has its FAREWELL. False: it is not here."""
        stranger = self._strangers.get(fd)
        if stranger is None:
            return False
        stranger.refused_at = now
        return True

    def look(self, now: float, settle: Callable[[], object]) -> None:
        """End those who have had their time, or more. settle: takes what has come, of which we may not know yet."""
        away = now - self._looked_at
        if away < INTERVAL:
            return
        self._looked_at = now
        self._masses.tick(now)
        if away > LONGEST_LOOK and not self._is_one_way:
            for stranger in self._strangers.values():
                stranger.since = min(now, stranger.since + away - LONGEST_LOOK)
        faults = [(stranger, fault) for stranger in self._strangers.values() if (fault := self._fault(stranger, now))]
        if faults:
            settle()
            for stranger, fault in faults:
                if self._strangers.get(stranger.fd) is stranger:
                    self._end(stranger, fault, now)

    def _fault(self, stranger: Stranger, now: float) -> str:
        received, segments, silence = stranger.received()
        age = now - stranger.since
        if not self._is_one_way:
            if received > MAX_BYTES:
                return f"more than {MAX_BYTES} bytes, and not who it is"
            if segments > MAX_SEGMENTS:
                return f"more than {MAX_SEGMENTS} segments, and not who it is"
            if now - stranger.refused_at > FAREWELL:
                return "refused"
            return f"not said within {PATIENCE:g} s who it is" if age > PATIENCE else ""
        if received > MAX_BYTES + BYTES_PER_SECOND * age:
            return f"more than {MAX_BYTES} bytes, where nothing is to be said"
        return f"silent for {MAX_SILENCE:g} s" if silence > MAX_SILENCE else ""

    def _end(self, stranger: Stranger | None, why: str, now: float) -> None:
        if stranger is not None:
            del self._strangers[stranger.fd]
            stranger.end()
            self.ended += 1
            if self._masses.admits("stranger_ended", now):
                log.debug("stranger_ended", why=why)

    def close(self) -> None:
        """Before its socket is."""
        for fd in list(self._strangers):
            self.forget(fd)
        self._socket.disable_monitor()
        self.monitor.close(linger=0)
