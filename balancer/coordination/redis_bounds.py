"""What an answer of Redis may take, whoever gives it: bytes and lines, and of the time of who asked for it; and what
redis-py may make of it.

Owns the connections' reads and writes, beneath whichever parser redis-py uses, plain and TLS. Refuses an answer while
it comes, not when it is whole: redis-py would hold any length that is announced, and would wait for as long as a byte
comes now and then. The map of a Redis Cluster is refused before redis-py reads it, since that makes more of it than it
is of bytes: an entry for each slot of a range, a client for each node.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from holdfast.balancer.coordination.contents import MAX_CARD_BYTES, MAX_CARDS, MAX_NAME_LENGTH, MAX_RECORD_BYTES

# For each line of an answer: its objects take more than its bytes (an empty error is of 3 bytes, and of 300 here).
LINE_BYTES = 64
# All cards, each with its name, both with two lines, the one with a length. The record comes by itself, so its part is
# room: for the array's head, for line ends within cards, for what Sentinels and clusters say of themselves.
MAX_ANSWER_BYTES = MAX_RECORD_BYTES + MAX_CARDS * (MAX_NAME_LENGTH + MAX_CARD_BYTES + 4 * (LINE_BYTES + 4))
MAX_SLOTS = 1 << 14  # of a Redis Cluster
MAX_NODES = 1000  # of a Redis Cluster, as its specification has it; a client takes 17 KiB

if TYPE_CHECKING:
    _Connection = AbstractConnection
else:
    _Connection = object


class BoundedSocket:
    """A socket, plain or TLS, as redis-py uses it. left: seconds for what is under way; raises TimeoutError after."""

    def __init__(self, sock: socket.socket, left: Callable[[], float], max_answer_bytes: int) -> None:
        self._sock = sock
        self._left = left
        self._max_answer_bytes = max_answer_bytes
        self._timeout = sock.gettimeout()  # of one wait
        self._taken = 0  # since the last command

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._sock.settimeout(timeout)

    def sendall(self, data: bytes) -> None:
        self._taken = 0
        view = memoryview(data)
        while view:  # one by one: over TLS each part has the whole timeout
            self._limit_wait()
            view = view[self._sock.send(view) :]

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._limit_wait()
        data = self._sock.recv(size, flags)
        self._take(data)
        return data

    def recv_into(self, buffer: bytearray) -> int:
        self._limit_wait()
        size = self._sock.recv_into(buffer)
        self._take(bytes(memoryview(buffer)[:size]))
        return size

    def _limit_wait(self) -> None:
        if self._timeout != 0:  # 0: it only looks whether something is there
            left = self._left()
            self._sock.settimeout(left if self._timeout is None else min(left, self._timeout))

    def _take(self, data: bytes) -> None:
        self._taken += len(data) + LINE_BYTES * data.count(b"\r\n")
        if self._taken > self._max_answer_bytes:
            # as when it is gone, so that another Sentinel or node is asked
            raise RedisConnectionError(
                f"an answer that is longer than any of a store (at most {self._max_answer_bytes} bytes)"
            )


class _Bounded(_Connection):
    left: Callable[[], float]
    max_answer_bytes: int
    _asked: object = None  # the last command

    def _connect(self) -> BoundedSocket:
        self.left()
        return BoundedSocket(super()._connect(), self.left, self.max_answer_bytes)  # type: ignore[no-untyped-call, safe-super]

    def send_command(self, *args: object, **options: object) -> None:
        super().send_command(*args, **options)  # type: ignore[no-untyped-call]
        self._asked = args[0]  # only now: if it had to be connected first, other commands were sent before this one

    def read_response(self, *args: object, **options: object) -> object:
        answer: object = super().read_response(*args, **options)
        if self._asked == "CLUSTER SLOTS" and (wrong := wrong_with(answer)):
            self.disconnect()  # type: ignore[no-untyped-call]
            raise RedisConnectionError(wrong)
        return answer


def bounded(
    connection: type[AbstractConnection], left: Callable[[], float], max_answer_bytes: int = MAX_ANSWER_BYTES
) -> type[AbstractConnection]:
    """The same kind of connection, bounded."""
    limits = {"left": staticmethod(left), "max_answer_bytes": max_answer_bytes}
    return type(f"Bounded{connection.__name__}", (_Bounded, connection), limits)


def wrong_with(answer: object) -> str:
    """Why redis-py may not read this answer to CLUSTER SLOTS; "": it may.

    It takes whatever int() takes for a slot or a port, so what is of another type than Redis sends is refused.
    """
    slots = 0
    nodes = set[tuple[bytes, int]]()
    for item in answer if isinstance(answer, list) else [answer]:
        match item:
            case [int(first), int(last), _, *_]:
                slots += max(0, last - first + 1)
            case _:
                return "an answer to CLUSTER SLOTS that no Redis Cluster gives"
        for node in item[2:]:
            match node:
                case [bytes(host), int(port), *_]:
                    nodes.add((host, port))
                case _:
                    return "a node in CLUSTER SLOTS without address"
    if slots > MAX_SLOTS:
        return f"more than the {MAX_SLOTS} slots that a Redis Cluster has"
    if len(nodes) > MAX_NODES:
        return f"more than the {MAX_NODES} nodes that a Redis Cluster may have"
    return ""
