"""Measures what tests/bench/test_guard.py holds to its limits: `python -m tests.bench.guard` prints it.

In a process of its own: a coverage tool, or whatever else looks on, would be counted too.
"""

import gc
import json
import os
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from math import inf

import trio
from websockets.frames import Frame, Opcode

from holdfast.protocols.nodes.frames import Effects, HttpReply, HttpRequest, Join, Notify, Opened, Reply, Request
from holdfast.proxy.clients.reactor import READABLE
from holdfast.proxy.config import LogSettings
from holdfast.proxy.process.logs import configure
from tests.bench import yardstick
from tests.bench.counting import calls, cpu_seconds, instructions
from tests.bench.hot_path import Backend, clients_of, frames_in, gather
from tests.harness import client_ids, running

CLIENTS = 100
ROUNDS = 8  # the least of them counts: now and then a turn is split, or the ticker comes between
PAYLOAD = b'{"requestId":"1","body":"' + b"x" * 133 + b'"}'
SLICES = 60
CHANNEL = "guard"
POST = (
    b"POST /chat/rooms?since=3 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: guard/1\r\nAccept: */*\r\n"
    b"Content-Type: application/json\r\nContent-Length: 64\r\n\r\n" + b"y" * 64
)


def text(*, mask):
    return Frame(Opcode.TEXT, PAYLOAD).serialize(mask=mask)


@asynccontextmanager
async def deployment(nodes=1, *, upgraded=True):
    """A proxy, its nodes, and clients that are connected."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(running())
        backends = [stack.enter_context(Backend(proxy.node, capacity=100_000)) for _ in range(nodes)]
        for backend in backends:
            await backend.join()
        clients = stack.enter_context(clients_of(proxy, CLIENTS))
        clients.connect()
        if upgraded:
            await clients.upgrade()
            await gather(backends, Opened, CLIENTS * nodes)
        yield proxy, backends, clients


async def exchange(counted, backends, clients, kind, sent, count, reply_to, expected):
    """One round, all of it right. What has been counted when the nodes have it, and when the clients have theirs."""
    clients.send(sent)
    got = await gather(backends, kind, count)
    there = counted()
    for backend, batches in got.items():
        if batches:
            backend.say(*map(reply_to, frames_in(batches, kind)))
    assert await clients.receive(len(expected)) == expected
    return there, counted()


def reply_to_message(request):
    assert request.payload == PAYLOAD
    return Reply(request.id, request.attempt, request.payload, request.is_text)


def reply_to_post(request):
    assert (request.method, request.payload) == ("POST", b"y" * 64)
    return HttpReply(request.id, request.attempt, request.payload, 200, [("content-type", "application/json")])


async def websocket(nodes=1, depth=1):
    sent, expected, count = text(mask=True) * depth, text(mask=False) * depth, depth * CLIENTS
    async with deployment(nodes) as (_, backends, clients):

        async def once(counted):
            return await exchange(counted, backends, clients, Request, sent, count, reply_to_message, expected)

        return await costs_of_exchange(once, count)


async def http():
    async with deployment(upgraded=False) as (_, backends, clients):
        clients.send(POST)
        [(backend, batches)] = (await gather(backends, HttpRequest, CLIENTS)).items()
        backend.say(*map(reply_to_post, frames_in(batches, HttpRequest)))
        expected = await clients.receive(1)
        assert expected.startswith(b"HTTP/1.1 200 OK\r\n")
        assert expected.endswith(b"\r\n\r\n" + b"y" * 64)

        async def once(counted):
            return await exchange(counted, backends, clients, HttpRequest, POST, CLIENTS, reply_to_post, expected)

        return await costs_of_exchange(once, CLIENTS)


async def fan_out():
    expected = text(mask=False)
    async with deployment() as (proxy, [backend], clients):
        numbers = count(1)
        backend.say(Effects(next(numbers), [Join(client, CHANNEL) for client in client_ids(proxy)]))
        await proxy.until(lambda: proxy.app.channels.subscriptions == CLIENTS)

        async def once(counted):
            backend.say(Effects(next(numbers), [Notify(PAYLOAD, True, [CHANNEL])]))
            assert await clients.receive(len(expected)) == expected
            return [counted()]

        [cost] = await least(once, CLIENTS)
        return {"": cost}


async def handshake():
    """Accepting, the upgrade, and the announcement to a node."""
    async with deployment(upgraded=False) as (proxy, backends, first):
        first.close()

        async def once(counted):
            await proxy.until(lambda: not proxy.app.clients.connections)
            before = counted()
            with clients_of(proxy, CLIENTS) as clients:
                clients.connect()
                await clients.upgrade()
                await gather(backends, Opened, CLIENTS)
                return [difference(counted(), before)]

        [cost] = await least(once, CLIENTS)
        return {"": cost}


async def costs_of_exchange(once, count):
    async def both(counted):
        there, back = await once(counted)
        return [there, difference(back, there)]

    request, reply = await least(both, count)
    return {" request": request, " reply": reply}


async def least(once, count):
    """Of several rounds, by each way of counting: for each part of a round, what one message takes."""
    found = []
    for counter in (calls, instructions):
        rounds = []
        for _ in range(ROUNDS):
            with counter() as counted:
                rounds.append(await once(counted))
        parts = zip(*rounds, strict=True)
        found.append([{name: round(min(each[name] for each in part) / count, 2) for name in part[0]} for part in parts])
    return [called | ran for called, ran in zip(*found, strict=True)]


def difference(later, earlier):
    return {name: later[name] - earlier[name] for name in later}


async def memory():
    """The least of several proxies: what time alone brings comes between, as a timer's next turn."""
    found = [await objects() for _ in range(6)]
    return {name: round(min(each[name] for each in found) / CLIENTS, 2) for name in found[0]}


