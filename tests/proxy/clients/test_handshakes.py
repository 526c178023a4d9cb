"""TLS handshakes have a share of each turn, whoever asks for how many."""

import itertools
import socket
import ssl
import struct

import pytest
import trio

from holdfast.proxy.clients import handshakes
from tests.harness import running

COUNT = 20


@pytest.fixture
def hello():
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.fixture
def one_a_turn(monkeypatch):
    monkeypatch.setattr(handshakes, "HANDSHAKE_TIME", 0.0)


def secured(certificate):
    return running(client={"tls_certificate_file": certificate[0], "tls_key_file": certificate[1]})


def waiting_at_turns_end(proxy):
    """How many wait at the end of each turn from now on."""
    lengths = []
    waiting = proxy.app.clients.handshakes.waiting

    def look(now):
        lengths.append(len(waiting))
        return False

    proxy.app.reactor.at_turn_end(look)
    return lengths


def connected(proxy, said):
    client = socket.create_connection(("127.0.0.1", proxy.client_port))
    client.sendall(said)
    return client


async def test_a_storm_of_them_is_spread_over_turns(certificate, hello, one_a_turn):
    async with secured(certificate) as proxy:
        lengths = waiting_at_turns_end(proxy)
        clients = [connected(proxy, hello) for _ in range(COUNT)]  # all before the proxy, of this thread, sees any
        for client in clients:
            client.setblocking(False)
            await trio.lowlevel.wait_readable(client)
            assert client.recv(1) == b"\x16"
            client.close()
        assert max(lengths) == COUNT - 1
        done = [before - after for before, after in itertools.pairwise(lengths)]
        assert max(done) == 1
        await proxy.until(lambda: not proxy.app.clients.connections)


async def test_who_leaves_while_it_waits_is_forgotten(certificate, hello, one_a_turn):
    async with secured(certificate) as proxy:
        lengths = waiting_at_turns_end(proxy)
        for _ in range(COUNT):
            client = connected(proxy, hello)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        await proxy.until(lambda: lengths and not proxy.app.clients.connections)
        await proxy.until(lambda: not proxy.app.clients.handshakes.waiting)


async def test_a_hello_in_pieces_is_one_as_well(certificate, hello):
    async with secured(certificate) as proxy:
        client = connected(proxy, hello[:5])
        waits = waiting_at_turns_end(proxy)
        await proxy.until(lambda: proxy.counters.bytes_received == 5)
        client.sendall(hello[5:])
        client.setblocking(False)
        await trio.lowlevel.wait_readable(client)
        assert client.recv(1) == b"\x16"
        assert waits
        client.close()
