"""A connection as Publisher needs it, in a thread: each step of it has until a time, and none has seconds of its own.

A socket's timeout is for one call, so whoever sends a byte now and then is never late. Here it is what is left.
"""

import select
import socket
import ssl
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

READ_BYTES = 64 << 10

Address = tuple[socket.AddressFamily, Any]


def left(until: float) -> float:
    """Seconds. until: of time.monotonic. Raises TimeoutError."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def connect(host: str, port: int, tls: ssl.SSLContext | None, until: float) -> socket.socket:
    """To the first address of the host that takes it. Raises OSError, of the last one that does not."""
    failure: OSError | None = None
    addresses = _addresses(host, port, until)
    for tried, (family, address) in enumerate(addresses):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(left(until) / (len(addresses) - tried))  # one that is silent leaves time for others
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                connection.settimeout(left(until))
                connection = tls.wrap_socket(connection, server_hostname=host)
        except OSError as error:
            connection.close()
            failure = error
            if isinstance(error, ssl.SSLError):  # somebody is there
                break
        else:
            return connection
    raise failure or OSError("the name has no address")


def is_readable(connection: socket.socket) -> bool:
    """There is nothing to be read between two requests but the end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _addresses(host: str, port: int, until: float) -> list[Address]:
    with suppress(socket.gaierror):
        return _look_up(host, port, socket.AI_NUMERICHOST)
    found: SimpleQueue[list[Address] | OSError] = SimpleQueue()

    def look() -> None:
        try:
            found.put(_look_up(host, port))
        except OSError as error:
            found.put(error)

    # In a thread of its own, for nothing else ends a lookup: a resolver that is silent takes half a minute of it.
    try:
        Thread(target=look, name="holdfast-lookup", daemon=True).start()
    except RuntimeError:  # no thread begins while the interpreter ends
        look()
    try:
        addresses = found.get(timeout=left(until))
    except Empty:
        raise TimeoutError(f"{host}: the name is still being looked up") from None
    if isinstance(addresses, OSError):
        raise addresses
    return addresses


def _look_up(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
