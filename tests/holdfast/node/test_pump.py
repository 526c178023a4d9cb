"""One connection: how it ends."""

import socket

import trio
import zmq

from holdfast.node.pump import Pump

SOON = 5.0


class Owner:
    """Gives up after a while, as a session does."""

    def __init__(self, pump) -> None:
        self.pump = pump
        self.next_tick = trio.current_time() + SOON

    def tick(self, now):
        if now >= self.next_tick:
            self.pump.end("nothing came")

    def receive(self, frames, now):
        raise AssertionError(frames)

    def wake_handlers(self, now):
        return False


async def test_a_refused_connection_is_noticed_at_once():
    """However soon the refusal comes: on loopback it may be there before `connect` returns."""
    endings = []

    async def dial(address):
        pump = Pump(context, address, None)
        await pump.run(Owner(pump))
        endings.append(pump.ended)

    with zmq.Context() as context, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(dial, address)
    assert endings == ["can't connect"] * 100
