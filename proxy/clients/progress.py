"""Whether a peer takes what is sent to it. Asked from time to time, of those only for whom something waits.

Not by the clock alone: 8 MB at 1 MB/s need 8 s. Not by our own writes alone: the kernel holds megabytes, and wakes a
writer when a third of them is gone; a client that reads 50 kB/s looks dead for half a minute. So by what the peer's
kernel has acknowledged, which is what its program has taken but for a receive buffer.
"""

import array
import fcntl
import socket
import termios
from math import inf

_TCP_INFO_BYTES = 128
_BYTES_ACKED = slice(120, 128)  # tcpi_bytes_acked of struct tcp_info, Linux 4.1 and later


def acknowledged_bytes(fd: int) -> int:
    """What the peer has acknowledged so far. 0 for what is no TCP socket."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        told = probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return 0
    finally:
        probe.detach()
    return int.from_bytes(told[_BYTES_ACKED], "little")


def unacknowledged_bytes(fd: int) -> int:
    """What the kernel still holds for the peer."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.TIOCOUTQ, count)
    except OSError:
        return 0
    return count[0]


class Progress:
    """Of one transport. due: when to look again. heard_at: when something came from the peer, while that matters."""

    __slots__ = ("_acknowledged", "_began_at", "_moved_at", "_waiting", "due", "heard_at")

    def __init__(self, fd: int, waiting: int, now: float) -> None:
        self._acknowledged = acknowledged_bytes(fd)
        self._waiting = waiting
        self._began_at = self._moved_at = self.heard_at = now
        self.due = inf

    def look(self, fd: int, waiting: int, now: float) -> float:
        """For so many seconds the peer has taken nothing. waiting: bytes that the kernel has not taken yet."""
        acknowledged = acknowledged_bytes(fd)
        if acknowledged != self._acknowledged or waiting < self._waiting:
            self._acknowledged = acknowledged
            self._moved_at = now
        self._waiting = waiting
        return now - self._moved_at

    def is_heard(self, now: float, silence: float, limit: float) -> bool:
        """The peer has not been silent for so long, and has not gone on talking for longer than the limit."""
        return now - self.heard_at < silence and now - self._began_at < limit
