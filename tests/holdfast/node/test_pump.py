"""One connection: how it ends."""

import socket

import pytest
import trio
import zmq

from holdfast.node.pump import Curve, Pump
from tests.waiting import PATIENCE

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


def keys():
    return zmq.curve_keypair()


WITH_CURVE = "has it CURVE on, as we have, and is the key that we know of it its own?"


@pytest.mark.parametrize(
    ("theirs", "expected_of_it", "hint"),
    [
        (True, None, "is it a proxy, and has it CURVE on? We have not"),
        (False, "own", f"is it a proxy, {WITH_CURVE}"),
        (True, "another's", f"is it a proxy, {WITH_CURVE}"),
    ],
)
async def test_who_has_no_common_handshake_is_asked_about_what_it_has_itself(theirs, expected_of_it, hint):
    server_public, server_secret = keys()
    expected = {"own": server_public, "another's": keys()[0], None: None}[expected_of_it]
    with zmq.Context() as context, context.socket(zmq.ROUTER) as proxy:
        proxy.linger = 0
        if theirs:
            proxy.curve_server, proxy.curve_secretkey = True, server_secret
        port = proxy.bind_to_random_port("tcp://127.0.0.1")
        pump = Pump(context, f"tcp://127.0.0.1:{port}", Curve(expected, *keys()) if expected else None)
        with trio.fail_after(PATIENCE):
            await pump.run(Owner(pump))
    assert pump.ended.endswith(f": {hint}")
