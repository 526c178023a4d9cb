"""Holdfast with a plain stream where ZeroMQ is: what a link without a thread of its own would give.

`python -m bench.stream_link serve ...` is `holdfast serve`, but that `zmq.Context` makes the ROUTER socket below: one
stream socket for each node, each message a length in four bytes and so many bytes. All else is the proxy's own:
frames, batches, sessions, the reactor. Its node is c/stream_node.c.

An experiment, no link to use: there are no limits and no monitor, and a write waits until the kernel has taken it, so
that proxy and node would wait for each other if both had much to send.
"""

import errno
import os
import select
import socket
import struct
import sys

import zmq

from bench.router import Router, put_in_place
from holdfast.cli import main

_LENGTH = struct.Struct("<I")
_READ_BYTES = 65536


class StreamRouter(Router):
    """It has one address."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        super().__init__(context)
        self._epoll = select.epoll()
        self._peers: dict[bytes, socket.socket] = {}
        self._unfinished: dict[int, bytes] = {}
        self._to = b""

    def bind(self, address: str) -> None:
        kind, _, place = address.partition("://")
        self._listener = socket.socket(socket.AF_UNIX if kind == "ipc" else socket.AF_INET)
        self._listener.bind(place if kind == "ipc" else (place.partition(":")[0], 0))
        self._listener.listen()
        self._epoll.register(self._listener, select.EPOLLIN)

    def getsockopt_string(self, option: int) -> str:
        bound = self._listener.getsockname()
        return f"ipc://{bound}" if isinstance(bound, str) else f"tcp://{bound[0]}:{bound[1]}"

    def getsockopt(self, option: int) -> int:
        if option == zmq.FD:
            return self._epoll.fileno()
        if option == zmq.EVENTS:
            if not self._received:
                self._receive()
            return zmq.POLLIN if self._received else 0
        return 0  # no message has two parts

    def send(self, data: bytes, flags: int) -> None:
        if flags & zmq.SNDMORE:
            self._to = data
        elif self._to not in self._peers:
            raise zmq.ZMQError(errno.EHOSTUNREACH)
        elif data:
            self._peers[self._to].sendall(_LENGTH.pack(len(data)) + data)

    def _receive(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            if descriptor == self._listener.fileno():
                self._accept()
                continue
            routing_id = descriptor.to_bytes(4, "little")
            data = os.read(descriptor, _READ_BYTES)
            if not data:
                self._epoll.unregister(descriptor)
                self._peers.pop(routing_id).close()
                continue
            data = self._unfinished.pop(descriptor, b"") + data
            at = 0
            while len(data) >= at + _LENGTH.size:
                begin = at + _LENGTH.size
                end = begin + _LENGTH.unpack_from(data, at)[0]
                if end > len(data):
                    break
                self._received += (routing_id, data[begin:end])
                at = end
            if at < len(data):
                self._unfinished[descriptor] = data[at:]

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        if peer.family == socket.AF_INET:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers[peer.fileno().to_bytes(4, "little")] = peer
        self._epoll.register(peer, select.EPOLLIN)

    def close(self, linger: int) -> None:
        for one in (self._listener, *self._peers.values()):
            one.close()
        self._epoll.close()


if __name__ == "__main__":
    put_in_place(StreamRouter)
    sys.exit(main())
