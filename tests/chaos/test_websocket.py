import socket
import struct

import pytest
import trio

from holdfast.chaos.websocket import WebSocket
from holdfast.protocols.errors import HoldfastError

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


@pytest.fixture
async def resetting():
    """The port of a server that resets each connection as soon as it has heard something."""

    async def handle(stream):
        await stream.receive_some()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_a_handshake_that_is_reset_is_refused(resetting):
    """As by a proxy that is killed just then."""
    with pytest.raises(HoldfastError, match="reset"):
        await WebSocket.open("127.0.0.1", resetting)
