"""Holdfast with its node inside: the whole proxy, with memory where ZeroMQ is.

`python -m bench.memory_link serve ...` is `holdfast serve`, but that `zmq.Context` makes the ROUTER below, which hands
each batch to a node of its own and has the answer at once. All else is the proxy's own, frames and batches included.
On SIGUSR1 it tells, as bench.rungs, what it has spent in the node (which is not the proxy's) and in making and reading
batches. An experiment, no link to use.
"""

import os
import sys

import zmq

from bench.bare_node import ROUTING_ID, Session
from bench.router import Router, put_in_place
from bench.rungs import tell_parts_on_signal, timed
from holdfast.balancer.links import sessions, zeromq
from holdfast.cli import main


class EchoRouter(Router):
    """It has a node that echoes inside."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        super().__init__(context)
        self._wakeup = os.eventfd(0)  # never written: there is something to take only after something was sent
        self._session = Session()
        self._received += (ROUTING_ID, self._session.hello())

    def bind(self, address: str) -> None:
        pass

    def getsockopt_string(self, option: int) -> str:
        return "inproc://inside"

    def getsockopt(self, option: int) -> int:
        if option == zmq.FD:
            return self._wakeup
        return zmq.POLLIN if option == zmq.EVENTS and self._received else 0

    def send(self, data: bytes, flags: int) -> None:
        if flags & zmq.SNDMORE or not data:
            return
        answer = self._session.answer(data)
        if answer:
            self._received += (ROUTING_ID, answer)

    def close(self, linger: int) -> None:
        os.close(self._wakeup)


if __name__ == "__main__":
    tell_parts_on_signal()
    os.dup2(2, 1)  # what the proxy says there is for people
    Session.answer = timed("node", Session.answer)  # type: ignore[method-assign]
    for module, name in (zeromq, "encode_batch"), (sessions, "decode_from_node"):
        setattr(module, name, timed("batches", getattr(module, name)))
    put_in_place(EchoRouter)
    sys.exit(main())
