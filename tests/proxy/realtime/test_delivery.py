"""The whole way: a node of the library, one proxy, clients. Nobody misses anything or is given up for being fast."""

import socket
from contextlib import asynccontextmanager
from functools import partial

import trio

from holdfast import Node, Reply
from tests.bench.hot_path import clients_of
from tests.harness import client_ids, running, websocket
from tests.proxy.cluster.forwarder import Forwarder

ROOM = ["room"]


@asynccontextmanager
async def linked(node, address):
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run, [address])
        yield nursery
        nursery.cancel_scope.cancel()


def frame(number):
    """Of a notification, as a WebSocket message of text."""
    return b"\x81\x06%06d" % number


async def test_a_burst_to_many_clients_reaches_all_of_them():
    """Far more at once than a proxy delivers: the node waits at its own `notify`."""
    count = 1000
    node = Node("burst")
    most = 0
    async with running(client={"ping_interval": 0.0}) as proxy, linked(node, proxy.node) as nursery:
        with clients_of(proxy, 100) as clients:
            clients.connect()
            await clients.upgrade()
            await proxy.until(lambda: len(client_ids(proxy)) == 100)
            for id in client_ids(proxy):
                await node.join(id, "room")

            async def publish():
                nonlocal most
                for number in range(count):
                    await node.notify(f"{number:06d}", channels=ROOM)
                    lane = proxy.app.effects._of[node.id]
                    most = max(most, lane.frames)

            nursery.start_soon(publish)
            expected = b"".join(map(frame, range(count)))
            assert await read(clients, len(expected)) == {expected}
            assert proxy.counters.nodes_lost == 0
            assert proxy.counters.slow_consumers == 0
            assert most <= 1024


async def read(clients, size):
    got = {each: bytearray() for each in clients.sockets}
    while any(len(data) < size for data in got.values()):
        for each, data in got.items():
            try:
                data += each.recv(1 << 20)
            except BlockingIOError:
                pass
        await trio.sleep(0.001)
    return set(map(bytes, got.values()))


async def test_others_are_answered_while_a_node_publishes_as_fast_as_it_can():
    busy, idle = Node("busy"), Node("idle")

    @busy.on_request
    @idle.on_request
    async def answer(request):
        return "done"

    async with (
        running(client={"ping_interval": 0.0}) as proxy,
        linked(busy, proxy.node) as publishing,
        linked(idle, proxy.node),
    ):
        with clients_of(proxy, 20) as clients:
            clients.connect()
            await clients.upgrade()
            for id in client_ids(proxy):
                await busy.join(id, "room")
            async with websocket(proxy) as client:

                async def publish():
                    while True:
                        await busy.notify("news", channels=ROOM)

                publishing.start_soon(publish)
                publishing.start_soon(drain, clients)
                for _ in range(100):
                    await client.send("ask")
                    assert await client.recv() == "done"
            publishing.cancel_scope.cancel()


async def drain(clients):
    while True:
        for each in clients.sockets:
            try:
                each.recv(1 << 20)
            except BlockingIOError:
                pass
        await trio.sleep(0.001)


async def test_a_link_that_is_cut_costs_nothing():
    """What was on its way when it was cut, three times, comes when it is there again: all of it, once, in order."""
    node = Node("cut")
    async with running() as proxy, trio.open_nursery() as nursery:
        forwarder = Forwarder(proxy.node)
        await nursery.start(forwarder.run)
        async with linked(node, forwarder.endpoint) as tasks, websocket(proxy, max_queue=None) as client:
            [id] = client_ids(proxy)
            await node.join(id, "room")

            async def publish():
                for number in range(2000):
                    await node.notify(str(number), channels=ROOM)

            tasks.start_soon(publish)
            heard = []
            for cut_at in (100, 700, 1300):
                while len(heard) < cut_at:
                    heard.append(await client.recv())
                forwarder.refuse_nodes(True)
                await proxy.until(lambda: node.statistics().proxies == 0)
                forwarder.refuse_nodes(False)
            while len(heard) < 2000:
                heard.append(await client.recv())
            assert heard == [str(number) for number in range(2000)]
        nursery.cancel_scope.cancel()


async def test_a_reply_in_parts_is_as_fast_as_its_client(monkeypatch):
    """40 MiB to a client that reads slowly: more than may wait for it. It may take longer than a request's timeout."""
    node = Node("source")
    size, part = 40 << 20, 256 << 10
    most = 0

    @node.on_request
    async def answer(request):
        async def parts():
            nonlocal most
            for _ in range(size // part):
                yield bytes(part)
                most = max(most, *(c.outbox_bytes for c in proxy.app.clients.connections.values()))

        return Reply(parts())

    async with running(request={"timeout": 0.5}) as proxy, linked(node, proxy.node):
        connection = socket.create_connection(("127.0.0.1", proxy.client_port))
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = len(await trio.to_thread.run_sync(connection.recv, 1 << 16))
            await proxy.until(lambda: any(c.outbox_bytes for c in proxy.app.clients.connections.values()))
            await trio.sleep(1.5)  # no synchronisation: so long it does not read, which is three timeouts
            while received < size:
                data = await trio.to_thread.run_sync(partial(connection.recv, 1 << 20))
                assert data
                received += len(data)
        assert most < 4 << 20
        assert not any(proxy.counters.request_errors.values())
