"""What the listener asks of the kernel. Accepting itself is in test_limits and test_http_way."""

import socket

import trio

from holdfast.protocols.clients.http import HttpProtocol
from holdfast.proxy.clients.clients import Clients, random_prefix
from holdfast.proxy.clients.listener import Listener, bind
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.config import Config
from holdfast.proxy.metrics import Counters


async def test_who_is_in_the_queue_when_a_port_is_closed_is_a_client():
    """A listening socket that is closed resets whoever waits there."""
    reactor = Reactor()
    clients = Clients(Config().client, HttpProtocol, reactor, Counters(), random_prefix(), lambda id: None)
    listener = Listener(bind("127.0.0.1:0", reuse_port=False, send_buffer_bytes=0), clients, None)
    listener.listen(10)
    host, port = listener.address.split(":")
    others = [socket.create_connection((host, int(port)), timeout=10) for _ in range(3)]
    with trio.CancelScope() as scope:
        scope.cancel()
        await listener.run()
    assert len(clients.connections) == 3
    clients.close()
    reactor.close()
    for other in others:
        other.close()
