"""How late clients read what has come; and a client that has given a connection up hears nothing more of it."""

import os
import select
import socket
from types import SimpleNamespace

import trio

from holdfast.chaos import connections as module
from holdfast.chaos import websocket
from holdfast.chaos.connections import Client, Connections
from tests.harness import running
from tests.waiting import PATIENCE

NOBODY = {"parked_timeout": 0.01}  # there is no node: so soon is each request answered


async def test_what_is_read_may_be_as_old_as_the_last_look_that_left_nothing(monkeypatch):
    now, lags = [100.0], []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module, "PER_TURN", 1)
    clients = [Client(index, "", 0, is_witness=False) for index in range(2)]

    def lost(client, why):
        lags.append(connections.lag)
        connections.shut(client)

    async with running() as proxy, trio.open_nursery() as nursery:
        connections = Connections([("127.0.0.1", proxy.client_port)], lambda *_: None, lost)
        for client in clients:
            await connections.open(client, nursery)
        for client in list(proxy.app.clients.connections):
            await proxy.app.control.kick(client, "for the test")
        for client in clients:
            await trio.lowlevel.wait_readable(client.connection.fd)
        for now[0] in (105.0, 107.0, 108.0):
            connections.turn()
        assert lags == [5.0, 7.0]
        assert connections.lag == 0.0
        connections.close()


async def test_who_always_has_more_to_read_has_yet_seen_what_was_there_before(monkeypatch):
    """One of two that answers come for is read at each turn, so something is always left; the third gets nothing."""
    now, taken = [100.0], []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module, "PER_TURN", 1)
    clients = [Client(index, "", 0, is_witness=False) for index in range(3)]
    async with running(request=NOBODY) as proxy, trio.open_nursery() as nursery:
        connections = Connections([("127.0.0.1", proxy.client_port)], lambda client, *_: taken.append(client), None)
        for client in clients:
            await connections.open(client, nursery)
        for _ in range(20):
            for client in clients[:2]:
                connections.send(client, b"no JSON")
                await trio.lowlevel.wait_readable(client.connection.fd)
            now[0] += 1.0
            connections.turn()
            assert connections.lag <= 2 * len(clients)
        assert connections.lag > 0.0
        assert set(taken) == set(clients[:2])
        for client in clients:
            connections.shut(client)
        connections.close()


async def test_what_came_before_the_end_is_read_with_it(monkeypatch):
    """Else the end would seem to have come between two turns."""
    taken, why = [], []
    monkeypatch.setattr(websocket, "READ_BYTES", 10)
    client = Client(0, "", 0, is_witness=False)
    async with running(request=NOBODY) as proxy, trio.open_nursery() as nursery:
        connections = Connections(
            [("127.0.0.1", proxy.client_port)],
            lambda client, message, at: taken.append(message),
            lambda client, told: (why.append(told), connections.shut(client)),
        )
        await connections.open(client, nursery)
        connections.send(client, b"no JSON")
        fd = client.connection.fd
        await trio.lowlevel.wait_readable(fd)
        with socket.socket(fileno=os.dup(fd)) as same:
            same.shutdown(socket.SHUT_WR)
        poll = select.poll()
        poll.register(fd, select.POLLRDHUP)
        assert await trio.to_thread.run_sync(poll.poll, 1000 * PATIENCE)
        connections.turn()
        assert len(taken) == 1
        assert len(why) == 1
        connections.close()


async def test_a_witness_that_is_shut_leaves_its_proxy():
    async with running() as proxy, trio.open_nursery() as nursery:
        connections = Connections([("127.0.0.1", proxy.client_port)], lambda *_: None, lambda *_: None)
        witness = Client(0, "", 0, is_witness=True)
        await connections.open(witness, nursery)
        await proxy.until(lambda: len(proxy.app.registry) == 1, "it to be there")
        connections.shut(witness)
        await proxy.until(lambda: len(proxy.app.registry) == 0, "it to be gone")
        connections.close()
