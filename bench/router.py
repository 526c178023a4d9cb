"""What is where the ROUTER is, in the programs with another way to their nodes: no more than the proxy's link uses."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import zmq

import holdfast.balancer.links.zeromq  # noqa: F401  before `put_in_place`: pyzmq derives a class from the real Context

Context = Callable[[], "zmq.Context[zmq.Socket[bytes]]"]


class Frame(NamedTuple):
    """A message that `recv` does not copy."""

    bytes: bytes
    more: bool = False

    def get(self, option: str) -> int:
        return -1  # of its connection nobody is told anything


class Router:
    """received: routing id, batch, routing id and so on."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self._context = context
        self._received: deque[bytes] = deque()

    def setsockopt(self, option: int, value: object) -> None:
        pass

    def get_monitor_socket(self, events: int) -> "zmq.Socket[bytes]":
        return self._context.socket(zmq.PAIR)  # which nobody connects to

    def disable_monitor(self) -> None:
        pass

    def recv(self, flags: int, copy: bool = True) -> bytes | Frame:
        part = self._received.popleft()
        return part if copy else Frame(part)


class _Context:
    def __init__(self, router: type[Router], real: Context) -> None:
        self._router = router
        self._context = real()

    def socket(self, kind: int) -> Router:
        return self._router(self._context)

    def destroy(self, linger: int) -> None:
        self._context.destroy(linger)


def put_in_place(router: type[Router]) -> None:
    """The proxy's next socket is such a one."""
    zmq.Context = partial(_Context, router, zmq.Context)  # type: ignore[assignment, misc]
