"""A node with no library: the least that a node in Python does, to compare holdfast.Node with, and to have one inside.

`python -m bench.bare_node ADDRESS` echoes until it is killed: a DEALER, batches, Trio to wait. It says no heartbeats,
so its proxy must have patience. On SIGUSR1 it tells, as bench.rungs, what it has spent in making and reading batches.
"""

import sys
from typing import Any, cast

import trio
import zmq

from bench.rungs import tell_parts_on_signal, timed
from holdfast.protocols.nodes.frames import (
    Clients,
    Hello,
    Ready,
    Reply,
    Request,
    State,
    decode_from_proxy,
    encode_batch,
)

ROUTING_ID = b"bare node"
_NOBLOCK, _EVENTS, _POLLIN = int(zmq.NOBLOCK), int(zmq.EVENTS), int(zmq.POLLIN)


class Session:
    """What such a node says: batches, as bytes, both ways."""

    def __init__(self) -> None:
        self._sent = 0
        self._missing: set[type] = {Clients, State}  # snapshots whose last page has not come

    def hello(self) -> bytes:
        return self._batch([Hello(1, "bare", "bare", 1, 100_000)])

    def answer(self, data: bytes) -> bytes:
        """To a batch of the proxy. b"": there is nothing to say."""
        answers: list[Any] = []
        for frame in decode_from_proxy(data)[1]:
            if type(frame) is Request:
                answers.append(Reply(frame.id, frame.attempt, frame.payload, frame.is_text))
            elif isinstance(frame, Clients | State) and frame.last:
                self._missing.discard(type(frame))
                if not self._missing:
                    answers.append(Ready())
        return self._batch(answers) if answers else b""

    def _batch(self, frames: list[Any]) -> bytes:
        self._sent += 1
        return encode_batch(self._sent, frames)


async def run(address: str) -> None:
    session = Session()
    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.routing_id = ROUTING_ID
    dealer.connect(address)
    dealer.send(session.hello())
    descriptor = cast("int", dealer.getsockopt(zmq.FD))
    while True:
        while cast("int", dealer.getsockopt(_EVENTS)) & _POLLIN:
            data = dealer.recv(_NOBLOCK)
            if data and (answer := session.answer(data)):
                dealer.send(answer)
        await trio.lowlevel.wait_readable(descriptor)


if __name__ == "__main__":
    tell_parts_on_signal()
    encode_batch = timed("batches", encode_batch)
    decode_from_proxy = timed("batches", decode_from_proxy)
    trio.run(run, sys.argv[1])
