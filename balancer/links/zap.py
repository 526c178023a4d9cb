"""Whom libzmq lets in during the handshake: the thread that it asks (ZAP, RFC 27).

Owns that thread, and nothing of the decision. pyzmq's own authenticator has one decision for all sockets of a context.
"""

import threading
from collections.abc import Callable, Sequence

import zmq

ADDRESS = "inproc://zeromq.zap.01"
VERSION = b"1.0"
REQUEST_PARTS = 6  # version, request, domain, address, identity, mechanism; then credentials
STOP = b"stop"


class Zap:
    """decide(domain, mechanism, credentials): called in the thread."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        decide: Callable[[bytes, bytes, Sequence[bytes]], bool],
    ) -> None:
        self._context = context
        self._decide = decide
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(ADDRESS)
        self._thread = threading.Thread(target=self._serve, name="holdfast-zap", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._socket as socket:
            while (parts := socket.recv_multipart())[0] != STOP:
                is_whole = len(parts) >= REQUEST_PARTS and parts[0] == VERSION
                is_in = is_whole and self._decide(parts[2], parts[5], parts[REQUEST_PARTS:])
                status = (b"200", b"OK") if is_in else (b"400", b"no access")
                socket.send_multipart([VERSION, parts[1] if is_whole else b"", *status, b"", b""])

    def stop(self) -> None:
        with self._context.socket(zmq.REQ) as socket:
            socket.connect(ADDRESS)
            socket.send(STOP)
            self._thread.join()
            socket.linger = 0
