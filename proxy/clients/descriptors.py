"""What is asked of a connected descriptor beside reading and writing it."""

import os
import socket
import struct

_RESET = struct.pack("ii", 1, 0)


def peer_name(fd: int) -> str:
    """ "host:port" of who is at the other end, while somebody is; for people."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        return ":".join(map(str, probe.getpeername()[:2]))
    except OSError:
        return ""
    finally:
        probe.detach()


def shut_down(fd: int) -> bool:
    """Send no more. False: the peer has gone."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        probe.shutdown(socket.SHUT_WR)
    except OSError:
        return False
    finally:
        probe.detach()
    return True


def close(fd: int, *, is_whole: bool) -> None:
    """Not whole: so that the peer can't take what came for all there was."""
    if not is_whole:
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        probe.detach()
    os.close(fd)