async def objects():
    """Of all clients: what idle connections have, what requests in flight have, what is left of one with its reply."""
    sent, expected = text(mask=True), text(mask=False)
    async with deployment() as (proxy, [backend], _), AsyncExitStack() as stack:
        clients = stack.enter_context(clients_of(proxy, CLIENTS))
        before = sys.getallocatedblocks()
        clients.connect()
        await clients.upgrade()
        await gather([backend], Opened, CLIENTS)
        connected, in_flight, left = [], [], []
        for _ in range(ROUNDS):
            idle = sys.getallocatedblocks()
            connected.append(idle - before)
            clients.send(sent)
            batches = (await gather([backend], Request, CLIENTS))[backend]
            in_flight.append(sys.getallocatedblocks() - idle)
            backend.say(*map(reply_to_message, frames_in(batches, Request)))
            del batches
            assert await clients.receive(len(expected)) == expected
            left.append(sys.getallocatedblocks() - idle)
    return {"connection": min(connected), "request in flight": min(in_flight), "answered request": min(left)}


async def cpu():
    """CPU of a request and its reply, without the system's part, in pieces of work of the yardstick.

    The least of many short slices on either side, taken in turns: what else the machine does makes both longer.
    """
    sent = text(mask=True)
    async with deployment() as (proxy, [backend], _):
        connections = list(proxy.app.clients.connections.values())
        piece = message = inf
        with in_memory(sent) as written:
            for _ in range(SLICES):
                piece = min(piece, yardstick.seconds(5 * CLIENTS))
                with cpu_seconds() as of_others:
                    begun = time.thread_time()
                    now = trio.current_time()
                    for connection in connections:
                        connection.transport.on_ready(READABLE, now)
                    proxy.app.reactor.settle()
                    requests = time.thread_time() - begun
                    got = await gather([backend], Request, CLIENTS)
                    backend.say(*map(reply_to_message, frames_in(got[backend], Request)))
                    while len(proxy.app.ledger):
                        await trio.lowlevel.checkpoint()
                    message = min(message, (requests + of_others()) / CLIENTS)
        assert written == [text(mask=False)] * CLIENTS * SLICES
    return round(message / piece, 2)


@contextmanager
def in_memory(sent):
    """Clients' descriptors, from which `sent` is read whenever somebody asks. Yields what is written to them."""
    written = []
    read, write = os.read, os.write

    def take(fd, data):
        written.append(data)
        return len(data)

    os.read, os.write = lambda fd, size: sent, take
    try:
        yield written
    finally:
        os.read, os.write = read, write


SCENARIOS = {
    "WebSocket": websocket,
    "WebSocket, 8 at once,": partial(websocket, depth=8),
    "WebSocket, 3 nodes,": partial(websocket, nodes=3),
    "HTTP": http,
    "delivery": fan_out,
    "handshake": handshake,
}


async def main():
    gc.disable()
    costs = {}
    for name, scenario in SCENARIOS.items():
        for part, cost in (await scenario()).items():
            costs[name + part] = cost
    json.dump({"costs": costs, "objects": await memory(), "cpu": await cpu()}, sys.stdout, indent=1)


if __name__ == "__main__":
    configure(LogSettings(level="error"))
    trio.run(main)
