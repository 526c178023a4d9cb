"""How late clients read what has come; and a client that has given a connection up hears nothing more of it."""

from types import SimpleNamespace

import trio

from holdfast.chaos import connections as module
from holdfast.chaos.connections import Client, Connections
from tests.harness import running


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


async def test_a_witness_that_is_shut_leaves_its_proxy():
    async with running() as proxy, trio.open_nursery() as nursery:
        connections = Connections([("127.0.0.1", proxy.client_port)], lambda *_: None, lambda *_: None)
        witness = Client(0, "", 0, is_witness=True)
        await connections.open(witness, nursery)
        await proxy.until(lambda: len(proxy.app.registry) == 1, "it to be there")
        connections.shut(witness)
        await proxy.until(lambda: len(proxy.app.registry) == 0, "it to be gone")
        connections.close()
