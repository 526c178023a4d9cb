"""Holdfast with its node inside: the whole proxy, with memory where ZeroMQ is.

`python -m bench.memory_link serve ...` is `holdfast serve`, but that `zmq.Context` makes the ROUTER below, which hands
each batch to a node of its own and has the answer at once. All else is the proxy's own, frames and batches included.
On SIGUSR1 it tells, as bench.rungs, what it has spent in the node (which is not the proxy's) and in making and reading
batches. An experiment, no link to use.
"""

import os
import sys
from collections import deque
from collections.abc import Callable
from functools import partial

import zmq

import holdfast.balancer.links.zeromq as links
from bench.bare_node import ROUTING_ID, Session
from bench.rungs import tell_parts_on_signal, timed
from holdfast.cli import main


class EchoRouter:
    """As much of a ROUTER as balancer.links.zeromq uses, and a node that echoes."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self._context = context
        self._wakeup = os.eventfd(0)  # never written: there is something to take only after something was sent
        self._session = Session()
        self._received = deque((ROUTING_ID, self._session.hello()))  # and so on: routing id, batch

    def setsockopt(self, option: int, value: object) -> None:
        pass

    def get_monitor_socket(self, events: int) -> "zmq.Socket[bytes]":
        return self._context.socket(zmq.PAIR)  # which nobody connects to

    def disable_monitor(self) -> None:
        pass

    def bind(self, address: str) -> None:
        pass

    def getsockopt_string(self, option: int) -> str:
        return "inproc://inside"

    def getsockopt(self, option: int) -> int:
        if option == zmq.FD:
            return self._wakeup
        return zmq.POLLIN if option == zmq.EVENTS and self._received else 0

    def recv(self, flags: int) -> bytes:
        return self._received.popleft()

    def send(self, data: bytes, flags: int) -> None:
        if flags & zmq.SNDMORE or not data:
            return
        answer = self._session.answer(data)
        if answer:
            self._received += (ROUTING_ID, answer)

    def close(self, linger: int) -> None:
        os.close(self._wakeup)


class _Context:
    def __init__(self, real: "Callable[[], zmq.Context[zmq.Socket[bytes]]]") -> None:
        self._context = real()

    def socket(self, kind: int) -> EchoRouter:
        return EchoRouter(self._context)

    def destroy(self, linger: int) -> None:
        self._context.destroy(linger)


if __name__ == "__main__":
    tell_parts_on_signal()
    os.dup2(2, 1)  # what the proxy says there is for people
    Session.answer = timed("node", Session.answer)  # type: ignore[method-assign]
    for name in ("encode_batch", "decode_from_node"):
        setattr(links, name, timed("batches", getattr(links, name)))
    zmq.Context = partial(_Context, zmq.Context)  # type: ignore[assignment, misc]
    sys.exit(main())
